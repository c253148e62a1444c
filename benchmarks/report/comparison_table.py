"""A comparison as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from towerzoo.benchmarks.measure.summary import digits
from towerzoo.benchmarks.report.comparison import Comparison

COLORS = {"slower": "red", "faster": "green", "same": ""}


def comparison_table(comparison: Comparison) -> Table:
    """Returns a table of all ratios, the slowest first."""
    title = "NOT COMPARABLE: " + "; ".join(comparison.differences) if comparison.differences else None
    table = Table(title=title)
    table.add_column("measure", overflow="fold", min_width=24)
    for heading in ("old", "new", "ratio", "lowest", "highest", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for change in sorted(comparison.changes, key=lambda change: change.ratio):
        table.add_row(
            Text(f"{change.key}, {change.unit}"),
            digits(change.old),
            digits(change.new),
            f"{change.ratio:.3f}",
            f"{change.lowest:.3f}",
            f"{change.highest:.3f}",
            Text(change.verdict, style=COLORS[change.verdict]),
        )
    return table


def remarks(comparison: Comparison, threshold: float | None) -> Iterator[str]:
    """Returns a line for each thing that the table does not show."""
    for name, keys in (("old", comparison.only_old), ("new", comparison.only_new)):
        for key in keys:
            yield f"only in {name}: {key}"
    if comparison.differences:
        yield f"compared by force: {'; '.join(comparison.differences)}"
    slower = [change.key for change in comparison.changes if change.verdict == "slower"]
    yield f"slower: {'; '.join(slower) or 'none'}"
    if threshold is not None:
        for change in comparison.below(threshold):
            yield f"below {threshold:g}: {change.key}, ratio {change.ratio:.3f}"
