"""From a config to its experiment, its data and its model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import torch
from pydantic import Field, TypeAdapter, ValidationError
from pytorch_lightning import Trainer
from torch import nn

import towerzoo.towers  # noqa: F401  (registers the parts that configs name)
from towerzoo.datasets import ColumnNames, StarSchema, TwoTowerData
from towerzoo.registry import DATASETS, ENCODERS, LOSSES, OPTIMIZERS, SCORES
from towerzoo.registry.checks import check_experiment
from towerzoo.registry.config import load_config
from towerzoo.registry.errors import ConfigError, DataError, Problem, name_hint, nearest
from towerzoo.registry.expectations import expectation
from towerzoo.registry.experiment import Data, Experiment
from towerzoo.registry.ranges import Count, NonNegative
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.candidate_losses import CandidateLoss
from towerzoo.towers.device_checks import device_problems, devices_problem
from towerzoo.towers.division_checks import division_problems
from towerzoo.towers.dssm import DSSM
from towerzoo.towers.execution import execution_problems, set_execution
from towerzoo.towers.history_encoder import takes_history
from towerzoo.towers.measures import PAIR_METRICS, USER_METRICS, Measures, has_candidates
from towerzoo.towers.optimizer_checks import optimizer_problems
from towerzoo.towers.pretrained import PretrainedEncoder
from towerzoo.towers.ranking import checked_lengths
from towerzoo.towers.samplers import takes_shown
from towerzoo.towers.schedules import SCHEDULES
from towerzoo.towers.tower import Tower

TRAINER_KEYS_SET_ELSEWHERE = {
    "accelerator": "Use --device.",
    "barebones": "TowerZoo logs and saves every epoch.",
    "callbacks": "",
    "check_val_every_n_epoch": "TowerZoo validates after every epoch.",
    "default_root_dir": "Use --out.",
    "enable_checkpointing": "",
    "fast_dev_run": "Use --fast-dev-run.",
    "limit_test_batches": "Results are those of whole splits; use --fast-dev-run to try a config out.",
    "limit_val_batches": "Results are those of whole splits; use --fast-dev-run to try a config out.",
    "logger": "",
    "max_epochs": "Set training.max_epochs.",
    "max_steps": "TowerZoo trains whole epochs; set training.max_epochs or trainer.limit_train_batches.",
    "max_time": "TowerZoo trains whole epochs; set training.max_epochs.",
    "num_nodes": "TowerZoo trains on one machine; set trainer.devices.",
    "overfit_batches": "Results are those of whole splits; set trainer.limit_train_batches.",
    "strategy": "TowerZoo divides batches itself; set trainer.devices.",
    "val_check_interval": "TowerZoo validates after every epoch.",
}
"""Arguments of the Trainer that TowerZoo gives itself, and what a person should use instead."""

TRAINER_RANGES: Final[dict[str, Any]] = {
    "accumulate_grad_batches": Count,
    "gradient_clip_val": NonNegative | None,
    "limit_train_batches": Count | Annotated[float, Field(gt=0, le=1)] | None,
}
"""Types of arguments that the Trainer takes as they are, and that would end training."""


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
    experiment = check_experiment(document, [*_column_problems(document), *_trainer_problems(document)])
    problems = [
        *_history_problems(document, experiment),
        *_shown_problems(document, experiment),
        *_measure_problems(document, experiment),
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
        shown=_takes_shown(experiment),
    )
    if lengths := Measures.of(experiment).at:
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
        score=SCORES.build(experiment.score, n_users=len(schema.users), n_items=len(schema.items)),
        loss=LOSSES.build(experiment.loss),
        optimizer=functools.partial(_build_optimizer, experiment.optimizer),
        unique=experiment.training.unique,
        schedule=SCHEDULES[experiment.training.schedule],
        measures=Measures.of(experiment),
    )
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
    optimizer: torch.optim.Optimizer = OPTIMIZERS.build(spec, parameters=parameters)
    return optimizer


def _column_problems(document: Document) -> list[Problem]:
    """Returns the features and label columns that the dataset does not have, as far as that is known before reading."""
    data = document.value.get("data")
    columns = _column_names(data) if isinstance(data, Mapping) else None
    if columns is None:
        return []
    assert isinstance(data, Mapping)
    problems = []
    offered = {
        "user_tower": (*columns.users, *columns.user_texts),
        "item_tower": (*columns.items, *columns.item_texts),
    }
    for tower, names in offered.items():
        section = document.value.get(tower)
        features = section.get("features") if isinstance(section, Mapping) else None
        for feature, encoder in features.items() if isinstance(features, Mapping) else ():
            if feature not in names and not (tower == "user_tower" and takes_history(encoder)):
                where = document.where((tower, "features", feature))
                expected = f"a feature of the {data['name']} dataset's {tower.split('_')[0]}s"
                problems.append(Problem(where, expected, feature, name_hint(feature, names, "Features")))
    label = data.get("label")
    column = label.get("column", "rating") if isinstance(label, Mapping) and not label.get("implicit") else None
    if isinstance(column, str) and column not in columns.measures:
        where = document.where(("data", "label", "column"))
        problems.append(
            Problem(where, "a measure of the dataset", column, name_hint(column, columns.measures, "Measures"))
        )
    return problems


def _takes_shown(experiment: Experiment) -> bool:
    loss = LOSSES.build(experiment.loss)
    return isinstance(loss, CandidateLoss) and takes_shown(loss.sampler)


def _history_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns the features of items that are to be histories, which users alone have."""
    return [
        Problem(
            document.where(("item_tower", "features", name, ENCODERS.key)),
            "another encoder than 'history', which is of users",
            "history",
            "Move the feature to user_tower.features, or take another encoder.",
        )
        for name, encoder in experiment.item_tower.features.items()
        if takes_history(encoder)
    ]


