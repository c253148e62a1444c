from __future__ import annotations

import math

import pytest
import torch

from towerzoo.registry import LOSSES


def test_binary_cross_entropy_is_the_mean_in_nats():
    logits, labels = [-2.0, 0.0, 3.0, 1.0], [0.0, 1.0, 1.0, 0.25]
    chances = [1 / (1 + math.exp(-logit)) for logit in logits]
    terms = [-y * math.log(p) - (1 - y) * math.log(1 - p) for p, y in zip(chances, labels, strict=True)]
    loss = LOSSES.build("bce-with-logits")(torch.tensor(logits), torch.tensor(labels))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(sum(terms) / len(terms), abs=1e-6)


@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_binary_cross_entropy_of_large_logits_is_finite(logit):
    logits = torch.tensor([logit], requires_grad=True)
    loss = LOSSES.build("bce-with-logits")(logits, torch.tensor([float(logit < 0)]))
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    assert logits.grad is not None
    assert logits.grad.item() == pytest.approx(math.copysign(1, logit))
