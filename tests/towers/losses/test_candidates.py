from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from towerzoo.datasets import Batch, Synthetic
from towerzoo.registry import LOSSES, SAMPLERS
from towerzoo.towers.losses.candidates import CandidateLoss, draw_candidates, excluded_pairs, try_loss
from towerzoo.towers.retrieval.seen_items import SeenItems
from towerzoo.towers.training.module import TrainingModule, build_module

COUNTS = torch.tensor([0, 5, 4, 3, 2, 1, 1])
USER = torch.tensor([1, 2, 3], dtype=torch.int32)
ITEM = torch.tensor([1, 2, 2], dtype=torch.int32)
SHOWN = torch.tensor([[3, 4, 3, 1], [5, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.int32)
"""The first event's list has an item twice and its own; the last is empty."""
BATCH = Batch(USER, ITEM, torch.ones(3), negatives=SHOWN)
COMPARED = [{3, 4}, {5}, set()]


Step = Callable[..., tuple[TrainingModule, Tensor]]


@pytest.fixture
def step(make_experiment) -> Step:
    """Builds a model of six items in double precision; returns it with its loss of a batch."""

    def make(loss: Any, batch: Batch = BATCH, known: SeenItems | None = None) -> tuple[TrainingModule, Tensor]:
        towers = {
            f"{side}_tower": {
                "features": {key: {"encoder": "embedding", "dim": 3, "init": {"name": "normal", "std": 1.0}}}
            }
            for side, key in (("user", "user_id"), ("item", "movie_id"))
        }
        experiment = make_experiment(**towers, score="dot", loss=loss)
        model = build_module(experiment, Synthetic(users=6, items=6, interactions=30).load()).double()
        assert isinstance(model.loss, CandidateLoss)
        model._sampler = SAMPLERS.build(model.loss.sampler, item_counts=COUNTS)
        model._known = known
        return model, model.training_step(batch, 0)

    return make


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        (
            {"name": "sampled-softmax", "temperature": 0.5},
            lambda own, others: math.log(sum(math.exp((x - own) / 0.5) for x in (own, *others))),
        ),
        (
            {"name": "hinge", "margin": 4.0, "hardest": 1},
            lambda own, others: max((max(0.0, 4 - own + x) for x in others), default=0.0),
        ),
    ],
    ids=["sampled-softmax", "hinge with the hardest"],
)
def test_events_are_compared_with_the_items_shown(step, loss, formula):
    model, actual = step({"sampler": "from-column", **loss})
    losses = []
    for user, item, shown in zip(USER, ITEM, COMPARED, strict=True):
        rows = torch.tensor([int(item), *shown], dtype=torch.int32)
        own, *others = model.model(user.expand(len(rows)), rows).tolist()
        losses.append(formula(own, others))
    assert actual.item() == pytest.approx(sum(losses) / 3, abs=1e-12)
    assert actual > 0.1


@pytest.mark.parametrize("name", ["sampled-softmax", "bpr", "hinge"])
def test_events_without_items_shown_have_no_loss_and_finite_gradients(step, name):
    model, loss = step({"name": name, "sampler": "from-column"}, BATCH._replace(negatives=torch.zeros_like(SHOWN)))
    assert loss.item() == 0
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_mixed_with_the_catalogue_it_is_the_full_softmax(step):
    """Items shown count once, in place of the catalogue's."""
    sampler = {"name": "mixed", "parts": ["catalogue", "from-column"]}
    for logq in (True, False):
        _, mixed = step({"name": "sampled-softmax", "sampler": sampler, "logq": logq})
        _, full = step("full-softmax", BATCH._replace(negatives=None))
        torch.testing.assert_close(mixed, full)


def test_items_shown_are_not_corrected_and_items_drawn_are(step):
    """Item 3 was shown with the first event and is the own item of the second."""
    batch = Batch(USER[:2], torch.tensor([1, 3], dtype=torch.int32), torch.ones(2), negatives=SHOWN[:2])
    sampler = {"name": "mixed", "parts": ["in-batch", "from-column"]}
    model, actual = step({"name": "sampled-softmax", "sampler": sampler}, batch)
    logit = {(u, i): model.model(torch.tensor([u]), torch.tensor([i])).item() for u in (1, 2) for i in (1, 3, 4, 5)}
    share = (COUNTS / COUNTS.sum()).tolist()
    first = [logit[1, 3], logit[1, 4]]  # item 3 counts once, as shown, although the batch has it
    second = [logit[2, 5], logit[2, 1] - math.log(share[1])]  # item 1: one other event, drawn share[1] times
    losses = [
        math.log(sum(math.exp(x - own) for x in (own, *others)))
        for own, others in ((logit[1, 1], first), (logit[2, 3], second))
    ]
    assert actual.item() == pytest.approx(sum(losses) / 2, rel=1e-6)


def test_items_that_a_user_is_known_to_like_are_not_negatives(step):
    known = SeenItems(torch.tensor([1, 1, 2]), torch.tensor([1, 4, 2]), n_users=7)
    _, actual = step({"name": "bpr", "sampler": "from-column"}, known=known)
    fewer = BATCH._replace(negatives=torch.tensor([[3], [5], [0]], dtype=torch.int32))
    _, expected = step({"name": "bpr", "sampler": "from-column"}, fewer)
    torch.testing.assert_close(actual, expected)
    assert actual != step({"name": "bpr", "sampler": "from-column"})[1]


def test_items_shown_follow_the_items_for_all_events():
    sampler = SAMPLERS.build({"name": "mixed", "parts": ["in-batch", "from-column"]}, item_counts=COUNTS)
    candidates = draw_candidates(sampler, BATCH)
    assert candidates.rows.tolist() == [1, 2]
    assert candidates.shown is not None
    assert [set(row) - {own} for row, own in zip(candidates.shown.tolist(), ITEM.tolist(), strict=True)] == COMPARED
    assert len(candidates.log_count) == len(candidates.log_expected) == 2 + SHOWN.shape[1]
    assert not candidates.log_count[2:].any()
    assert not candidates.log_expected[2:].any()
    excluded = set(zip(*map(Tensor.tolist, excluded_pairs(BATCH, candidates, None)), strict=True))
    own = {(0, 0), (1, 1), (2, 1)}
    pads = {
        (event, 2 + slot)
        for event, row in enumerate(candidates.shown.tolist())
        for slot, item in enumerate(row)
        if item == ITEM[event]
    }
    assert excluded == own | pads


def loss(forward, kind=nn.Module):
    return type("Mine", (kind,), {"forward": forward})


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (loss(lambda self, logits, labels: (logits - labels) ** 2), r"to a mean loss \(\), got shape \(4,\)"),
        (loss(lambda self, logits, labels: (logits - labels).mean().item()), "got a float"),
        (loss(lambda self, logits, labels: (logits - labels).mean().detach()), "has a gradient, got one without"),
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
