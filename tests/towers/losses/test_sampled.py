from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from towerzoo.registry import LOSSES
from towerzoo.towers.losses.candidates import CandidateLoss, Candidates
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module

B, C = 4, 6
GENERATOR = torch.Generator().manual_seed(0)
POSITIVE = torch.randn(B, generator=GENERATOR, dtype=torch.float64)
NEGATIVES = torch.randn(B, C, generator=GENERATOR, dtype=torch.float64)
NEGATIVES[0, 2] = NEGATIVES[3, 5] = -math.inf  # not candidates of these events
LOG_COUNT = torch.tensor([1, 2, 1, 3, 1, 1], dtype=torch.float64).log()
LOG_EXPECTED = torch.randn(C, generator=GENERATOR, dtype=torch.float64)
DRAWN = Candidates(torch.arange(C), LOG_COUNT, LOG_EXPECTED)
WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 4.0], dtype=torch.float64)


def make(name: str, **parameters: object) -> CandidateLoss:
    given = {} if name == "full-softmax" else {"sampler": "catalogue"}
    loss: CandidateLoss = LOSSES.build({"name": name, **given, **parameters})
    return loss


def once(n: int) -> Candidates:
    """Candidates that were drawn once and are drawn once on average."""
    return Candidates(torch.arange(n), torch.zeros(n), torch.zeros(n))


def counted(row: int) -> list[tuple[float, float, float]]:
    """The logit, the count and the expected count of each candidate that counts."""
    rows = zip(NEGATIVES[row].tolist(), LOG_COUNT.exp().tolist(), LOG_EXPECTED.exp().tolist(), strict=True)
    return [(logit, count, expected) for logit, count, expected in rows if logit > -math.inf]


def softmax(row: int, temperature: float, logq: bool) -> float:
    own = math.exp(POSITIVE[row].item() / temperature)
    others = sum(
        math.exp(logit / temperature) * count / (expected if logq else 1.0) for logit, count, expected in counted(row)
    )
    return -math.log(own / (own + others))


def bpr(row: int) -> float:
    losses = [math.log1p(math.exp(logit - POSITIVE[row].item())) for logit, *_ in counted(row)]
    return sum(losses) / len(losses)


def hinge(row: int, margin: float) -> float:
    losses = [max(0.0, margin - POSITIVE[row].item() + logit) for logit, *_ in counted(row)]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(
    ("name", "parameters", "formula"),
    [
        ("sampled-softmax", {"temperature": 0.5}, lambda row: softmax(row, 0.5, True)),
        ("sampled-softmax", {"logq": False}, lambda row: softmax(row, 1.0, False)),
        ("bpr", {}, bpr),
        ("hinge", {"margin": 0.7}, lambda row: hinge(row, 0.7)),
    ],
    ids=["sampled-softmax", "sampled-softmax without logQ", "bpr", "hinge"],
)
def test_losses_follow_the_formula(name, parameters, formula, weights):
    loss = make(name, **parameters)(POSITIVE, NEGATIVES, DRAWN, weights)
    factors = [1.0] * B if weights is None else weights.tolist()
    expected = sum(factor * formula(row) for row, factor in enumerate(factors)) / sum(factors)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_the_full_softmax_equals_torchs_cross_entropy():
    logits = torch.randn(B, C, dtype=torch.float64)
    own = torch.tensor([3, 0, 5, 1])
    positive = logits.gather(1, own.unsqueeze(1)).squeeze(1)
    others = logits.scatter(1, own.unsqueeze(1), -math.inf)
    actual = make("full-softmax")(positive, others, once(C))
    torch.testing.assert_close(actual, functional.cross_entropy(logits, own))


@pytest.mark.parametrize("name", ["sampled-softmax", "bpr", "hinge"])
def test_the_hardest_candidates_are_those_of_the_highest_logits(name):
    best = NEGATIVES.topk(2, dim=1).values
    actual = make(name, hardest=2)(POSITIVE, NEGATIVES, once(C))
    torch.testing.assert_close(actual, make(name)(POSITIVE, best, once(2)))
    assert make(name, hardest=99)(POSITIVE, NEGATIVES, once(C)) == make(name)(POSITIVE, NEGATIVES, once(C))


@pytest.mark.parametrize("name", ["bpr", "hinge"])
def test_semi_hard_candidates_score_lower_than_the_own_item(name):
    lower = NEGATIVES.masked_fill(POSITIVE.unsqueeze(1) <= NEGATIVES, -math.inf)
    assert bool(lower.isfinite().any())
    assert bool((lower != NEGATIVES).any())
    actual = make(name, mining="semi-hard")(POSITIVE, NEGATIVES, DRAWN)
    torch.testing.assert_close(actual, make(name)(POSITIVE, lower, DRAWN))


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "bce-with-logits"])
def test_a_pair_without_any_candidate_has_a_finite_loss_and_gradient(name):
    positive = torch.zeros(1, requires_grad=True)
    loss = make(name)(positive, torch.full((1, 3), -math.inf), once(3))
    assert loss.item() == 0
    loss.backward()
    assert positive.grad.isfinite().all()


RETRIEVAL = {
    "data.label": "{positive_from: 1}",
    "data.split": "leave-last-out",
    "training": "{max_epochs: 4, early_stopping: {monitor: valid/ndcg@5, patience: 9}}",
    "evaluation": "{ranking: {at: [5, 10]}}",
}


@pytest.mark.parametrize(
    "loss",
    [
        "full-softmax",
        "{name: sampled-softmax, sampler: {name: mixed, parts: [in-batch, {name: uniform, n: 50}]}}",
        "{name: hinge, sampler: {name: uniform, n: 50}, hardest: 5}",
    ],
)
def test_training_against_candidates_improves_recall(loss, make_trainer):
    overrides = [f"{key}={value}" for key, value in RETRIEVAL.items()]
    features = "{recent: {encoder: history, dim: 16, last: 5}, user_id: {encoder: embedding, dim: 16}}"
    towers = [
        f"user_tower={{features: {features}, combine: sum, init: {{name: normal, std: 0.1}}}}",
        "item_tower={features: {movie_id: {encoder: embedding, dim: 16}}, init: {name: normal, std: 0.1}}",
        "score={name: dot, item_bias: true}",
        "optimizer={name: adam, lr: 0.02}",
    ]
    world = ["data.users=300", "data.items=100", "data.interactions=9000", "data.batch_size=512"]
    experiment, _ = read_experiment("quickstart", [*world, *overrides, *towers, f"loss={loss}"])
    data = load_data(experiment)
    model, trainer = build_module(experiment, data.schema), make_trainer(max_epochs=4)
    trainer.validate(model, DataModule(data), verbose=False)
    before = trainer.callback_metrics["valid/recall@10"].item()
    trainer.fit(model, DataModule(data))
    assert trainer.callback_metrics["valid/recall@10"].item() > before
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert not {"train/auc", "valid/auc"} & set(trainer.callback_metrics)
