from __future__ import annotations

import pytest
import torch
from torch import nn

from towerzoo.registry import LOSSES
from towerzoo.towers.losses.candidates import CandidateLoss, try_loss


def loss(forward, kind=nn.Module):
    return type("Mine", (kind,), {"forward": forward})


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (loss(lambda self, logits, labels: (logits - labels) ** 2), r"to a mean loss \(\), got shape \(4,\)"),
        (loss(lambda self, logits, labels: (logits - labels).mean().item()), "got a float"),
        (loss(lambda self, logits, labels: (logits - labels).mean().detach()), "has a gradient, got one without"),
        (loss(lambda self, logits, labels: (logits - labels).mean().double()), "torch.float64"),
        (loss(lambda self, logits: logits.mean()), "got TypeError"),
        (loss(lambda self, logits, labels: logits.log().mean()), "got values that are not finite"),
    ],
)
def test_a_wrong_loss_of_pairs_is_rejected(rejects, part, problem):
    rejects(LOSSES, part, lambda: try_loss("mine", part(), weighted=False), problem)


def test_a_loss_that_takes_no_weights_is_rejected_for_data_with_weights(rejects):
    part = loss(lambda self, logits, labels: (logits - labels).mean())
    try_loss("bce-with-logits", part(), weighted=False)
    problem = r"logits \(B,\), labels \(B,\) and weights \(B,\) to .* got TypeError"
    rejects(LOSSES, part, lambda: try_loss("mine", part(), weighted=True), problem)


@pytest.mark.parametrize(
    ("forward", "problem"),
    [
        (lambda self, own, others, drawn, weights=None: others.logsumexp(1) - own, r"got shape \(4,\)"),
        (lambda self, own, others, drawn, weights=None: (others.mean(1) - own).mean(), "minus infinity is a candidate"),
        (lambda self, own, others: own.mean(), "got TypeError"),
    ],
)
def test_a_wrong_loss_of_candidates_is_rejected(rejects, forward, problem):
    part = loss(forward, CandidateLoss)
    rejects(LOSSES, part, lambda: try_loss("mine", part(sampler="in-batch"), weighted=False), problem)


def test_a_trial_leaves_the_generator_and_the_mode_unchanged():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    part = loss(lambda self, logits, labels: (torch.rand(4) * logits).mean())()
    try_loss("bce-with-logits", part, weighted=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert part.training
