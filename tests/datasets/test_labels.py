from __future__ import annotations

import math

import pytest
import torch

from towerzoo.datasets import Interactions, Vocabulary
from towerzoo.datasets.labels import binary_labels, require_classes
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


@pytest.mark.parametrize(
    ("positives", "positives_only", "message"),
    [
        (
            0,
            False,
            r"The labels of the valid split must be of both classes, got only 0 in 4 events\.",
        ),
        (4, False, r"must be of both classes, got only 1 in 4 events"),
        (
            0,
            True,
            r"The labels of the valid split must be 1 for some events, got only 0 in 4 events\.",
        ),
    ],
)
def test_parts_without_a_needed_class_are_refused(positives, positives_only, message):
    with pytest.raises(DataError, match=message):
        require_classes("valid", positives, 4, positives_only=positives_only)


def test_parts_with_the_needed_classes():
    require_classes("valid", 1, 2, positives_only=False)
    require_classes("valid", 2, 2, positives_only=True)
