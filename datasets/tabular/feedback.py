"""Reads the columns of events that labels are made from: numbers, or texts that name kinds of events."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from towerzoo.datasets.tabular.arrow_columns import distinct, rows_of
from towerzoo.datasets.tabular.raw_table import RawTable, are_numbers
from towerzoo.datasets.vocabulary import Vocabulary

MOST_TEXTS: Final = 1_000
"""The most distinct texts of a column whose texts name kinds of events."""


def read_feedback(
    raw: RawTable, column: str, problems: list[str]
) -> tuple[NDArray[np.float32] | None, Vocabulary | None]:
    """Returns the values (N,) of a feedback column and, if it holds texts, the vocabulary whose rows the values are."""
    values = raw[column]
    if not pa.types.is_string(values.type):
        return read_numbers(raw, column, problems), None
    missing = values.is_null().to_numpy()
    if missing.any():
        problems.append(raw.fault(column, "given", missing, "Repair or remove these rows."))
    elif fault := mixed_fault(raw, column, are_numbers(values)):
        problems.append(fault)
    else:
        known = distinct(values)
        if len(known) <= MOST_TEXTS:
            return rows_of(values, known).astype(np.float32), Vocabulary(known.to_pylist())
        problems.append(
            f"{raw.paths[0]}: {column} must be numbers or at most {MOST_TEXTS:,} different texts, got {len(known):,}. "
            "Remove it from `feedback`."
        )
    return None, None


def mixed_fault(raw: RawTable, column: str, numbers: NDArray[np.bool_]) -> str | None:
    """Returns a message about a text column in which some or all texts are numbers (N,), if any are."""
    if not numbers.any():
        return None
    odd, expected = (numbers, "a number, not text") if numbers.all() else (~numbers, "a number like the others")
    return raw.fault(
        column, expected, odd, f"Repair these rows, or read the column with `kinds: {{{column}: number}}`."
    )


def read_numbers(
    raw: RawTable, column: str, problems: list[str], *, above: float | None = None
) -> NDArray[np.float32] | None:
    """Returns the numbers (N,) of a column, which must be finite and greater than `above`, if given."""
    values = raw[column]
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_null(values.type)):
        problems.append(raw.type_fault(column, "numbers", "Name another column."))
        return None
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite
        numbers: NDArray[np.float32] = pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy().astype(np.float32)
    limit = "" if above is None else f" > {above:g}"
    bad = ~np.isfinite(numbers) if above is None else ~(np.isfinite(numbers) & (numbers > above))
    if bad.any():
        problems.append(raw.fault(column, f"a finite float32 number{limit}", bad, "Repair or remove these rows."))
        return None
    return numbers
