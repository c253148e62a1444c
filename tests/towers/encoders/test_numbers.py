from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from towerzoo.datasets import UNKNOWN, Column, encode_column
from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import ConfigError, DataError

NAN = float("nan")
SKEWED = Column("price", torch.cat([torch.tensor([NAN]), torch.arange(500.0) ** 3, torch.tensor([NAN])]))
PRICES = Column("price", torch.cat([torch.tensor([NAN]), torch.arange(1000.0).flip(0) ** 2]))
TRANSFORMS = ["standard", "log", "quantile"]


def build(column: Column, **parameters: Any) -> Any:
    return ENCODERS.build({"encoder": "numeric", **parameters}, column=column)


def bucketize(column: Column, **parameters: Any) -> Any:
    return ENCODERS.build({"encoder": "bucketized", "dim": 3, **parameters}, column=column)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_known_numbers_have_mean_0_and_variance_1_in_their_order(transform):
    outputs = build(SKEWED, transform=transform)(SKEWED.values).detach()
    assert outputs.shape == (502, 1)
    known = outputs[1:-1, 0].double()
    assert known.mean().item() == pytest.approx(0, abs=0.01)
    assert known.var().item() == pytest.approx(1, abs=0.02)
    assert bool((known.diff() >= 0).all())
    assert known.unique().numel() > 250


def test_standard_and_log_are_their_formulas():
    x = SKEWED.values[1:-1].double()
    for transform, y in (("standard", x), ("log", torch.log(1 + x))):
        expected = (y - y.mean()) / y.std(correction=0)
        found = build(SKEWED, transform=transform)(SKEWED.values)[1:-1, 0]
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_quantile_is_the_share_of_numbers_below():
    generator = np.random.default_rng(0)
    values = torch.from_numpy(generator.exponential(size=5_001).astype(np.float32))
    encoder = build(Column("price", values), transform="quantile")
    shares = encoder(values)[1:, 0].detach().double() / math.sqrt(12) + 0.5
    ranks = values[1:].argsort().argsort().double() / 4_999
    torch.testing.assert_close(shares, ranks, rtol=0, atol=1 / 256)
    ends = encoder(torch.tensor([-5.0, 1e9]))
    torch.testing.assert_close(ends.flatten(), torch.tensor([-math.sqrt(3), math.sqrt(3)]))


def test_equal_numbers_stand_in_the_middle_of_their_quantiles():
    ties = Column("n", torch.tensor([NAN] + [0.0] * 50 + [1.0] * 50 + [7.0] * 100))
    shares = build(ties, transform="quantile")(torch.tensor([0.0, 1.0, 7.0])).flatten() / math.sqrt(12) + 0.5
    torch.testing.assert_close(shares, torch.tensor([0.125, 0.375, 0.75]), rtol=0, atol=1 / 256)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("values", [[NAN, 0.1, 0.1, 0.1], [NAN, NAN], [NAN]], ids=["equal", "unknown", "none"])
def test_constant_or_unknown_numbers_become_zeros(transform, values):
    outputs = build(Column("price", torch.tensor(values)), transform=transform)(torch.tensor(values))
    torch.testing.assert_close(outputs, torch.zeros(len(values), 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 3])
def test_an_unknown_number_has_a_learned_vector(dim):
    encoder = build(SKEWED, dim=dim)
    assert encoder.out_features == dim
    assert not encoder(SKEWED.values[:1]).any()
    (encoder(SKEWED.values[[0, 1]]) - 1).square().sum().backward()
    assert encoder.unknown.grad.tolist() == [-2.0] * dim
    with torch.no_grad():
        encoder.unknown += torch.arange(1.0, dim + 1)
    assert encoder(SKEWED.values[[-1]]).tolist() == [list(range(1, dim + 1))]


def test_more_outputs_are_a_linear_map_of_one():
    encoder = build(SKEWED, dim=3)
    one = build(SKEWED)(SKEWED.values[5:9])
    torch.testing.assert_close(encoder(SKEWED.values[5:9]), one @ encoder.linear.weight.T + encoder.linear.bias)


def test_row_0_is_not_fitted():
    outlier = Column("price", torch.tensor([1e6, 1.0, 3.0]))
    encoder = build(outlier)
    assert (encoder.mean.item(), encoder.std.item()) == (2.0, 1.0)


def test_ids_of_whole_numbers_are_their_numbers():
    years = encode_column("year", [2000, None, 1990, 2000])
    encoder = build(years)
    expected = build(Column("year", torch.tensor([NAN, 2000, NAN, 1990, 2000])))
    assert torch.equal(encoder(years.values), expected(torch.tensor([NAN, 2000, NAN, 1990, 2000])))
    assert not encoder(torch.tensor([0])).any()


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_state_holds_the_fit(transform):
    fitted = build(SKEWED, transform=transform)
    other = build(Column("price", torch.tensor([NAN, 1.0, 5.0])), transform=transform)
    assert not torch.equal(other(SKEWED.values), fitted(SKEWED.values))
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other(SKEWED.values), fitted(SKEWED.values))


