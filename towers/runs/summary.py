"""What commands print: the data, an epoch, the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from towerzoo.towers.metrics.plan import BEST_REACHABLE, OF_ALL_LISTS, Figures, main_metrics, mode, table_metrics
from towerzoo.towers.runs.documents import Metrics
from towerzoo.towers.runs.epochs import Row
from towerzoo.towers.runs.records import Comparison

if TYPE_CHECKING:
    from towerzoo.datasets import TwoTowerData
    from towerzoo.towers.losses.lab import LossCheck
    from towerzoo.towers.metrics.slices import SliceFigures


def data_table(data: TwoTowerData) -> Table:
    """Events, share of positives, users and items of each part of the split."""
    from towerzoo.datasets.splits import PARTS

    table = _table("data", "events", "positive", "users", "items")
    parts = {part: data.train_counts if part == "train" else data.counts(part) for part in PARTS}
    for part, counts in parts.items():
        seen = (f"{int((side > 0).sum()):,}" for side in (counts.user, counts.item))
        table.add_row(part, f"{counts.total:,}", f"{counts.positives / counts.total:.2%}", *seen)
    total = sum(counts.total for counts in parts.values())
    positive = f"{sum(counts.positives for counts in parts.values()) / total:.2%}"
    users, items = (f"{len(side.ids) - 1:,}" for side in (data.schema.users, data.schema.items))
    table.add_row("all", f"{total:,}", positive, users, items, style="bold")
    return table


def epoch_text(row: Row) -> Text:
    """One line about an epoch."""
    figures = []
    for split in ("train", "valid"):
        metrics = [name.partition("/")[2] for name in row if name.startswith(f"{split}/")]
        shown = " ".join(f"{metric} {row[f'{split}/{metric}']:.4f}" for metric in main_metrics(metrics))
        figures.append(f"{split} {shown}")
    speed = f"{row['samples_per_second']:,} samples/s  {row['seconds']:.1f} s"
    return Text(f"epoch {row['epoch']:>3}  {'  '.join(figures)}  {speed}")


def result_table(metrics: Mapping[str, Any]) -> Table:
    """The test figures of a run and its baselines, and how far the run is above the best baseline."""
    test: Figures = metrics["test"]
    baselines: dict[str, Figures] = metrics["baselines"]
    names = table_metrics(test)
    table = _table("test", *names)
    table.add_row("this run", *(_cell(test[metric]) for metric in names), style="bold")
    for name, figures in baselines.items():
        table.add_row(name, *(_cell(figures.get(metric)) for metric in names))
    lifts = []
    for metric in names:
        # Nobody can beat the best reachable, and metrics of all lists are neither good nor bad.
        beatable = (figures for name, figures in baselines.items() if name != BEST_REACHABLE)
        others = [figures[metric] for figures in beatable if metric in figures]
        judged = others and metric.partition("@")[0] not in OF_ALL_LISTS
        lifts.append(f"{test[metric] - _best(metric, others):+.4f}" if judged else "")
    table.add_row("over the best baseline", *lifts)
    return table


def record_table(comparisons: list[Comparison]) -> Table:
    """A run's figures beside those of its config's record."""
    table = _table("against the record", "this run", "expected", "tolerance", "")
    for row in comparisons:
        verdict = "reached" if row.reached else "missed"
        table.add_row(row.metric, _cell(row.actual), _cell(row.expected), _cell(row.tolerance), verdict)
    return table


def loss_table(checks: Mapping[tuple[str, bool], LossCheck]) -> Table:
    """How far sampled gradients are from the full softmax's, by sampler and whether logQ corrects them."""
    from towerzoo.towers.losses.lab import ROUNDING

    table = _table("sampler", "logQ", "bias", "by chance", "times chance", "variance", "")
    table.columns[0].no_wrap = False  # a spec may be long
    for (sampler, logq), check in checks.items():
        table.add_row(
            Text(sampler),
            "yes" if logq else "no",
            f"{check.bias:.5f}",
            f"{check.standard_error:.5f}",
            f"{check.bias / check.standard_error:.1f}" if check.standard_error > ROUNDING else "-",
            f"{check.variance:.5f}",
            "agrees" if check.agrees else "biased",
        )
    return table


def slice_table(name: str, figures: Mapping[str, SliceFigures]) -> Table:
    """The figures of slices, one a row.

    Args:
        name: What rows are sliced by.
        figures: The figures of at least one slice, all with the same names.
    """
    table = _table(name, *next(iter(figures.values())))
    for label, values in figures.items():
        table.add_row(label, *map(_cell, values.values()))
    return table


def shot_table(shots: Mapping[str, Figures]) -> Table:
    """The figures of new users, by the number of their known events."""
    names = table_metrics(next(iter(shots.values())))
    table = _table("events of a new user", *names)
    for k, figures in shots.items():
        table.add_row(k, *(_cell(figures[name]) for name in names))
    return table


def step_table(seconds: Mapping[str, float], samples: int) -> Table:
    """The time of a training step of some samples, by part."""
    table = _table("a training step", "ms", "share")
    total = sum(seconds.values())
    for part, value in seconds.items():
        table.add_row(part, f"{value * 1e3:.2f}", f"{value / total:.1%}")
    table.add_row(f"all, {samples / total:,.0f} samples/s", f"{total * 1e3:.2f}", "", style="bold")
    return table


def runs_table(runs: Mapping[str, Metrics]) -> Table:
    """The test figures of several runs, by the run's name, the best of each metric in bold."""
    names = main_metrics(next(iter(runs.values())).test)
    table = _table("run", "best epoch", *(f"test {metric}" for metric in names))
    best = {name: _best(name, [run.test[name] for run in runs.values() if name in run.test]) for name in names}
    for label, run in runs.items():
        figures = {name: run.test.get(name) for name in names}
        cells = [Text(_cell(value), "bold" if value == best[name] else "") for name, value in figures.items()]
        table.add_row(label, str(run.best_epoch), *cells)
    return table


def _best(metric: str, values: list[float]) -> float:
    return min(values) if mode(metric) == "min" else max(values)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table
