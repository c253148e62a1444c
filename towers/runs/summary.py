"""What a person sees: the data, the model, an epoch, the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from towerzoo.datasets import TwoTowerData
from towerzoo.datasets.splits import PARTS
from towerzoo.towers.losses.lab import ROUNDING, LossCheck
from towerzoo.towers.metrics.baselines import BEST_REACHABLE
from towerzoo.towers.metrics.plan import OF_ALL_LISTS, main_metrics, mode, told_metrics
from towerzoo.towers.metrics.slices import SliceFigures
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.runs.documents import Metrics
from towerzoo.towers.runs.epochs import Row
from towerzoo.towers.runs.records import Comparison


def data_table(data: TwoTowerData) -> Table:
    """Returns rows, users, items, label balance and split sizes."""
    table = _table("data", "events", "positive", "users", "items")
    found = {part: data.train_counts if part == "train" else data.counts(part) for part in PARTS}
    for part, counts in found.items():
        met = (f"{int((side > 0).sum()):,}" for side in (counts.user, counts.item))
        table.add_row(part, f"{counts.total:,}", f"{counts.positives / counts.total:.2%}", *met)
    total = sum(counts.total for counts in found.values())
    positive = f"{sum(counts.positives for counts in found.values()) / total:.2%}"
    users, items = (f"{len(side.ids) - 1:,}" for side in (data.schema.users, data.schema.items))
    table.add_row("all", f"{total:,}", positive, users, items, style="bold")
    return table


def model_text(model: DSSM) -> Text:
    """Returns both towers as torch prints them, and the number of parameters."""
    towers = (("user tower", model.user_tower), ("item tower", model.item_tower))
    parts = []
    for name, tower in towers:
        features = ", ".join(f"{feature} {encoder.out_features}" for feature, encoder in tower.features())
        parts.append(f"{name}: {features or 'no features'}\n{tower.mlp}")
    total = sum(parameter.numel() for parameter in model.parameters())
    parts.append(f"score: {type(model.score).__name__}, {total:,} parameters in all")
    return Text("\n".join(parts))


def epoch_text(row: Row) -> Text:
    """Returns one line about an epoch."""
    figures = "  ".join(
        f"{split} "
        + " ".join(f"{metric} {row[f'{split}/{metric}']:.4f}" for metric in main_metrics(_metrics(split, row)))
        for split in ("train", "valid")
    )
    return Text(f"epoch {row['epoch']:>3}  {figures}  {row['samples_per_second']:,} samples/s  {row['seconds']:.1f} s")


def _metrics(split: str, row: Row) -> list[str]:
    """Returns the metrics of a split that an epoch's row holds."""
    return [name.partition("/")[2] for name in row if name.startswith(f"{split}/")]


def result_table(metrics: dict[str, Any]) -> Table:
    """Returns the test figures beside those of the baselines, and how far they are above the best of these."""
    names = told_metrics(metrics["test"])
    table = _table("test", *names)
    for name, figures in {"this run": metrics["test"], **metrics["baselines"]}.items():
        style = "bold" if name == "this run" else None
        table.add_row(name, *(f"{figures[metric]:.4f}" if metric in figures else "-" for metric in names), style=style)
    lifts = {name: _lift(name, metrics) for name in names if name.partition("@")[0] not in OF_ALL_LISTS}
    cells = (f"{lifts[name]:+.4f}" if name in lifts else "" for name in names)
    table.add_row("over the best baseline", *cells)
    return table


def _lift(metric: str, metrics: dict[str, Any]) -> float:
    """Returns by how much a test figure differs from that of the best baseline; what nobody can reach is none."""
    given = (figures for name, figures in metrics["baselines"].items() if name != BEST_REACHABLE)
    best = min if mode(metric) == "min" else max
    lift: float = metrics["test"][metric] - best(figures[metric] for figures in given if metric in figures)
    return lift


def record_table(comparisons: list[Comparison]) -> Table:
    """Returns a run's figures beside those of its config's record."""
    table = _table("against the record", "this run", "expected", "tolerance", "")
    for row in comparisons:
        verdict = "reached" if row.reached else "missed"
        table.add_row(row.metric, f"{row.found:.4f}", f"{row.expected:.4f}", f"{row.tolerance:.4f}", verdict)
    return table


def loss_table(checks: Mapping[tuple[str, bool], LossCheck]) -> Table:
    """Returns how far sampled gradients are from the full softmax's, by sampler and whether logQ corrects them."""
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
    """Returns the figures of slices, one slice a row.

    Args:
        name: What rows are sliced by.
        figures: At least one slice's; all have the same names.
    """
    table = _table(name, *next(iter(figures.values())))
    for label, values in figures.items():
        table.add_row(label, *map(_cell, values.values()))
    return table


def shot_table(shots: Mapping[str, Mapping[str, float]]) -> Table:
    """Returns the figures of new users, one number of known events a row."""
    names = told_metrics(next(iter(shots.values())))
    table = _table("events of a new user", *names)
    for k, figures in shots.items():
        table.add_row(k, *(f"{figures[name]:.4f}" for name in names))
    return table


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def step_table(seconds: dict[str, float], samples: int) -> Table:
    """Returns where the time of a training step of some samples goes, by part."""
    table = _table("a training step", "ms", "share")
    total = sum(seconds.values())
    for part, value in seconds.items():
        table.add_row(part, f"{value * 1e3:.2f}", f"{value / total:.1%}")
    table.add_row(f"all, {samples / total:,.0f} samples/s", f"{total * 1e3:.2f}", "", style="bold")
    return table


def runs_table(runs: Mapping[str, Metrics]) -> Table:
    """Returns the test figures of several runs, by the run's name, the best of each metric in bold."""
    names = main_metrics(next(iter(runs.values())).test)
    table = _table("run", "best epoch", *(f"test {metric}" for metric in names))
    tests = [metrics.test for metrics in runs.values()]
    best = {
        metric: (max if mode(metric) == "max" else min)(test[metric] for test in tests if metric in test)
        for metric in names
    }
    for name, metrics in runs.items():
        figures = {metric: metrics.test.get(metric) for metric in names}
        cells = [Text(_cell(value), "bold" if value == best[metric] else "") for metric, value in figures.items()]
        table.add_row(name, str(metrics.best_epoch), *cells)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table
