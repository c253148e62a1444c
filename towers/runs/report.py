"""The report of a run: one HTML page without outside assets."""

from __future__ import annotations

import base64
import json
from typing import Any

import jinja2

from towerzoo.towers.runs.curves import draw_curves, draw_shots
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.runs.epochs import read_history
from towerzoo.towers.runs.folder import REPORT, RunFolder


def write_report(run: RunFolder, metrics: dict[str, Any], model: DSSM) -> None:
    """Writes the curves and the report of a trained and tested run."""
    rows = read_history(run)
    curves = draw_curves({run.name: rows})
    run.write("curves.png", curves)
    page = render_report(
        run.name,
        config=run.config.read_text(),
        metrics=metrics,
        environment=run.read_json("environment.json"),
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
