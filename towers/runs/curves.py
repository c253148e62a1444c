"""Draws training curves."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from towerzoo.towers.runs.epochs import Row
from towerzoo.towers.metrics.plan import main_metrics

LABELS = {"loss": "loss (nats)", "auc": "AUC"}
"""How the axes of some figures are called, where that is not their name."""


def draw_curves(histories: Mapping[str, Sequence[Row]]) -> bytes:
    """Returns a PNG with two figures of training (dashed) and validation (solid) over epochs, a colour a run.

    They are the loss and the main figure: AUC of pairs or NDCG of rankings.

    Args:
        histories: The rows of each run's history.csv, by the run's name.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    names = {name.partition("/")[2] for rows in histories.values() for row in rows for name in row if "/" in name}
    panels = ("loss", "auc" if "auc" in names else next(iter(sorted(main_metrics(names))), "loss"))
    for axes, metric in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for index, (name, rows) in enumerate(histories.items()):
            epochs = [row["epoch"] for row in rows]
            for split, style in (("train", "--"), ("valid", "-")):
                values = [row.get(f"{split}/{metric}", math.nan) for row in rows]
                text = _plain(f"{name} {split}") if len(histories) > 1 else split
                axes.plot(epochs, values, style, color=f"C{index}", marker=".", label=text)
        axes.set_xlabel("epoch")
        axes.set_ylabel(LABELS.get(metric, metric))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    # Below the panels, where it covers no line.
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw_shots(shots: Mapping[str, Mapping[str, float]]) -> bytes:
    """Returns a small PNG of the main figure of new users over how many events are known of them.

    Args:
        shots: The figures by number of events; those of `all` are a dashed line.
    """
    figure = Figure(figsize=(5.5, 3.2), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    names = main_metrics(next(iter(shots.values())))
    metric = "auc" if "auc" in names else names[0]
    axes = figure.subplots()
    few = [k for k in shots if k.isdecimal()]
    axes.plot(few, [shots[k][metric] for k in few], marker=".", label="the last events")
    for k in shots:
        if k not in few:
            axes.axhline(shots[k][metric], linestyle="--", color="C1", label=k)
    axes.set_xlabel("events known of each user")
    axes.set_ylabel(LABELS.get(metric, metric))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _plain(text: str) -> str:
    # To matplotlib, dollars enclose a formula, and a leading underscore hides a label from the legend.
    return f"{' ' if text.startswith('_') else ''}{text}".replace("$", r"\$")
