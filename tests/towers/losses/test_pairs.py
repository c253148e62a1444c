from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from towerzoo.registry import LOSSES
from towerzoo.towers.losses.pairs import BCEWithLogits


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


def test_class_weights_smoothing_and_event_weights_act_in_training_only():
    loss = BCEWithLogits(positive_weight=3.0, label_smoothing=0.1)
    logits, labels, weights = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 2, 3])
    plain = functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(loss.eval()(logits, labels, weights), plain)
    terms = [
        3 * y * math.log1p(math.exp(-x)) + (1 - y) * math.log1p(math.exp(x))
        for x, y in zip(logits.tolist(), [0.9, 0.1, 0.1], strict=True)
    ]
    weighted = sum(weight * term for weight, term in zip(weights.tolist(), terms, strict=True)) / 6
    assert loss.train()(logits, labels, weights).item() == pytest.approx(weighted, rel=1e-6)
    assert loss.train()(logits, labels).item() == pytest.approx(sum(terms) / 3, rel=1e-6)
    assert BCEWithLogits().train()(logits, labels) == plain
