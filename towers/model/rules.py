"""Structural rules: what a config may ask of its dataset, its encoders and its evaluation, before any data is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from towerzoo.datasets import ColumnNames, Dataset
from towerzoo.registry import DATASETS, ENCODERS, LOSSES, SPLITS, Spec
from towerzoo.registry.errors import InvalidSetting, Problem, name_hint
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.rules import Rule
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.encoders import reads_events
from towerzoo.towers.losses.samplers import takes_shown
from towerzoo.towers.metrics.plan import EvaluationPlan, has_candidates


def feature_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """Features and the label's column must be in the dataset, as far as that is known before reading."""
    columns = column_names(experiment)
    if columns is None:
        return
    offered = {
        "user_tower": (*columns.users, *columns.user_texts),
        "item_tower": (*columns.items, *columns.item_texts),
    }
    for tower, names in offered.items():
        for feature, encoder in features_of(experiment, tower).items():
            if feature not in names and not (tower == "user_tower" and reads_events(encoder)):
                expected = f"a feature of the {experiment.data.name} dataset's {tower.split('_')[0]}s"
                hint = name_hint(feature, names, "Features")
                yield document.problem((tower, "features", feature), expected, feature, hint)
    label = experiment.data.label
    if not label.implicit and label.column not in columns.feedback:
        hint = name_hint(label.column, columns.feedback, "Columns")
        yield document.problem(("data", "label", "column"), "a feedback column of the dataset", label.column, hint)


def history_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """Histories are of users, and need the training events in memory."""
    for feature, encoder in features_of(experiment, "item_tower").items():
        if reads_events(encoder):
            name, _ = ENCODERS.split(encoder)
            path = ("item_tower", "features", feature, ENCODERS.key)
            hint = "Move the feature to user_tower.features, or choose another encoder."
            yield document.problem(path, f"another encoder than {name!r}, which is of users", name, hint)
    if not streams(experiment):
        return
    for feature, encoder in features_of(experiment, "user_tower").items():
        if reads_events(encoder):
            name, _ = ENCODERS.split(encoder)
            expected = f"another encoder than {name!r} where interactions are streamed"
            hint = "Histories hold all training events in memory. Remove the feature, or stream: true."
            yield document.problem(("user_tower", "features", feature), expected, name, hint)


def split_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """The split `files` is for data that comes with its own split, and the only one for it."""
    dataset, (split, _) = _dataset(experiment), SPLITS.split(experiment.data.split)
    presplit, path = getattr(dataset, "presplit", False), ("data", "split")
    if presplit and split != "files":
        hint = "Write `split: files`, or remove valid and test from interactions."
        yield document.problem(path, "'files' for data that comes with its own split", split, hint)
    if dataset is not None and split == "files" and not presplit:
        hint = "Name valid and test files in the interactions of the tabular dataset, or choose another split."
        yield document.problem(path, "a split of events for data without its own split", split, hint)


def evaluation_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """Something must be evaluated, and pairs only of a loss whose logits are probabilities."""
    plan, path = EvaluationPlan.of(experiment), ("evaluation", "pairs")
    if plan.pairs and has_candidates(experiment):
        expected = "false where the loss compares positive events with candidates"
        yield document.problem(path, expected, True, "Its logits are no probabilities; evaluate rankings instead.")
    elif not plan.names:
        hint = "Add evaluation.ranking: {at: [10]}."
        yield document.problem(path, "true where no ranking is evaluated", False, hint)


STRUCTURE_RULES: Final[tuple[Rule, ...]] = (feature_problems, history_problems, split_problems, evaluation_problems)
"""What a model, its data and its evaluation need of a config, also of a run's."""


def compares_with_shown(experiment: Experiment) -> bool:
    """Returns whether the loss compares events with items that were shown with them and not chosen."""
    return has_candidates(experiment) and takes_shown(LOSSES.fact(experiment.loss, "sampler"))


def features_of(experiment: Experiment, tower: str) -> Mapping[str, Spec]:
    """Returns the valid features of `user_tower` or `item_tower`."""
    with contextlib.suppress(InvalidSetting):
        features: Mapping[str, Spec] = getattr(experiment, tower).features
        return features
    return {}


def streams(experiment: Experiment) -> bool:
    """Returns whether training events are streamed."""
    return getattr(_dataset(experiment), "streamed", False)


def column_names(experiment: Experiment) -> ColumnNames | None:
    """Returns the dataset's columns; None where the dataset cannot say before it is read."""
    dataset = _dataset(experiment)
    try:
        columns = None if dataset is None else dataset.columns()
    except Exception:  # reported when the dataset loads
        return None
    return columns if isinstance(columns, ColumnNames) else None


def _dataset(experiment: Experiment) -> Dataset | None:
    """Builds the dataset, which reads nothing; returns None where that fails, which is reported when it loads."""
    spec = experiment.data.dataset
    try:
        dataset: Dataset = DATASETS.build(spec)
    except Exception:
        return None
    return dataset
