"""What a config may not ask of its dataset's columns, as far as they are known before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from towerzoo.datasets import ColumnNames
from towerzoo.registry import DATASETS, ENCODERS, LOSSES
from towerzoo.registry.errors import Problem, name_hint
from towerzoo.registry.experiment import Data, Experiment
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.encoders.history import takes_history
from towerzoo.towers.losses.sampled import CandidateLoss
from towerzoo.towers.losses.samplers import takes_shown


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
        if takes_history(encoder)
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
