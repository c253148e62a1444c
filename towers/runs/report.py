"""The report of a run: one HTML page without outside assets."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from towerzoo.towers.metrics.plan import main_metrics
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.runs.documents import Environment
from towerzoo.towers.runs.epochs import Row, read_epochs
from towerzoo.towers.runs.folder import REPORT, RunFolder


def write_report(run: RunFolder, metrics: dict[str, Any], model: DSSM) -> None:
    """Writes the curves and the report of a trained and tested run."""
    rows = read_epochs(run)
    curves = draw_curves({run.name: rows})
    run.write("curves.png", curves)
    page = render_report(
        run.name,
        config=run.config.read_text(),
        metrics=metrics,
        environment=run.read(Environment).model_dump(),
        epochs=len(rows),
        curves=curves,
        model=model,
    )
    run.write(REPORT, page)


def render_report(
    name: str,
    *,
    config: str,
    metrics: dict[str, Any],
    environment: dict[str, Any],
    epochs: int,
    curves: bytes,
    model: DSSM,
) -> str:
    """Returns the page.

    Args:
        name: The config's name.
        config: The run's config.yaml.
        metrics: The run's metrics.json.
        environment: The run's environment.json.
        epochs: Epochs that were trained.
        curves: The run's curves.png.
        model: The trained model, whose towers are printed.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("towerzoo.towers.runs", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    baselines = [(f"baseline: {label}", figures) for label, figures in metrics["baselines"].items()]
    return templates.get_template("report.html.j2").render(
        name=name,
        seed=environment["seed"],
        epochs=epochs,
        rows=[("test", metrics["test"]), ("validation", metrics["valid"]), *baselines],
        metrics=metrics,
        environment=environment,
        environment_text=json.dumps(environment, indent=2),
        curves=base64.b64encode(curves).decode(),
        shot_curve=base64.b64encode(draw_shots(metrics["shots"])).decode() if metrics.get("shots") else None,
        user_tower=model.user_tower.mlp,
        item_tower=model.item_tower.mlp,
        config=config,
    )


LABELS = {"loss": "loss (nats)", "auc": "AUC"}
"""How the axes of some figures are called, where that is not their name."""


def draw_curves(histories: Mapping[str, Sequence[Row]]) -> bytes:
    """Returns a PNG with two figures of training (dashed) and validation (solid) over epochs, a colour a run.

    They are the loss and the main figure: AUC of pairs or NDCG of rankings.

    Args:
        histories: The rows of each run's epochs.csv, by the run's name.
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
