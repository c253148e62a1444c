"""Reads the columns of events that labels are made from: numbers, or texts that name kinds of events."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from towerzoo.datasets.tabular.arrow_columns import distinct, kind_of, rows_of
from towerzoo.datasets.tabular.raw_table import RawTable, are_numbers
from towerzoo.datasets.vocabulary import Vocabulary

MOST_TEXTS: Final = 1_000
"""Distinct texts that a measure may hold; more are no kinds of events."""


def read_feedback(
    raw: RawTable, column: str, problems: list[str]
) -> tuple[NDArray[np.float32] | None, Vocabulary | None]:
    """Returns a measure (N,), and the vocabulary that its values are rows of where it holds texts.

    Args:
        raw: The events.
        column: The measure.
        problems: Takes what is wrong with it, a message each; its values are None then.
    """
    values = raw[column]
    if not pa.types.is_string(values.type):
        return read_numbers(raw, column, problems), None
    missing = values.is_null().to_numpy()
    numbers = are_numbers(values) & ~missing
    if missing.any():
        problems.append(raw.fault(column, "given", missing, "Repair or remove these rows."))
    elif numbers.any():
        odd = ~numbers if not numbers.all() else numbers
        expected = "a number, as others are" if not numbers.all() else "a number and no text"
        next_step = f"Repair these rows, or read the column with `kinds: {{{column}: number}}`."
        problems.append(raw.fault(column, expected, odd, next_step))
    else:
        known = distinct(values)
        if len(known) <= MOST_TEXTS:
            return rows_of(values, known).astype(np.float32), Vocabulary(known.to_pylist())
        problems.append(
            f"{raw.paths[0]}: {column} must be numbers or at most {MOST_TEXTS:,} different texts, got {len(known):,}. "
            "Remove it from `measures`."
        )
    return None, None


def read_numbers(
    raw: RawTable, column: str, problems: list[str], *, above: float | None = None
) -> NDArray[np.float32] | None:
    """Returns the finite numbers (N,) of a column.

    Args:
        raw: The events.
        column: The column.
        problems: Takes what is wrong with it, a message each.
        above: What all numbers must be more than.
    """
    values = raw[column]
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_null(values.type)):
        problems.append(f"{raw.paths[0]}: {column} must be numbers, got {kind_of(values.type)}. Name another column.")
        return None
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
        numbers: NDArray[np.float32] = pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy().astype(np.float32)
    limit = "" if above is None else f" > {above:g}"
    bad = ~np.isfinite(numbers) if above is None else ~(np.isfinite(numbers) & (numbers > above))
    if bad.any():
        problems.append(raw.fault(column, f"a finite float32 number{limit}", bad, "Repair or remove these rows."))
        return None
    return numbers
