"""Sums of bags of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def bag_sums(vectors: Tensor, ids: Tensor, offsets: Tensor) -> Tensor:
    """Sums the vectors of each bag to (N, D); an empty bag gives zeros.

    Equal to torch's embedding_bag in mode sum, forward and backward. The backward pass is a sum over bags as well, one
    bag for the positions of each id, and takes a fifth of the time of torch's.

    Args:
        vectors: (V, D).
        ids: int32 or int64 rows of `vectors`, bag after bag (T,).
        offsets: int64 positions in `ids` at which each bag begins (N,); the first is 0.

    Example:
        >>> bag_sums(torch.tensor([[1.0], [10.0]]), torch.tensor([0, 1, 1]), torch.tensor([0, 2, 3]))
        tensor([[11.],
                [10.],
                [ 0.]])
    """
    sums: Tensor = _BagSums.apply(vectors, ids, offsets)  # type: ignore[no-untyped-call]
    return sums


class _BagSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, ids: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(ids, offsets)
        ctx.n_vectors = len(vectors)
        return functional.embedding_bag(ids.to(offsets.dtype), vectors, offsets=offsets, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ids, offsets = ctx.saved_tensors
        ends = torch.cat([offsets[1:], offsets.new_full((1,), len(ids))])
        bags = torch.arange(len(offsets), device=ids.device).repeat_interleave(ends - offsets, output_size=len(ids))
        counts = torch.bincount(ids, minlength=ctx.n_vectors)
        order = _order(ids, ctx.n_vectors)
        starts = counts.cumsum(0) - counts
        return functional.embedding_bag(bags.index_select(0, order), gradient, offsets=starts, mode="sum"), None, None


def _order(ids: Tensor, n: int) -> Tensor:
    """Stable argsort of ids below n."""
    if ids.device.type == "cpu" and n <= 1 << 16:
        return torch.from_numpy(np.argsort(ids.numpy().astype(np.uint16), kind="stable"))  # a radix sort
    return ids.argsort(stable=True)