def _shown_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns that the loss compares with what was shown and not taken, where the dataset is known not to tell that."""
    columns = _column_names(document.value["data"]) if _takes_shown(experiment) else None
    if columns is None or columns.negatives:
        return []
    where, expected = document.where(("loss", "sampler")), "a sampler that the dataset has items for"
    hint = "Name their column as data.interactions.negatives of a tabular dataset, or choose another sampler."
    return [Problem(where, expected, "from-column", hint)]


def _measure_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what a checked experiment asks to measure and cannot, or to watch and does not measure."""
    measures = Measures.of(experiment)
    if measures.pairs and has_candidates(experiment):
        where = document.where(("evaluation", "pairs"))
        expected = "false where the loss compares positive events with candidates"
        return [Problem(where, expected, True, "Its logits are no probabilities; rankings are measured instead.")]
    if not measures.names:
        where = document.where(("evaluation", "pairs"))
        return [Problem(where, "true where no ranking is measured", False, "Add evaluation.ranking: {at: [10]}.")]
    stopping = experiment.training.early_stopping
    watched = stopping.monitor if stopping else None
    names = [f"valid/{name}" for name in measures.names]
    if watched is not None and watched not in names:
        where = document.where(("training", "early_stopping", "monitor"))
        hint = name_hint(watched, names, "Measured")
        if not measures.pairs and watched.partition("/")[2] in PAIR_METRICS + USER_METRICS:
            lines = f"training:\n          early_stopping: {{monitor: {measures.monitor}}}"
            hint = f"Lists are ranked here, and pairs are not scored. Write\n        {lines}"
        return [Problem(where, "a figure of validation", watched, hint)]
    return []


def _column_names(data: Mapping[str, Any]) -> ColumnNames | None:
    try:
        name = data["name"]
        # Without what it does not take, so that a misspelt parameter does not hide a misspelt feature.
        known = {parameter.name for parameter in DATASETS.parameters(name)} - set(Data.model_fields)
        parameters = {key: value for key, value in data.items() if key in known}
        columns: ColumnNames = DATASETS.build({"name": name, **parameters}).columns()
    except Exception:  # the spec's own problems are found and told by check_experiment
        return None
    return columns


def _trainer_problems(document: Document) -> list[Problem]:
    trainer = document.value.get("trainer")
    if not isinstance(trainer, Mapping):
        return []
    known = set(inspect.signature(Trainer.__init__).parameters) - {"self", *TRAINER_KEYS_SET_ELSEWHERE}
    devices = devices_problem(document, trainer)
    problems = [devices] if devices else []
    for key in trainer:
        where = document.where(("trainer", key))
        meant = nearest(key, {*known, *TRAINER_KEYS_SET_ELSEWHERE}) if key not in known else None
        if meant in TRAINER_KEYS_SET_ELSEWHERE:
            hint = TRAINER_KEYS_SET_ELSEWHERE[meant] or "TowerZoo sets this itself; remove it."
            problems.append(Problem(where, "an argument that TowerZoo leaves to you", key, hint))
        elif key not in known:
            expected = "an argument of pytorch_lightning.Trainer"
            problems.append(Problem(where, expected, key, name_hint(key, known, "Arguments")))
        elif key in TRAINER_RANGES:
            try:
                TypeAdapter(TRAINER_RANGES[key]).validate_python(trainer[key], strict=True)
            except ValidationError:
                problems.append(Problem(where, expectation(TRAINER_RANGES[key]), trainer[key]))
    return problems
