from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from towerzoo.towers.layers.dropout import LEVELS, Dropout

N = 400_000
SHARES = [0.001, 0.1, 0.2, 0.3, 0.5, 0.75, 0.99]


def mask(p: float, shape: tuple[int, ...] = (N,), seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(seed)
    return Dropout(p)(torch.ones(shape, dtype=dtype))


def level(values: torch.Tensor) -> int:
    """The level of a call, from its scale."""
    (scale,) = values[values != 0].double().unique().tolist()
    return round(LEVELS * (1 - 1 / scale))


@pytest.mark.parametrize("p", SHARES)
def test_a_call_drops_one_of_the_two_nearest_shares_and_keeps_the_mean(p):
    for seed in range(3):
        values = mask(p, seed=seed).double()
        drawn = level(values) / LEVELS
        assert abs(drawn - p) < 1 / LEVELS
        # Five standard deviations of a mean over N coins.
        assert (values == 0).double().mean().item() == pytest.approx(drawn, abs=5 * math.sqrt(drawn * (1 - drawn) / N))
        assert values.mean().item() == pytest.approx(1, abs=5 * math.sqrt(drawn / (1 - drawn) / N) + 1e-6)
        assert values.var().item() == pytest.approx(drawn / (1 - drawn), rel=0.1)


def test_levels_between_two_bytes_are_right_on_average():
    torch.manual_seed(0)
    dropout, calls = Dropout(0.3), 2_000
    levels = [level(dropout(torch.ones(100))) for _ in range(calls)]
    assert set(levels) == {76, 77}
    assert sum(levels) / calls == pytest.approx(0.3 * LEVELS, abs=5 * math.sqrt(0.8 * 0.2 / calls))


def test_neighbours_rows_and_calls_are_independent():
    torch.manual_seed(3)
    dropout = Dropout(0.3)
    first, second = (dropout(torch.ones(2_000, 200)) != 0 for _ in range(2))
    limit = 5 / math.sqrt(first.numel())

    def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
        return torch.corrcoef(torch.stack([one.flatten().double(), other.flatten().double()]))[0, 1].item()

    for distance in (1, 2, 3, 4, 7, 8, 16):  # eight values come from one random number
        assert abs(correlation(first[:, :-distance], first[:, distance:])) < limit
    assert abs(correlation(first[:-1], first[1:])) < limit
    assert abs(correlation(first, second)) < limit


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 5), (0, 4)], ids=str)
def test_every_shape_keeps_its_shape(shape):
    assert mask(0.5, shape).shape == shape


def test_a_seed_fixes_the_masks():
    assert torch.equal(mask(0.3, seed=1), mask(0.3, seed=1))
    assert not torch.equal(mask(0.3, seed=1), mask(0.3, seed=2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_stay(dtype):
    values = mask(0.5, dtype=dtype)
    assert values.dtype is dtype
    assert sorted(values.unique().tolist()) == [0.0, 2.0]


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_pass_where_values_did_and_autocast_decides_the_type(autocast):
    x = torch.ones(1_000, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = Dropout(0.5)(x)
    assert y.dtype is (torch.bfloat16 if autocast else torch.float32)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach().float())


@pytest.mark.parametrize("p", [0.0, 1e-9])
def test_a_rate_near_zero_drops_nothing(p):
    assert torch.equal(mask(p, (100,)), torch.ones(100))


@pytest.mark.parametrize("p", [0.998, 1 - 1e-9])
def test_a_rate_near_one_uses_torchs_kernel(p):
    torch.manual_seed(0)
    expected = nn.Dropout(p)(torch.ones(100_000))
    assert torch.equal(mask(p, (100_000,)), expected)


def test_evaluation_changes_nothing():
    x = torch.randn(50)
    assert Dropout(0.9).eval()(x) is x


def test_it_prints_and_saves_like_torchs():
    assert repr(Dropout(0.3)) == repr(nn.Dropout(0.3))
    assert Dropout(0.3).state_dict() == {}
