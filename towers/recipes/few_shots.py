"""Metrics of new users with only a few known events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from towerzoo.datasets import TwoTowerData
from towerzoo.registry.errors import RunError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.encoders import reads_events
from towerzoo.towers.metrics.plan import EvaluationPlan
from towerzoo.towers.recipes.slices import mask_biases, mask_columns
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module
from towerzoo.towers.training.trainer import make_trainer

ALL: Final = "all"
"""Stands for whole histories."""

Shots = dict[str, dict[str, float]]
"""The test metrics by the number of events in a history; the last entry, `ALL`, has whole histories."""


def require_history(run: RunFolder, experiment: Experiment) -> None:
    """Raises a RunError unless a run's user tower has a history encoder."""
    features = experiment.user_tower.features
    if not any(map(reads_events, features.values())):
        raise RunError(
            f"--shots needs a run whose user tower has a history encoder, but {run.path} has only "
            f"{', '.join(features) or 'no features'}. Add a feature {{encoder: history, dim: 64}} and train again."
        )


def few_shots(run: RunFolder, experiment: Experiment, data: TwoTowerData, shots: Sequence[int], device: str) -> Shots:
    """Tests a run on new users whose histories have at most k events.

    New users have no id and no bias, but keep their other features. Their histories hold the last k events before the
    tested ones. With the first k events, the curve would mix how little is known with how old it is. The tested events,
    and the seen items that lists leave out, are the same for every k. Item vectors were trained on these users, too.

    Args:
        run: A finished run.
        experiment: Its experiment.
        data: Its data; afterwards, the ids of its users are unknown.
        shots: The values of k, >= 0.
        device: `cpu`, `cuda` or `auto`.
    """
    mask_columns(data, [data.schema.users.key])
    trainer = make_trainer(experiment, device, logger=False, callbacks=[])
    names = EvaluationPlan.of(experiment).names
    figures = {}
    for k in (*shots, None):
        users = data.schema.users
        assert users.history is not None
        history = users.history if k is None else users.history.limited(k)
        schema = replace(data.schema, users=replace(users, history=history))
        module = build_module(experiment, schema, trained=True)
        run.load_weights(module.model, module.loss)
        mask_biases(module.model, data, [users.key])
        tested = trainer.test(module, DataModule(data), verbose=False)[0]
        figures[ALL if k is None else str(k)] = {name: tested[f"test/{name}"] for name in names}
    return figures
