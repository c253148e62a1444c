"""Times of any writer as microseconds since 1970."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from towerzoo.datasets.tabular.feedback import mixed_fault
from towerzoo.datasets.tabular.raw_table import RawTable, are_numbers

UNITS: Final = ("seconds", "milliseconds", "microseconds", "nanoseconds")
"""Units of numbers since 1970; each is a thousand times smaller than the one before."""
_LAST_SECOND: Final = 1e11
"""In the year 5138: larger numbers have a smaller unit, in which they start in 1973."""
_LAST_NANOSECOND: Final = 2.0**63
"""In the year 2262: larger numbers are not times."""
_ZONE: Final = r"[Zz]$|:.*[+-]\d\d(:?\d\d)?$"
"""The end of a time with a zone."""


def microseconds(raw: RawTable, column: str, problems: list[str]) -> NDArray[np.int64] | None:
    """Returns the times (N,) of a column of dates, ISO 8601 texts or numbers, as whole microseconds since 1970 in UTC.

    The size of numbers gives their unit: below 10^11 they are seconds, below 10^14 milliseconds, below 10^17
    microseconds. Texts without a zone are UTC.
    """
    values = raw[column]
    missing = values.is_null().to_numpy()
    if pa.types.is_list(values.type):
        problems.append(raw.type_fault(column, "times", "Name another column."))
        return None
    if pa.types.is_date32(values.type):
        values = values.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(values.type):
        times = values.cast(pa.int64()).fill_null(0).to_numpy()
    elif pa.types.is_string(values.type):
        numbers = are_numbers(values) & ~missing
        times, missing = _parse(values)
        if (numbers & missing).any():
            problems.append(str(mixed_fault(raw, column, numbers)))
            return None
    else:
        known = (values.cast(pa.float64()) if pa.types.is_null(values.type) else values).fill_null(0).to_numpy()
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
        actual = " and ".join(f"{count:,} in {unit}" for unit, count in zip(UNITS, counts, strict=True) if count)
        odd, next_step = (units != usual) & ~missing, f"Write all of them in {UNITS[usual]}."
        problems.append(raw.fault(column, f"times in one unit ({actual})", odd, next_step))
        return None
    return usual
