from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from towerzoo.towers.dropout import LEVELS, Dropout

N = 400_000
SHARES = [0.001, 0.1, 0.2, 0.3, 0.5, 0.75, 0.99]


def mask(p: float, shape: tuple[int, ...] = (N,), seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(seed)
    return Dropout(p)(torch.ones(shape, dtype=dtype))


@pytest.mark.parametrize("p", SHARES)
def test_as_many_values_are_dropped_as_by_torch(p):
    ours = (mask(p) == 0).double().mean().item()
    # Five standard deviations of a mean over N coins, and half a level of the rounding of p.
    assert ours == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / N) + 0.5 / LEVELS)


@pytest.mark.parametrize("p", SHARES)
def test_what_is_kept_is_scaled_so_that_the_mean_stays(p):
    values = mask(p)
    (scale,) = values[values != 0].unique().tolist()
    assert scale == pytest.approx(1 / (1 - p), rel=1e-3)
    drawn = round(p * LEVELS) / LEVELS
    assert scale * (1 - drawn) == pytest.approx(1, abs=1e-6), "the scale is that of the share that is drawn"
    assert values.double().mean().item() == pytest.approx(1, abs=5 * math.sqrt(p / (1 - p) / N))
    assert values.double().var().item() == pytest.approx(p / (1 - p), rel=0.1)


def test_neighbours_columns_and_calls_are_independent():
    torch.manual_seed(3)
    dropout = Dropout(0.3)
    first, second = (dropout(torch.ones(2_000, 200)) != 0 for _ in range(2))
    limit = 5 / math.sqrt(first.numel())

    def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
        return torch.corrcoef(torch.stack([one.flatten().double(), other.flatten().double()]))[0, 1].item()

    for distance in (1, 2, 3, 4, 8):  # four values come of one random number
        assert abs(correlation(first[:, :-distance], first[:, distance:])) < limit
    assert abs(correlation(first[:-1], first[1:])) < limit
    assert abs(correlation(first, second)) < limit


def test_the_lanes_of_a_random_number_drop_alike():
    lanes = (mask(0.3).view(-1, 4) == 0).double().mean(0)
    assert lanes.tolist() == pytest.approx([0.3] * 4, abs=5 * math.sqrt(0.21 * 4 / N))


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 5), (0, 4)], ids=str)
def test_every_shape_keeps_its_shape(shape):
    assert mask(0.5, shape).shape == shape


def test_a_seed_fixes_the_masks():
    assert torch.equal(mask(0.3, seed=1), mask(0.3, seed=1))
    assert not torch.equal(mask(0.3, seed=1), mask(0.3, seed=2))


def test_the_gradient_passes_where_the_value_did():
    torch.manual_seed(0)
    x = torch.ones(1_000, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_are_kept(dtype):
    values = mask(0.5, dtype=dtype)
    assert values.dtype is dtype
    assert sorted(values.unique().tolist()) == [0.0, 2.0]


@pytest.mark.parametrize("p", [0.0, 1e-9])
def test_a_share_that_rounds_to_nothing_is_left_to_torch(p):
    assert torch.equal(mask(p, (100,)), torch.ones(100) / (1 - p))


def test_a_share_that_rounds_to_all_is_left_to_torch():
    assert not mask(1 - 1e-9, (100,)).any()


def test_evaluation_changes_nothing():
    x = torch.randn(50)
    assert Dropout(0.9).eval()(x) is x


def test_it_prints_and_saves_as_torchs_own():
    assert repr(Dropout(0.3)) == repr(nn.Dropout(0.3))
    assert Dropout(0.3).state_dict() == {}
