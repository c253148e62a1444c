from __future__ import annotations

import math

import pytest
import torch

from towerzoo.datasets import Interactions, Split, Vocabulary
from towerzoo.datasets.labels import binary_labels, require_two_classes
from towerzoo.registry.errors import DataError


def rated(*ratings: float) -> Interactions:
    rows = torch.ones(len(ratings), dtype=torch.int32)
    return Interactions(rows, rows, {"rating": torch.tensor(ratings), "minutes": torch.tensor(ratings) * 10})


@pytest.mark.parametrize(
    ("column", "positive_from", "expected"),
    [
        pytest.param("rating", 4, [0, 0, 1, 1], id="the threshold itself is positive"),
        pytest.param("rating", 3.5, [0, 1, 1, 1], id="a threshold may be a fraction"),
        pytest.param("minutes", 41, [0, 0, 0, 1], id="in its own unit"),
        pytest.param("rating", 9, [0, 0, 0, 0], id="none"),
    ],
)
def test_labels_are_one_from_the_threshold(column, positive_from, expected):
    labels = binary_labels(rated(1, 3.5, 4, 5), column, positive_from)
    assert labels.dtype == torch.float32
    assert labels.tolist() == expected


def acted(*rows: float) -> Interactions:
    ones = torch.ones(len(rows), dtype=torch.int32)
    actions = {"action": Vocabulary(["cart", "purchase", "view"])}
    return Interactions(ones, ones, {"action": torch.tensor(rows), "stars": torch.tensor(rows)}, categories=actions)


def test_one_value_is_positive():
    assert binary_labels(acted(1.0, 2.0, 3.0, 2.0), "action", equals="purchase").tolist() == [0, 1, 0, 1]
    assert binary_labels(acted(1.0, 2.0, 3.0, 2.0), "stars", equals=3).tolist() == [0, 0, 1, 0]


def test_implicit_labels_need_no_feedback():
    rows = torch.ones(3, dtype=torch.int32)
    labels = binary_labels(Interactions(rows, rows, {}), implicit=True)
    assert labels.dtype == torch.float32
    assert labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("column", "rule", "message"),
    [
        (
            "action",
            {"positive_from": 4},
            r"data\.label\.positive_from must suit action, which has texts, got a threshold\. "
            r"Write `equals` and a text\. Texts: cart, purchase, view\.",
        ),
        ("action", {"equals": 2}, r"data\.label\.equals must suit action, which has texts, got 2\. Write `equals`"),
        (
            "action",
            {"equals": "purchas"},
            r"data\.label\.equals must be a text of action, got 'purchas'\. Did you mean 'purchase'\? Texts: cart,",
        ),
        ("stars", {"equals": "4"}, r"data\.label\.equals must be a number, since stars has numbers, got '4'\."),
        (
            "event",
            {"equals": "4"},
            r"data\.label\.column must be a feedback column of the dataset, got 'event'\. Columns: act",
        ),
    ],
)
def test_unsuitable_rule_is_refused(column, rule, message):
    with pytest.raises(DataError, match=message):
        binary_labels(acted(1.0, 2.0), column, **rule)


def test_unknown_feedback_is_refused():
    message = (
        r"data\.label\.column must be a feedback column of the dataset, got 'raiting'\. Columns: minutes, rating\."
    )
    with pytest.raises(DataError, match=message):
        binary_labels(rated(1), "raiting", 4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_feedback_must_be_finite(value):
    message = rf"rating must be finite in every event, got {value} in event 1\. 2 of 4 events are like that"
    with pytest.raises(DataError, match=message):
        binary_labels(rated(4, value, 5, value), "rating", 4)


@pytest.mark.parametrize("part", ["train", "valid", "test"])
@pytest.mark.parametrize("only", [0, 1])
def test_part_with_one_class_is_refused(part, only):
    labels = torch.tensor([0.0, 1.0] * 6)
    rows = {name: torch.arange(4) + 4 * number for number, name in enumerate(("train", "valid", "test"))}
    require_two_classes(labels, Split(**rows))
    labels[rows[part]] = float(only)
    message = (
        rf"The labels of the {part} split must be of both classes, got only {only} in 4 events\. Check data\.label"
    )
    with pytest.raises(DataError, match=message):
        require_two_classes(labels, Split(**rows))


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_positives_alone_suffice_if_only_they_train(part):
    labels = torch.tensor([0.0, 1.0] * 6)
    rows = {name: torch.arange(4) + 4 * number for number, name in enumerate(("train", "valid", "test"))}
    labels[rows[part]] = 1.0
    require_two_classes(labels, Split(**rows), positives_only=True)
    labels[rows[part]] = 0.0
    message = rf"The labels of the {part} split must be 1 for some events, got only 0 in 4 events\. Check data\.label"
    with pytest.raises(DataError, match=message):
        require_two_classes(labels, Split(**rows), positives_only=True)


def test_single_label_of_the_other_class_is_enough():
    # float16 rounds at 8,192 events what float32 rounds at 67 million.
    labels = torch.ones(8_192, dtype=torch.float16)
    labels[0] = 0
    assert labels.mean() == 1, "the case is no longer relevant"
    rows = torch.arange(len(labels))
    require_two_classes(labels, Split(rows, rows, rows))
