"""Figures of new users of whom only a few events are known."""

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
"""Stands for the whole histories."""

Shots = dict[str, dict[str, float]]
"""The test figures by how many events a history holds, and at last those of whole histories, `ALL`."""


def require_history(run: RunFolder, experiment: Experiment) -> None:
    """Raises a RunError unless a run's user tower has a history encoder."""
    features = experiment.user_tower.features
    if not any(map(reads_events, features.values())):
        raise RunError(
            f"--shots must be given with a run whose user tower has a history encoder, got {run.path} with "
            f"{', '.join(features) or 'no features'}. Add a feature {{encoder: history, dim: 64}} and train again."
        )


def few_shots(run: RunFolder, experiment: Experiment, data: TwoTowerData, shots: Sequence[int], device: str) -> Shots:
    """Returns the test figures of new users whose histories hold no more than some events.

    A new user has no id and no bias of her own, and keeps her other features. Her history holds the last k events
    before what is tested, or fewer where she has fewer. The last ones, since the first of many events are older than
    the first of a few, and the curve would mix how little is known with how long ago it was. What is tested, and the
    seen items that lists leave out, are the same for every k. Items' vectors were trained on these users' events, too.

    Args:
        run: A finished run, whose weights are tested.
        experiment: Its experiment.
        data: Its data; its users' ids are unknown afterwards.
        shots: How many events a history may hold, >= 0 each.
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
