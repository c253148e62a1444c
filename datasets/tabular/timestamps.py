"""Times of any writer as microseconds since 1970."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from towerzoo.datasets.tabular.arrow_columns import kind_of
from towerzoo.datasets.tabular.raw_table import RawTable, are_numbers

UNITS: Final = ("seconds", "milliseconds", "microseconds", "nanoseconds")
"""Units of numbers since 1970; each is a thousand times smaller than the one before."""
_LAST_SECOND: Final = 1e11
"""In the year 5138: from here on, numbers are of a smaller unit, in which they are from 1973 on."""

_LAST_NANOSECOND: Final = 2.0**63
"""In the year 2262: from here on, numbers are no times."""

_ZONE: Final = r"[Zz]$|:.*[+-]\d\d(:?\d\d)?$"
"""How a time with a zone ends."""


def microseconds(raw: RawTable, column: str, problems: list[str]) -> NDArray[np.int64] | None:
    """Returns the times (N,) of a column of dates, ISO 8601 texts or numbers, as whole microseconds since 1970 in UTC.

    The unit of numbers is told by their size: below 10^11 they are seconds, below 10^14 milliseconds, below 10^17
    microseconds. Texts without a zone are UTC.

    Args:
        raw: The events.
        column: The column of times.
        problems: Takes what is wrong with it, a message each.

    Returns:
        The times; None where there was a problem.
    """
    values = raw[column]
    missing = values.is_null().to_numpy()
    if pa.types.is_list(values.type):
        problems.append(f"{raw.paths[0]}: {column} must be times, got {kind_of(values.type)}. Name another column.")
        return None
    if pa.types.is_date32(values.type):
        values = values.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(values.type):
        times = values.cast(pa.int64()).fill_null(0).to_numpy()
    elif pa.types.is_string(values.type):
        numbers = are_numbers(values) & ~missing
        times, missing = _parse(values)
        if (numbers & missing).any():
            odd = ~numbers if not numbers.all() else numbers
            expected = "a number, as others are" if not numbers.all() else "a number and no text"
            next_step = f"Repair these rows, or read the column with `kinds: {{{column}: number}}`."
            problems.append(raw.fault(column, expected, odd, next_step))
            return None
    else:
        numbers = values.cast(pa.float64()) if pa.types.is_null(values.type) else values
        known = numbers.fill_null(0).to_numpy()
        missing = missing | ~(np.abs(known) < _LAST_NANOSECOND)
        known = np.where(missing, 0, known)
        unit = _unit(raw, column, known, missing, problems)
        if unit is None:
            return None
        times = known // 1_000 if unit == 3 else known * 1_000 ** (2 - unit)
    if missing.any():
        expected = "a date, an ISO 8601 time such as '2026-11-24T12:00:00Z', or a number since 1970"
        problems.append(raw.fault(column, expected, missing, "Repair or remove these rows, or leave `timestamp` out."))
        return None
    result: NDArray[np.int64] = times.astype(np.int64)
    return result


def _parse(texts: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Returns texts (N,) as microseconds since 1970 in UTC, and which of them are not times."""
    import pandas as pd

    zoned = pc.fill_null(pc.match_substring_regex(texts, _ZONE), fill_value=False).to_numpy()
    read = texts.to_pandas()
    # Separately: pandas before 3 gives a text without a zone the zone of the text before it.
    parts = [pd.to_datetime(read[of], format="ISO8601", utc=True, errors="coerce") for of in (zoned, ~zoned)]
    parsed = pd.concat([part for part in parts if len(part)] or parts[:1]).sort_index()
    times = parsed.fillna(pd.Timestamp(0, tz="UTC")).dt.as_unit("us").astype("int64").to_numpy()
    return times, parsed.isna().to_numpy()


def _unit(
    raw: RawTable, column: str, numbers: NDArray[np.generic], missing: NDArray[np.bool_], problems: list[str]
) -> int | None:
    sizes = np.abs(numbers.astype(np.float64))
    units = np.searchsorted(_LAST_SECOND * 1_000.0 ** np.arange(len(UNITS) - 1), sizes, side="right")
    counts = np.bincount(units[~missing], minlength=len(UNITS))
    usual = int(counts.argmax())
    if (counts > 0).sum() > 1:
        found = " and ".join(f"{count:,} in {unit}" for unit, count in zip(UNITS, counts, strict=True) if count)
        expected = f"times of one unit ({found})"
        problems.append(
            raw.fault(column, expected, (units != usual) & ~missing, f"Write all of them in {UNITS[usual]}.")
        )
        return None
    return usual
