from __future__ import annotations

import pytest
import torch

from towerzoo.towers.layers.log_sum_exp import log_sum_exp


def rows() -> torch.Tensor:
    x = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[1, 2:5] = -torch.inf
    x[2] += 1_000
    x[3] -= 1_000
    return x


def test_values_and_gradients_equal_those_of_torch():
    ours, theirs = rows().requires_grad_(), rows().requires_grad_()
    found, expected = log_sum_exp(ours), torch.logsumexp(theirs, dim=1)
    torch.testing.assert_close(found, expected)
    weights = torch.arange(1.0, 7.0, dtype=torch.float64)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.equal(ours.detach(), rows()), "the logits are left as they were"


def test_what_holds_nothing_is_minus_infinity_and_has_no_gradient():
    x = torch.tensor([[-torch.inf, -torch.inf], [0.0, -torch.inf]], requires_grad=True)
    found = log_sum_exp(x)
    assert found.tolist() == [-torch.inf, 0.0]
    found[1].backward()
    assert x.grad.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert log_sum_exp(torch.empty(2, 0)).tolist() == [-torch.inf] * 2


def test_a_row_that_is_not_finite_shows():
    assert log_sum_exp(torch.tensor([[0.0, torch.nan]])).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_sums_of_half_precision_are_in_float32(dtype):
    x = torch.randn(2, 3_000).to(dtype).requires_grad_()
    found = log_sum_exp(x)
    torch.testing.assert_close(found, torch.logsumexp(x.float(), dim=1))
    found.sum().backward()
    assert x.grad.dtype is dtype
