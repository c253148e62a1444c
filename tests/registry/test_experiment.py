from __future__ import annotations

import pytest
from pydantic import ValidationError

from towerzoo.registry.checks import check_experiment
from towerzoo.registry.experiment import Experiment, LabelRule
from towerzoo.registry.yaml_file import read_yaml


@pytest.fixture
def experiment(good: str) -> Experiment:
    return check_experiment(read_yaml(good.replace("name: synthetic", "name: synthetic\n  users: 50"), "m.yaml"))


def test_a_dataset_is_its_name_with_its_own_parameters_only(experiment: Experiment) -> None:
    spec = experiment.data.dataset
    assert isinstance(spec, dict)
    assert (spec["name"], spec["users"]) == ("synthetic", 50)
    assert not {"label", "split", "batch_size", "fit_on"} & set(spec)


def test_an_experiment_cannot_be_changed(experiment: Experiment) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        experiment.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        experiment.data.batch_size = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"positive_from": 4}, "rating >= 4"),
        ({"column": "minutes", "positive_from": 0.5}, "minutes >= 0.5"),
        ({"equals": 4}, "rating == 4"),
        ({"column": "event", "equals": "4"}, "event == '4'"),
        ({"implicit": True}, "every event is positive"),
        ("implicit", "every event is positive"),
    ],
)
def test_a_label_rule_in_words(rule: object, text: str) -> None:
    assert LabelRule.model_validate(rule).text == text


def test_a_label_rule_may_be_the_bare_word(good: str) -> None:
    experiment = check_experiment(read_yaml(good.replace("{positive_from: 4}", "implicit"), "m.yaml"))
    assert experiment.data.label == LabelRule(implicit=True)
    assert Experiment.model_validate(experiment.model_dump()) == experiment
