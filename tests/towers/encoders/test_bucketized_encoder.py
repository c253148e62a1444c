from __future__ import annotations

from typing import Any

import pytest
import torch

from towerzoo.datasets import UNKNOWN, Column, encode_column
from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import ConfigError, DataError

NAN = float("nan")
PRICES = Column("price", torch.cat([torch.tensor([NAN]), torch.arange(1000.0).flip(0) ** 2]))


def build(column: Column, **parameters: Any) -> Any:
    return ENCODERS.build({"encoder": "bucketized", "dim": 3, **parameters}, column=column)


@pytest.mark.parametrize("buckets", [1, 4, 10])
def test_buckets_hold_equally_many_numbers_in_their_order(buckets):
    encoder = build(PRICES, buckets=buckets)
    found = encoder.buckets_of(PRICES.values)
    assert found[0] == UNKNOWN
    assert torch.bincount(found[1:])[1:].tolist() == [1000 / buckets] * buckets
    assert bool((found[1:].diff() <= 0).all())
    assert encoder.embedding.weight.shape == (buckets + 1, 3)


def test_a_number_has_the_vector_of_its_bucket():
    encoder = build(PRICES, boundaries=[0, 18, 30.5])
    values = torch.tensor([-1.0, 0.0, 17.9, 18.0, 30.5, 1e9, NAN])
    assert encoder.buckets_of(values).tolist() == [1, 2, 2, 3, 4, 4, UNKNOWN]
    assert torch.equal(encoder(values), encoder.embedding.weight[[1, 2, 2, 3, 4, 4, 0]])
    assert encoder.out_features == 3


def test_the_unknown_row_starts_at_zero_and_learns():
    encoder = build(PRICES)
    assert not encoder(torch.tensor([NAN])).any()
    assert bool(encoder(PRICES.values[1:]).all())
    (encoder(torch.tensor([NAN])) - 1).square().sum().backward()
    assert bool(encoder.embedding.weight.grad[UNKNOWN].all())


def test_init_fills_the_vectors():
    assert build(PRICES, init={"name": "normal", "std": 1e6}).embedding.weight[1:].abs().min() > 1e-3


@pytest.mark.parametrize(
    ("values", "boundaries"),
    [
        ([0.0] * 90 + [5.0] * 10, []),
        ([0.0] * 50 + [5.0] * 50, [5.0]),
        ([1.0] * 5, []),
        ([NAN] * 5, []),
        ([], []),
    ],
    ids=["one that is rare", "two", "one", "unknown", "none"],
)
def test_equal_numbers_make_fewer_buckets_and_no_empty_one(values, boundaries):
    encoder = build(Column("price", torch.tensor([NAN, *values])), buckets=5)
    assert encoder.boundaries.tolist() == boundaries
    assert len(encoder.embedding.weight) == len(boundaries) + 2
    assert encoder(torch.tensor([NAN, *values])).shape == (1 + len(values), 3)


def test_ids_of_whole_numbers_are_their_numbers():
    ages = encode_column("age", [70, 17, None, 18])
    assert build(ages, boundaries=[18, 30]).buckets_of(ages.values).tolist() == [UNKNOWN, 3, 1, UNKNOWN, 2]


def test_boundaries_are_in_the_state():
    fitted, other = build(PRICES, buckets=4), build(Column("price", torch.arange(9.0)), buckets=4)
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other(PRICES.values), fitted(PRICES.values))
    assert "boundaries none" in repr(build(Column("price", torch.tensor([NAN]))))


@pytest.mark.parametrize("boundaries", [[3, 1], [1, 1]])
def test_boundaries_must_ascend(boundaries):
    message = rf"boundaries of encoder 'bucketized' must be ascending numbers, got \[{boundaries[0]}, 1\]\.\s+Sort them"
    with pytest.raises(ConfigError, match=message):
        build(PRICES, boundaries=boundaries)


def test_infinite_numbers_are_an_error():
    with pytest.raises(DataError, match=r"feature 'price' must be finite numbers, got 1 infinite ones"):
        build(Column("price", torch.tensor([NAN, float("inf")])))
