"""Compares results by ratios and their spread, never by seconds or rates alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.measure.result_file import Result
from towerzoo.benchmarks.measure.summary import digits
from towerzoo.registry.errors import RunError

SHOULD_BE_EQUAL = ("device", "cpu", "cores", "threads", "platform", "python", "data", "quick")
"""Fields of two origins that must agree, apart from torch's version, for a ratio to say something about TowerZoo."""


@dataclass(frozen=True)
class Change:
    """How a measurement changed.

    Attributes:
        key: The record's key.
        unit: Unit of the values.
        old: Value before; a ratio to its baseline if both records have one.
        new: Value after.
        ratio: The speed-up; above 1 is faster.
        lowest: Smallest ratio that the rounds allow.
        highest: Largest ratio that the rounds allow.
    """

    key: str
    unit: str
    old: float
    new: float
    ratio: float
    lowest: float
    highest: float

    @property
    def verdict(self) -> str:
        """`slower` or `faster` if the whole range says so, else `same`."""
        return "slower" if self.highest < 1 else "faster" if self.lowest > 1 else "same"


@dataclass(frozen=True)
class Comparison:
    """Two results, measurement by measurement.

    Attributes:
        changes: The measurements that both have.
        only_old: Keys that only the older result has.
        only_new: Keys that only the newer result has.
        differences: Differences of their origins, if they were compared despite them.
    """

    changes: list[Change]
    only_old: list[str]
    only_new: list[str]
    differences: list[str] = field(default_factory=list)

    def below(self, threshold: float) -> list[Change]:
        """Returns the changes whose ratio does not reach a threshold."""
        return [change for change in self.changes if not change.ratio >= threshold]


def compare_results(old: Result, new: Result, *, force: bool = False) -> Comparison:
    """Compares two result files: ratios of medians, with the range that their lowest and highest values allow.

    If both records have a baseline, the ratios to it are compared, which do not depend on the speed of the machine.

    Args:
        old: The result to compare with.
        new: The result that is compared.
        force: Whether to compare results of different machines, devices, versions or data, or of a quick run.

    Raises:
        RunError: Their suites differ, their origins differ and `force` is not set, or they have no record in common.
    """
    if old.suite != new.suite:
        raise RunError(f"OLD and NEW must be results of one suite, got {old.suite!r} and {new.suite!r}.")
    fields = [(name, getattr(old.origin, name), getattr(new.origin, name)) for name in SHOULD_BE_EQUAL]
    fields.append(("torch", old.origin.packages.get("torch"), new.origin.packages.get("torch")))
    different = [f"{name} {before!r} and {after!r}" for name, before, after in fields if before != after]
    if different and not force:
        raise RunError(
            f"OLD and NEW must come from the same machine, device and versions, got {'; '.join(different)}. "
            "Measure both alike on one machine, or add --force and do not trust the ratios."
        )
    return _match([old], [new], _of_medians, different)


def compare_runs(old: Sequence[Result], new: Sequence[Result]) -> Comparison:
    """Compares runs that alternated: the median of the ratios round by round, with the lowest and the highest.

    Args:
        old: A result per round.
        new: A result per round, in the same order.

    Raises:
        RunError: They have no record in common.
    """
    return _match(old, new, _of_rounds, [])


def _match(
    old: Sequence[Result],
    new: Sequence[Result],
    change: Callable[[str, list[Record], list[Record]], Change],
    differences: list[str],
) -> Comparison:
    before, after = ([{record.key: record for record in result.records} for result in side] for side in (old, new))
    keys = [
        key
        for key in after[0]
        # A time and a rate of one name are different measurements.
        if len({records[key].unit if key in records else None for records in (*before, *after)}) == 1
    ]
    if not keys:
        # A check that compares nothing would always pass.
        raise RunError(
            f"OLD and NEW have no record in common; the first are {next(iter(before[0]))!r} and "
            f"{next(iter(after[0]))!r}. Measure both with the same suite and options."
        )
    changes = [change(key, [records[key] for records in before], [records[key] for records in after]) for key in keys]
    return Comparison(
        changes=changes,
        only_old=[key for key in before[0] if key not in keys],
        only_new=[key for key in after[0] if key not in keys],
        differences=differences,
    )


def _of_medians(key: str, old: list[Record], new: list[Record]) -> Change:
    before, after = old[0], new[0]
    if before.pair and after.pair:
        values = ((pair.lowest, pair.ratio, pair.highest) for pair in (before.pair, after.pair))
        unit, less_is_better = "of baseline", False
    else:
        values = ((record.lowest, record.value, record.highest) for record in (before, after))
        unit, less_is_better = after.unit, after.less_is_better
    (old_low, old_mid, old_high), (new_low, new_mid, new_high) = values
    if less_is_better:
        ratio, lowest, highest = old_mid / new_mid, old_low / new_high, old_high / new_low
    else:
        ratio, lowest, highest = new_mid / old_mid, new_low / old_high, new_high / old_low
    return Change(key, unit, old_mid, new_mid, ratio, lowest, highest)


def _of_rounds(key: str, old: list[Record], new: list[Record]) -> Change:
    ratios = [
        before.value / after.value if after.less_is_better else after.value / before.value
        for before, after in zip(old, new, strict=True)
    ]
    return Change(
        key,
        new[0].unit,
        statistics.median(record.value for record in old),
        statistics.median(record.value for record in new),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )


COLORS = {"slower": "red", "faster": "green", "same": ""}


def comparison_table(comparison: Comparison) -> Table:
    """Returns a table of all ratios, the slowest first."""
    title = "NOT COMPARABLE: " + "; ".join(comparison.differences) if comparison.differences else None
    table = Table(title=title)
    table.add_column("measurement", overflow="fold", min_width=24)
    for heading in ("old", "new", "ratio", "lowest", "highest", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for change in sorted(comparison.changes, key=lambda change: change.ratio):
        table.add_row(
            Text(f"{change.key}, {change.unit}"),
            *(digits(change.old), digits(change.new)),
            *(f"{ratio:.3f}" for ratio in (change.ratio, change.lowest, change.highest)),
            Text(change.verdict, style=COLORS[change.verdict]),
        )
    return table


def remarks(comparison: Comparison, threshold: float | None) -> Iterator[str]:
    """Returns a line for each fact that the table does not show."""
    for name, keys in (("old", comparison.only_old), ("new", comparison.only_new)):
        for key in keys:
            yield f"only in {name}: {key}"
    if comparison.differences:
        yield f"compared despite: {'; '.join(comparison.differences)}"
    slower = [change.key for change in comparison.changes if change.verdict == "slower"]
    yield f"slower: {'; '.join(slower) or 'none'}"
    if threshold is not None:
        for change in comparison.below(threshold):
            yield f"below {threshold:g}: {change.key}, ratio {change.ratio:.3f}"
