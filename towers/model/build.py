"""From a config to its experiment, its data and its model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from towerzoo.datasets import StarSchema, TwoTowerData
from towerzoo.registry import LOSSES, SCORES
from towerzoo.registry.checks import check_experiment
from towerzoo.registry.config import load_config
from towerzoo.registry.errors import ConfigError, DataError, Problem
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.encoders.history import takes_history
from towerzoo.towers.encoders.pretrained import PretrainedEncoder
from towerzoo.towers.layers.trials import built_module
from towerzoo.towers.losses.candidates import try_loss
from towerzoo.towers.metrics.plan import EvaluationPlan, has_candidates
from towerzoo.towers.metrics.ranking import checked_lengths
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.model.rules import (
    column_problems,
    compares_with_shown,
    division_problems,
    history_problems,
    measure_problems,
    shown_problems,
)
from towerzoo.towers.model.scores import try_score
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.training.optimizers import SCHEDULES, built_optimizer
from towerzoo.towers.training.rules import (
    device_problems,
    execution_problems,
    optimizer_problems,
    set_execution,
    trainer_problems,
)


def read_experiment(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Experiment, Document]:
    """Reads and checks a config, without reading any data.

    Args:
        path: A YAML file or the name of a shipped config.
        overrides: `KEY.PATH=VALUE` texts.

    Returns:
        The experiment, and the config document that knows where each value came from.

    Raises:
        ConfigError: With every problem of the config.
    """
    document = load_config(path, overrides)
    experiment = check_experiment(document, [*column_problems(document), *trainer_problems(document)])
    problems = [
        *history_problems(document, experiment),
        *shown_problems(document, experiment),
        *measure_problems(document, experiment),
        *division_problems(document, experiment),
        *device_problems(document, experiment),
        *execution_problems(document, experiment),
        *optimizer_problems(document, experiment),
    ]
    if problems:
        raise ConfigError(problems)
    return experiment, document


def load_data(experiment: Experiment) -> TwoTowerData:
    """Loads, labels and splits the experiment's dataset.

    Raises:
        ConfigError: Longer lists are to be ranked than there are items.
        DataError: As of `TwoTowerData.load`.
    """
    data = experiment.data
    loaded = TwoTowerData.load(
        data.dataset,
        label=data.label.model_dump(),
        split=data.split,
        batch_size=data.batch_size,
        fit_on=data.fit_on,
        seed=experiment.seed,
        history=any(map(takes_history, experiment.user_tower.features.values())),
        positives_only=has_candidates(experiment),
        shown=compares_with_shown(experiment),
    )
    if lengths := EvaluationPlan.of(experiment).at:
        checked_lengths(lengths, len(loaded.schema.items) - 1, "evaluation.ranking.at")
    return loaded


def build_model(experiment: Experiment, schema: StarSchema, *, trained: bool = False) -> DSSM:
    """Builds the experiment's model for a dataset; its weights are a function of the experiment's seed.

    Args:
        experiment: The experiment.
        schema: The dataset.
        trained: Whether trained weights are loaded next, so that files of vectors are not needed any more.

    Raises:
        ConfigError: A feature's encoder does not suit its column, the towers' vectors differ in length, nothing can be
            trained, or batch normalisation would get batches of one row.
        DataError: A file of vectors is missing or wrong.
    """
    torch.manual_seed(experiment.seed)
    user_tower, item_tower = (
        Tower(table, part.features, block=part.block, widths=part.widths, init=part.init, combine=part.combine)
        for table, part in ((schema.users, experiment.user_tower), (schema.items, experiment.item_tower))
    )
    model = DSSM(
        user_tower,
        item_tower,
        score=built_module(SCORES, experiment.score, n_users=len(schema.users), n_items=len(schema.items)),
        loss=built_module(LOSSES, experiment.loss),
        optimizer=functools.partial(_build_optimizer, experiment.optimizer),
        unique=experiment.training.unique,
        schedule=SCHEDULES[experiment.training.schedule],
        plan=EvaluationPlan.of(experiment),
    )
    try_score(experiment.score, model.score, user_tower.out_features)
    try_loss(experiment.loss, model.loss, weighted=schema.interactions.weight is not None)
    if not list(model.parameters()):
        hint = "Add features to the towers, or biases to the score."
        raise ConfigError([Problem("the model", "one with something to train", "no weights", hint)])
    troubles = [str(part.trouble) for part in model.modules() if isinstance(part, PretrainedEncoder) and part.trouble]
    if troubles and not trained:
        raise DataError("\n".join(troubles))
    if experiment.data.batch_size == 1 and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        raise ConfigError(
            [Problem("data.batch_size", "at least 2 for blocks with batch normalisation", 1, "Try 1024.")]
        )
    set_execution(model, experiment)
    return model


def _build_optimizer(spec: Any, parameters: Any) -> torch.optim.Optimizer:
    return built_optimizer(spec, list(parameters))
