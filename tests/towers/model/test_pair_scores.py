from __future__ import annotations

import pytest
import torch
from torch import Tensor

from towerzoo.towers.model.pair_scores import PAIRS_AT_ONCE, dot_pairs


def inputs(n_pairs: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    users, items = (torch.randn(n, 5, generator=generator, dtype=dtype).requires_grad_() for n in (11, 7))
    # Place 4 of the users and 0 of the items come in no pair.
    user_at = torch.randint(5, 11, (n_pairs,), generator=generator)
    item_at = torch.randint(1, 7, (n_pairs,), generator=generator)
    return users, items, user_at, item_at


@pytest.mark.parametrize("n_pairs", [1, 2, PAIRS_AT_ONCE, PAIRS_AT_ONCE + 1, 3 * PAIRS_AT_ONCE + 5])
def test_values_and_gradients_equal_those_of_plain_indexing(n_pairs):
    users, items, user_at, item_at = inputs(n_pairs)
    weights = torch.randn(n_pairs, dtype=torch.float64)
    plain = (users[user_at] * items[item_at]).sum(1)
    expected = torch.autograd.grad(plain, (users, items), weights)
    dots = dot_pairs(users, user_at, items, item_at)
    torch.testing.assert_close(dots, plain)
    for ours, theirs in zip(torch.autograd.grad(dots, (users, items), weights), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_it_passes_the_numeric_check_of_gradients():
    users, items, user_at, item_at = inputs(9)
    assert torch.autograd.gradcheck(lambda u, i: dot_pairs(u, user_at, i, item_at), (users, items))


def test_float32_agrees_with_float64():
    users, items, user_at, item_at = inputs(3_000, torch.float32)
    dots = dot_pairs(users, user_at, items, item_at)
    wide = dot_pairs(users.double(), user_at, items.double(), item_at)
    torch.testing.assert_close(dots.double(), wide, rtol=1e-5, atol=1e-6)
    dots.square().sum().backward()
    assert not users.grad[4].any(), "what is in no pair has no gradient"


def test_only_one_side_may_need_a_gradient():
    users, items, user_at, item_at = inputs(20)
    dot_pairs(users, user_at, items.detach(), item_at).sum().backward()
    assert users.grad.any()
    assert items.grad is None
