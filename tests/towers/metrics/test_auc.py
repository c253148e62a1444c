from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc

from towerzoo.towers.metrics.auc import exact_auc, group_auc, user_auc


def loop(user: np.ndarray, logits: np.ndarray, positive: np.ndarray) -> float:
    """Compares every positive with every negative event of each user."""
    total = weight = 0.0
    for one in np.unique(user):
        scores, truth = logits[user == one], positive[user == one]
        wins = [(a > b) + (a == b) / 2 for a in scores[truth] for b in scores[~truth]]
        if wins:
            total += len(scores) * sum(wins) / len(wins)
            weight += len(scores)
    return total / weight if weight else math.nan


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-2, 2), st.booleans()), max_size=40))
def test_user_auc_equals_a_plain_loop(events):
    user, logits, positive = (np.array([event[i] for event in events]) for i in range(3))
    positive = positive.astype(bool)
    actual = user_auc(torch.from_numpy(user), torch.from_numpy(logits).float(), torch.from_numpy(positive))
    assert actual == pytest.approx(loop(user, logits, positive), nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_auc_of_each_group_equals_torchmetrics(dtype):
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(0, 30, (6_000,), generator=generator)
    chances = torch.rand(6_000, generator=generator, dtype=dtype).mul(50).round() / 50
    positive = torch.rand(6_000, generator=generator) < chances
    actual = group_auc(group, chances, positive, 30)
    for one, value in enumerate(actual.tolist()):
        of_group = group == one
        expected = binary_auroc(chances[of_group].double(), positive[of_group].int()).item()
        assert value == pytest.approx(expected, abs=1e-6)


def test_one_group_has_the_auc_of_all_events():
    logits = torch.randn(10_000, generator=torch.Generator().manual_seed(1)).mul(5).round()
    positive = torch.rand(10_000, generator=torch.Generator().manual_seed(2)) < logits.sigmoid()
    everyone = torch.zeros(10_000, dtype=torch.int64)
    assert group_auc(everyone, logits, positive, 1).item() == exact_auc([(logits, positive)])
    assert user_auc(everyone, logits, positive) == exact_auc([(logits, positive)])


def test_user_auc_does_not_depend_on_the_chunks(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    user = torch.randint(1, 40, (2_000,), generator=generator, dtype=torch.int32)
    logits = torch.randn(2_000, generator=generator).mul(5).round()
    positive = torch.rand(2_000, generator=generator) < logits.sigmoid()
    whole = user_auc(user, logits, positive)
    for at_once in (1, 7, 999):
        monkeypatch.setattr("towerzoo.towers.metrics.auc.EVENTS_AT_ONCE", at_once)
        assert user_auc(user, logits, positive) == pytest.approx(whole, abs=1e-12)


def test_user_auc_does_not_reward_knowing_which_users_like_more():
    user, positive = torch.tensor([1] * 4 + [2] * 4), torch.tensor([1, 1, 1, 0, 1, 0, 0, 0]).bool()
    by_user = torch.where(user == 1, 3.0, -3.0)
    assert exact_auc([(by_user.clone(), positive)]) > 0.7
    assert user_auc(user, by_user, positive) == 0.5


def test_users_are_weighted_by_their_events():
    user, logits = torch.tensor([7, 7, 3, 3, 3, 3, 5]), torch.tensor([0.0, 1.0, 4.0, 3.0, 2.0, 1.0, 9.0])
    positive = torch.tensor([0, 1, 0, 1, 1, 1, 1]).bool()
    assert user_auc(user.int(), logits, positive) == pytest.approx((2 * 1.0 + 4 * 0.0) / 6)


@pytest.mark.parametrize(
    ("user", "logits", "positive"),
    [([], [], []), ([1, 2], [0.0, 1.0], [True, False]), ([1, 1], [math.nan, 1.0], [True, False])],
    ids=["no events", "no user has both classes", "nan"],
)
def test_an_undefined_user_auc_is_nan(user, logits, positive):
    events = torch.tensor(user, dtype=torch.int32), torch.tensor(logits), torch.tensor(positive, dtype=torch.bool)
    assert math.isnan(user_auc(*events))


def test_nan_affects_only_its_own_group():
    group, logits = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([math.nan, 0.0, 1.0, 1.0, 2.0])
    actual = group_auc(group, logits, torch.tensor([True, False, True, False, True]), 3)
    assert actual.tolist() == pytest.approx([math.nan, math.nan, 1.0], nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_zeros_of_both_signs_tie_and_infinities_are_the_ends(dtype):
    zeros = torch.tensor([0.0, -0.0]).to(dtype)
    assert group_auc(torch.zeros(2, dtype=torch.int64), zeros, torch.tensor([False, True]), 1).item() == 0.5
    ordered = torch.tensor([-math.inf, -2.0, -1.0, -0.0, 1.0, 2.0, math.inf]).to(dtype)
    for above in range(1, 7):
        assert group_auc(torch.zeros(7, dtype=torch.int64), ordered, torch.arange(7) >= above, 1).item() == 1.0
