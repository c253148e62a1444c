from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from towerzoo.towers.layers.bag_sums import bag_sums


@pytest.mark.parametrize("n_vectors", [7, (1 << 16) + 5], ids=["few vectors", "more than 16 bits"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_sums_and_gradients_equal_torchs(n_vectors, dtype):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, n_vectors, (300,), generator=generator)
    ids[:20] = n_vectors - 1
    offsets = torch.cat([torch.zeros(3), torch.randint(0, 300, (40,), generator=generator)]).sort().values.long()
    ours = torch.randn(n_vectors, 5, generator=generator, dtype=torch.float64).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    actual = bag_sums(ours, ids.to(dtype), offsets)
    expected = functional.embedding_bag(ids, theirs, offsets=offsets, mode="sum")
    torch.testing.assert_close(actual, expected)
    weights = torch.randn(actual.shape, generator=generator, dtype=torch.float64)
    (actual * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_bags_without_ids_are_zeros():
    vectors = torch.ones(3, 2, requires_grad=True)
    sums = bag_sums(vectors, torch.empty(0, dtype=torch.int32), torch.zeros(4, dtype=torch.int64))
    assert sums.tolist() == [[0.0, 0.0]] * 4
    sums.sum().backward()
    assert not vectors.grad.any()
