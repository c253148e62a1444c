from __future__ import annotations

import re

import pytest

from towerzoo.registry.errors import RunError
from towerzoo.towers.metrics.protocol import fingerprint, protocol, require_same_protocol
from towerzoo.towers.model.build import load_data


@pytest.fixture
def described(make_experiment):
    """Describes the protocol of an experiment on the small world, with sections replaced."""

    def describe(**changes):
        experiment = make_experiment(**changes)
        return protocol(experiment, load_data(experiment))

    return describe


def test_equal_experiments_have_equal_fingerprints(described):
    assert described() == described()
    assert re.fullmatch("[0-9a-f]{12}", fingerprint(described()))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"loss": {"name": "bce-with-logits"}},
        {"score": {"name": "cosine", "scale": 3.0}},
        {"optimizer": {"name": "adam", "lr": 0.5}},
        {"data": {"batch_size": 5}},
        {"data": {"fit_on": "train"}},
    ],
    ids=str,
)
def test_choices_of_a_model_are_not_part_of_the_protocol(described, changes):
    assert fingerprint(described(**changes)) == fingerprint(described())


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ({"label": {"column": "rating", "positive_from": 3}}, ["events", "label"]),
        ({"split": {"name": "random", "fractions": [0.7, 0.2, 0.1]}}, ["events", "split"]),
        ({"split": {"name": "random", "fractions": [0.8, 0.1, 0.1], "seed": 5}}, ["events", "split"]),
        ({"interactions": 1_400}, ["events"]),
        ({"seed": 4}, ["events"]),
    ],
    ids=str,
)
def test_the_data_is_part_of_the_protocol(described, data, fields):
    first, second = described(), described(data=data)
    assert sorted(key for key in first if first[key] != second[key]) == fields
    assert fingerprint(first) != fingerprint(second)


@pytest.mark.parametrize(
    ("pairs", "at", "candidates"),
    [
        (True, [], ["the labelled pairs of the split"]),
        (False, [5], ["all items of the catalogue"]),
        (True, [5], ["the labelled pairs of the split", "all items of the catalogue"]),
    ],
)
def test_metrics_and_candidates_are_part_of_the_protocol(described, pairs, at, candidates):
    actual = described(evaluation={"pairs": pairs, **({"ranking": {"at": at}} if at else {})})
    kinds = [actual, *([actual["ranking"]] if "ranking" in actual else [])]
    assert [kind["candidates"] for kind in kinds] == candidates
    assert [("auc" in kind["metrics"], "recall@5" in kind["metrics"]) for kind in kinds] == [
        (kind["candidates"].startswith("the"), kind["candidates"].startswith("all")) for kind in kinds
    ]


def test_the_folder_of_the_data_is_not_part_of_the_protocol(tmp_path, make_experiment):
    experiment = make_experiment()
    data = load_data(experiment)
    moved = experiment.model_copy(update={"data": experiment.data.model_copy(update={"root": str(tmp_path)})})
    assert fingerprint(protocol(moved, data)) == fingerprint(protocol(experiment, data))


def test_parts_of_the_split_are_identified_by_number_and_content(described):
    events = described()["events"]
    assert [events[part].partition(":")[0] for part in ("train", "valid", "test")] == ["1200", "150", "150"]
    assert len({text.partition(":")[2] for text in events.values()}) == 3


def test_the_label_is_written_as_a_condition(described):
    assert described()["label"] == "rating >= 4"


def test_different_protocols_are_reported_by_run_and_field():
    runs = {"a": {"label": 1, "split": 1}, "b": {"label": 1, "split": 1}, "c": {"label": 2, "events": 3, "split": 1}}
    require_same_protocol({"a": runs["a"], "b": runs["b"]})
    require_same_protocol({"a": runs["a"]})
    with pytest.raises(RunError, match=r"The protocols of a and c differ in events, label, so .*\. Train both on the"):
        require_same_protocol(runs)