def test_infinite_numbers_are_an_error():
    column = Column("price", torch.tensor([NAN, float("inf"), 1.0, -float("inf")]))
    message = r"feature 'price' must be finite numbers, got 2 infinite ones\. Correct them, or leave them empty\."
    for encode in (build, bucketize):
        with pytest.raises(DataError, match=message):
            encode(column)


def test_negative_numbers_have_no_log():
    column = Column("price", torch.tensor([-9.0, -1.0, 2.0, -3.0, NAN]))
    message = (
        r"feature 'price' must be numbers of at least 0 for transform 'log', got '2 negative of 3'\.\s+Use transform"
    )
    with pytest.raises(ConfigError, match=message):
        build(column, transform="log")


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (encode_column("zip", ["a", "b"]), "single ids"),
        (encode_column("zip", [[1], [2]]), "id lists"),
        (encode_column("zip", [["a"], ["b"]]), "id lists"),
    ],
)
@pytest.mark.parametrize("encoder", [{"encoder": "numeric"}, {"encoder": "bucketized", "dim": 2}], ids=str)
def test_words_and_lists_are_not_numbers(column, found, encoder):
    message = (
        r"feature 'zip' must be a feature of numbers, or of whole numbers as ids, for encoder "
        rf"'{encoder['encoder']}', got '{found}'\.\s+Words take 'embedding', lists 'embedding-bag'"
    )
    with pytest.raises(ConfigError, match=message):
        ENCODERS.build(encoder, column=column)


def test_new_negative_numbers_count_as_0_in_the_log():
    encoder = build(Column("price", torch.tensor([NAN, 0.0, 10.0, 100.0])), transform="log")
    low, zero, known = encoder(torch.tensor([-5.0, 0.0, 10.0])).flatten().tolist()
    assert low == zero < known


@pytest.mark.parametrize("buckets", [1, 4, 10])
def test_buckets_hold_equally_many_numbers_in_their_order(buckets):
    encoder = bucketize(PRICES, buckets=buckets)
    found = encoder.buckets_of(PRICES.values)
    assert found[0] == UNKNOWN
    assert torch.bincount(found[1:])[1:].tolist() == [1000 / buckets] * buckets
    assert bool((found[1:].diff() <= 0).all())
    assert encoder.embedding.weight.shape == (buckets + 1, 3)


def test_a_number_has_the_vector_of_its_bucket():
    encoder = bucketize(PRICES, boundaries=[0, 18, 30.5])
    values = torch.tensor([-1.0, 0.0, 17.9, 18.0, 30.5, 1e9, NAN])
    assert encoder.buckets_of(values).tolist() == [1, 2, 2, 3, 4, 4, UNKNOWN]
    assert torch.equal(encoder(values), encoder.embedding.weight[[1, 2, 2, 3, 4, 4, 0]])
    assert encoder.out_features == 3


def test_the_unknown_row_starts_at_zero_and_learns():
    encoder = bucketize(PRICES)
    assert not encoder(torch.tensor([NAN])).any()
    assert bool(encoder(PRICES.values[1:]).all())
    (encoder(torch.tensor([NAN])) - 1).square().sum().backward()
    assert bool(encoder.embedding.weight.grad[UNKNOWN].all())


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
    encoder = bucketize(Column("price", torch.tensor([NAN, *values])), buckets=5)
    assert encoder.boundaries.tolist() == boundaries
    assert len(encoder.embedding.weight) == len(boundaries) + 2
    assert encoder(torch.tensor([NAN, *values])).shape == (1 + len(values), 3)


def test_ids_of_whole_numbers_are_bucketized_as_numbers():
    ages = encode_column("age", [70, 17, None, 18])
    assert bucketize(ages, boundaries=[18, 30]).buckets_of(ages.values).tolist() == [UNKNOWN, 3, 1, UNKNOWN, 2]


def test_boundaries_are_in_the_state():
    fitted, other = bucketize(PRICES, buckets=4), bucketize(Column("price", torch.arange(9.0)), buckets=4)
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other(PRICES.values), fitted(PRICES.values))
    assert "boundaries none" in repr(bucketize(Column("price", torch.tensor([NAN]))))


@pytest.mark.parametrize("boundaries", [[3, 1], [1, 1]])
def test_boundaries_must_ascend(boundaries):
    message = rf"boundaries of encoder 'bucketized' must be ascending numbers, got \[{boundaries[0]}, 1\]\.\s+Sort them"
    with pytest.raises(ConfigError, match=message):
        bucketize(PRICES, boundaries=boundaries)
