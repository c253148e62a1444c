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


def test_values_and_gradients_equal_torchs():
    ours, theirs = rows().requires_grad_(), rows().requires_grad_()
    actual, expected = log_sum_exp(ours), torch.logsumexp(theirs, dim=1)
    torch.testing.assert_close(actual, expected)
    weights = torch.arange(1.0, 7.0, dtype=torch.float64)
    (actual * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.equal(ours.detach(), rows()), "the logits stay as they are"


def test_an_empty_row_gives_minus_infinity_and_no_gradient():
    x = torch.tensor([[-torch.inf, -torch.inf], [0.0, -torch.inf]], requires_grad=True)
    actual = log_sum_exp(x)
    assert actual.tolist() == [-torch.inf, 0.0]
    actual[1].backward()
    assert x.grad.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert log_sum_exp(torch.empty(2, 0)).tolist() == [-torch.inf] * 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_summed_in_float32(dtype):
    x = torch.randn(2, 3_000).to(dtype).requires_grad_()
    actual = log_sum_exp(x)
    torch.testing.assert_close(actual, torch.logsumexp(x.float(), dim=1))
    actual.sum().backward()
    assert x.grad.dtype is dtype
