"""The report of a run: one HTML page without outside assets."""

from __future__ import annotations

import base64
import json
from typing import Any

import jinja2

from towerzoo.towers.dssm import DSSM


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
        loader=jinja2.PackageLoader("towerzoo.towers", "."), autoescape=True, undefined=jinja2.StrictUndefined
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
        user_tower=model.user_tower.mlp,
        item_tower=model.item_tower.mlp,
        config=config,
    )
