"""What a config may not ask of its dataset's columns, as far as they are known before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from towerzoo.datasets import ColumnNames, Dataset
from towerzoo.registry import DATASETS, ENCODERS, LOSSES, SPLITS
from towerzoo.registry.errors import Problem, name_hint
from towerzoo.registry.experiment import Data, Experiment
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.encoders import reads_events
from towerzoo.towers.losses.candidates import CandidateLoss
from towerzoo.towers.losses.samplers import takes_shown
from towerzoo.towers.metrics.plan import PAIR_METRICS, USER_METRICS, EvaluationPlan, has_candidates


def column_problems(document: Document) -> list[Problem]:
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
            if feature not in names and not (tower == "user_tower" and reads_events(encoder)):
                where = document.where((tower, "features", feature))
                expected = f"a feature of the {data['name']} dataset's {tower.split('_')[0]}s"
                problems.append(Problem(where, expected, feature, name_hint(feature, names, "Features")))
    label = data.get("label")
    column = label.get("column", "rating") if isinstance(label, Mapping) and not label.get("implicit") else None
    if isinstance(column, str) and column not in columns.feedback:
        where = document.where(("data", "label", "column"))
        problems.append(
            Problem(where, "a feedback column of the dataset", column, name_hint(column, columns.feedback, "Columns"))
        )
    return problems


def history_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns the features of items that are to be histories, which users alone have."""
    return [
        Problem(
            document.where(("item_tower", "features", name, ENCODERS.key)),
            "another encoder than 'history', which is of users",
            "history",
            "Move the feature to user_tower.features, or take another encoder.",
        )
        for name, encoder in experiment.item_tower.features.items()
        if reads_events(encoder)
    ]


def shown_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns that the loss compares with what was shown and not taken, where the dataset is known not to tell that."""
    columns = _column_names(document.value["data"]) if compares_with_shown(experiment) else None
    if columns is None or columns.negatives:
        return []
    where, expected = document.where(("loss", "sampler")), "a sampler that the dataset has items for"
    hint = "Name their column as data.interactions.negatives of a tabular dataset, or choose another sampler."
    return [Problem(where, expected, "from-column", hint)]


def compares_with_shown(experiment: Experiment) -> bool:
    """Returns whether the loss compares events with what was shown with them and not taken."""
    loss = LOSSES.build(experiment.loss)
    return isinstance(loss, CandidateLoss) and takes_shown(loss.sampler)


def _column_names(data: Mapping[str, Any]) -> ColumnNames | None:
    try:
        name = data["name"]
        # Without what it does not take, so that a misspelt parameter does not hide a misspelt feature.
        known = {parameter.name for parameter in DATASETS.parameters(name)} - set(Data.model_fields)
        parameters = {key: value for key, value in data.items() if key in known}
        columns = DATASETS.build({"name": name, **parameters}).columns()
    except Exception:  # the spec's own problems are found and told by check_experiment, the part's when it is loaded
        return None
    return columns if isinstance(columns, ColumnNames) else None


def division_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what a checked experiment asks of its data and cannot have, found before anything is read."""
    dataset: Dataset = DATASETS.build(experiment.data.dataset)
    presplit, streamed = (getattr(dataset, name, False) for name in ("presplit", "streamed"))
    problems = []
    split, _ = SPLITS.split(experiment.data.split)
    where = document.where(("data", "split"))
    if presplit and split != "files":
        hint = "Write `split: files`, or remove valid and test from interactions."
        problems.append(Problem(where, "'files' for data that comes with its own split", split, hint))
    if split == "files" and not presplit:
        hint = "Name valid and test files in the interactions of the tabular dataset, or use another split."
        problems.append(Problem(where, "a split of events for data without its own split", split, hint))
    return [*problems, *(_stream_problems(document, experiment) if streamed else ())]


def _stream_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what needs all training events in memory."""
    problems = [
        Problem(
            document.where(("user_tower", "features", name)),
            "another encoder than 'history' where interactions are streamed",
            "history",
            "Histories hold all training events in memory. Remove the feature, or stream: true.",
        )
        for name, encoder in experiment.user_tower.features.items()
        if reads_events(encoder)
    ]
    loss = LOSSES.build(experiment.loss)
    if isinstance(loss, CandidateLoss) and loss.mask_known:
        hint = "What users are known to like is not in memory. Add mask_known: false to the loss."
        where = document.where(("loss", "mask_known"))
        problems.append(Problem(where, "false where interactions are streamed", True, hint))
    return problems


def measure_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what a checked experiment asks to measure and cannot, or to watch and does not measure."""
    plan = EvaluationPlan.of(experiment)
    if plan.pairs and has_candidates(experiment):
        where = document.where(("evaluation", "pairs"))
        expected = "false where the loss compares positive events with candidates"
        return [Problem(where, expected, True, "Its logits are no probabilities; rankings are measured instead.")]
    if not plan.names:
        where = document.where(("evaluation", "pairs"))
        return [Problem(where, "true where no ranking is measured", False, "Add evaluation.ranking: {at: [10]}.")]
    stopping = experiment.training.early_stopping
    watched = stopping.monitor if stopping else None
    names = [f"valid/{name}" for name in plan.names]
    if watched is not None and watched not in names:
        where = document.where(("training", "early_stopping", "monitor"))
        hint = name_hint(watched, names, "Measured")
        if not plan.pairs and watched.partition("/")[2] in PAIR_METRICS + USER_METRICS:
            lines = f"training:\n          early_stopping: {{monitor: {plan.monitor}}}"
            hint = f"Lists are ranked here, and pairs are not scored. Write\n        {lines}"
        return [Problem(where, "a figure of validation", watched, hint)]
    return []
