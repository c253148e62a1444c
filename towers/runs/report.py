"""The report of a run: one HTML page without outside assets, and curves of training."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from towerzoo.towers.metrics.plan import main_metrics
from towerzoo.towers.runs.documents import Environment
from towerzoo.towers.runs.epochs import Row, read_epochs
from towerzoo.towers.runs.folder import REPORT, RunFolder

if TYPE_CHECKING:
    from torch import nn

LABELS: Final = {"loss": "loss (nats)", "auc": "AUC"}
"""Labels of axes that differ from the metric's name."""


def write_report(run: RunFolder, metrics: Mapping[str, Any], model: nn.Module) -> None:
    """Writes the curves and the report of a trained and tested run.

    Args:
        run: The run, with its config, environment and epochs.
        metrics: Its metrics.json.
        model: Its model, whose towers are printed.
    """
    import jinja2

    rows = read_epochs(run)
    curves = draw_curves({run.name: rows})
    run.write("curves.png", curves)
    environment = run.read(Environment).model_dump()
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("towerzoo.towers.runs", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    baselines = [(f"baseline: {label}", figures) for label, figures in metrics["baselines"].items()]
    page = templates.get_template("report.html.j2").render(
        name=run.name,
        epochs=len(rows),
        rows=[("test", metrics["test"]), ("validation", metrics["valid"]), *baselines],
        metrics=metrics,
        environment=environment,
        environment_text=json.dumps(environment, indent=2),
        curves=base64.b64encode(curves).decode(),
        shot_curve=base64.b64encode(draw_shots(metrics["shots"])).decode() if metrics.get("shots") else None,
        towers={f"{side} tower": model.get_submodule(f"{side}_tower.mlp") for side in ("user", "item")},
        config=run.config.read_text(encoding="utf-8"),
    )
    run.write(REPORT, page)


def draw_curves(epochs: Mapping[str, Sequence[Row]]) -> bytes:
    """Returns a PNG of two metrics of training (dashed) and validation (solid) over epochs, a colour a run.

    They are the loss and the main metric: AUC of pairs, or NDCG of rankings.

    Args:
        epochs: The rows of each run's epochs.csv, by the run's name.
    """
    figure = _figure(11, 4.2)
    names = {name.partition("/")[2] for rows in epochs.values() for row in rows for name in row if "/" in name}
    panels = ("loss", "auc" if "auc" in names else next(iter(sorted(main_metrics(names))), "loss"))
    for axes, metric in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for index, (name, rows) in enumerate(epochs.items()):
            for split, style in (("train", "--"), ("valid", "-")):
                values = [row.get(f"{split}/{metric}", math.nan) for row in rows]
                label = _plain(f"{name} {split}") if len(epochs) > 1 else split
                axes.plot([row["epoch"] for row in rows], values, style, color=f"C{index}", marker=".", label=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _label(axes, "epoch", metric)
    # Below the panels, where it covers no line.
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    return _png(figure)


def draw_shots(shots: Mapping[str, Mapping[str, float]]) -> bytes:
    """Returns a small PNG of the main metric of new users over the number of their known events.

    Args:
        shots: The figures by number of events; those of `all` are a dashed line.
    """
    figure = _figure(5.5, 3.2)
    names = main_metrics(next(iter(shots.values())))
    metric = "auc" if "auc" in names else names[0]
    axes = figure.subplots()
    few = [k for k in shots if k.isdecimal()]
    axes.plot(few, [shots[k][metric] for k in few], marker=".", label="the last events")
    for k in shots.keys() - few:
        axes.axhline(shots[k][metric], linestyle="--", color="C1", label=k)
    _label(axes, "known events of each user", metric)
    axes.legend(fontsize="small")
    return _png(figure)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure


def _label(axes: Axes, x: str, metric: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(LABELS.get(metric, metric))
    axes.grid(alpha=0.3)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _plain(text: str) -> str:
    # To matplotlib, dollars enclose a formula, and a leading underscore hides a label from the legend.
    return f"{' ' if text.startswith('_') else ''}{text}".replace("$", r"\$")
