from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from towerzoo.registry import POOLINGS
from towerzoo.registry.errors import DataError
from towerzoo.towers.layers.poolings import built_pooling

B, L, D = 40, 5, 3

FORMULAS = {
    "sum": lambda counted, slots: sum(counted),
    "mean": lambda counted, slots: sum(counted) / max(len(counted), 1),
    "padded-mean": lambda counted, slots: sum(counted) / slots,
    "sqrtn": lambda counted, slots: sum(counted) / math.sqrt(max(len(counted), 1)),
    "max": lambda counted, slots: max(counted, default=0.0),
    # Before training, the query and the slots weigh all vectors equally.
    "attention": lambda counted, slots: sum(counted) / max(len(counted), 1),
    "recency": lambda counted, slots: sum(counted) / max(len(counted), 1),
}


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(B, L, generator=generator) < 0.5  # slots that count need not come first
    mask[0], mask[1] = False, True
    return torch.randn(B, L, D, generator=generator), mask


@pytest.mark.parametrize("name", POOLINGS.names())
def test_rows_are_pooled_as_in_a_loop(name):
    vectors, mask = inputs()
    pooled = POOLINGS.build(name, dim=D)(vectors, mask)
    expected = [
        [FORMULAS[name]([vectors[b, s, d].item() for s in range(L) if mask[b, s]], L) for d in range(D)]
        for b in range(B)
    ]
    assert pooled.shape == (B, D)
    assert pooled.dtype == vectors.dtype
    torch.testing.assert_close(pooled, torch.tensor(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", POOLINGS.names())
def test_gradients_are_finite_and_reach_only_vectors_that_count(name):
    vectors, mask = inputs()
    vectors.requires_grad_()
    POOLINGS.build(name, dim=D)(vectors, mask).sum().backward()
    assert vectors.grad is not None
    assert bool(vectors.grad.isfinite().all())
    assert not vectors.grad[~mask].any()
    assert bool(vectors.grad[mask.any(dim=1)].abs().sum(dim=(1, 2)).gt(0).all())


@pytest.mark.parametrize("name", POOLINGS.names())
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_mixed_precision_pools_nearly_the_same(name, half):
    vectors, mask = inputs()
    pooling = POOLINGS.build(name, dim=D)
    with torch.autocast("cpu", dtype=half):
        pooled = pooling(vectors, mask)
    torch.testing.assert_close(pooled.float(), pooling(vectors, mask), rtol=0.02, atol=0.02)


def test_the_largest_may_be_negative():
    vectors = torch.tensor([[[-2.0], [-1.0], [0.0]]])
    assert POOLINGS.build("max", dim=1)(vectors, torch.tensor([[True, True, False]])).tolist() == [[-1.0]]


@pytest.mark.parametrize("name", ["attention", "recency"])
def test_learned_weights_are_a_softmax_over_the_vectors_that_count(name):
    vectors, mask = inputs()
    pooling = POOLINGS.build(name, dim=D)
    (parameter,) = pooling.requires_grad_(False).parameters()
    parameter.copy_(torch.linspace(-1, 2, len(parameter)))
    pooled = pooling(vectors, mask)
    for b in range(B):
        logits = [float(vectors[b, s] @ parameter) if name == "attention" else float(parameter[s]) for s in range(L)]
        weights = [math.exp(logits[s]) if mask[b, s] else 0.0 for s in range(L)]
        total = sum(weights) or 1.0
        expected = sum((weights[s] / total * vectors[b, s] for s in range(L)), torch.zeros(D))
        torch.testing.assert_close(pooled[b], expected, rtol=1e-5, atol=1e-6)


def test_recency_needs_a_weight_for_every_slot():
    vectors, mask = inputs()
    with pytest.raises(DataError, match=r"slots of pooling 'recency' must be at least 5, the length of .*, got 4"):
        POOLINGS.build({"name": "recency", "slots": 4}, dim=D)(vectors, mask)


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (lambda dim: None, "got nothing: a return is missing"),
        (lambda dim: lambda vectors: vectors.mean(1), "got TypeError"),
        (lambda dim: lambda vectors, mask: vectors, r"got shape \(3, 2, 2\) for inputs of \(3, 2, 2\), \(3, 2\)"),
        (
            lambda dim: lambda vectors, mask: vectors.sum(1) / mask.sum(1, keepdim=True),
            "got values that are not finite",
        ),
        (lambda dim: lambda vectors, mask: vectors.double().sum(1), "got a tensor of torch.float64"),
    ],
)
def test_a_wrong_pooling_is_rejected_when_it_is_built(rejects, part, problem):
    rejects(POOLINGS, part, lambda: built_pooling("mine", 2), problem)
