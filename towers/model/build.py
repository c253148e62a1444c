"""From a config to its experiment, its data and its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError

from towerzoo.datasets import StarSchema
from towerzoo.registry import SCORES
from towerzoo.registry.config import Config, Overrides, load_config
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.imports import names_session
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.encoders import reads_events
from towerzoo.towers.layers.trials import built_module
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.model.scores import try_score
from towerzoo.towers.model.tower import Tower

if TYPE_CHECKING:
    from towerzoo.datasets import TwoTowerData
    from towerzoo.registry.rules import Rule


def read_experiment(
    config: Config, overrides: Overrides = (), rules: Sequence[Rule] = ()
) -> tuple[Experiment, Document]:
    """Reads and checks a config, without reading any data.

    Args:
        config: A YAML file, the name of a shipped config, or the config itself.
        overrides: `KEY.PATH=VALUE` texts, or values by key path.
        rules: Rules beyond those of the structure, such as `TRAINING_RULES`.

    Returns:
        The experiment, and the config document, which knows where each value came from.

    Raises:
        ConfigError: With every problem of the config.
    """
    from towerzoo.registry.checks import check_experiment
    from towerzoo.towers.model.rules import STRUCTURE_RULES

    document = load_config(config, overrides)
    return check_experiment(document, (*STRUCTURE_RULES, *rules)), document


def stored_experiment(config: Path) -> Experiment:
    """Reads the config of a run. It was checked and completed when the run was trained, so its parts are not checked.

    Raises:
        ConfigError: It was changed, and is wrong now.
    """
    document = load_config(config)
    if not document.problems and not names_session(document):
        try:
            return Experiment.model_validate(document.value)
        except ValidationError:
            pass  # for a message with the line of the file
    return read_experiment(config)[0]


def load_data(experiment: Experiment) -> TwoTowerData:
    """Loads, labels and splits the experiment's dataset.

    Raises:
        ConfigError: Longer lists are to be ranked than there are items.
        DataError: As of `TwoTowerData.load`.
    """
    from towerzoo.datasets import TwoTowerData
    from towerzoo.towers.metrics.plan import EvaluationPlan, has_candidates
    from towerzoo.towers.metrics.ranking import checked_lengths
    from towerzoo.towers.model.rules import compares_with_shown

    data = experiment.data
    loaded = TwoTowerData.load(
        data.dataset,
        label=data.label.model_dump(),
        split=data.split,
        batch_size=data.batch_size,
        fit_on=data.fit_on,
        seed=experiment.seed,
        history=any(map(reads_events, experiment.user_tower.features.values())),
        positives_only=has_candidates(experiment),
        shown=compares_with_shown(experiment),
    )
    if lengths := EvaluationPlan.of(experiment).at:
        checked_lengths(lengths, len(loaded.schema.items) - 1, "evaluation.ranking.at")
    return loaded


def build_model(experiment: Experiment, schema: StarSchema) -> DSSM:
    """Builds the experiment's model for a dataset; its weights are a function of the experiment's seed.

    Raises:
        ConfigError: An encoder does not suit its column, the towers' vectors differ in length, or there are no weights.
    """
    torch.manual_seed(experiment.seed)
    user_tower, item_tower = (
        Tower(table, part.features, block=part.block, widths=part.widths, init=part.init, combine=part.combine)
        for table, part in ((schema.users, experiment.user_tower), (schema.items, experiment.item_tower))
    )
    score = built_module(SCORES, experiment.score, n_users=len(schema.users), n_items=len(schema.items))
    model = DSSM(user_tower, item_tower, score)
    try_score(experiment.score, score, user_tower.out_features)
    if not list(model.parameters()):
        hint = "Add features to the towers, or biases to the score."
        raise ConfigError([Problem("the model", "one with something to train", "no weights", hint)])
    return model
