from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from towerzoo.registry import SCORES
from towerzoo.towers.model.build import load_data
from towerzoo.towers.model.scores import pair_logits, try_score
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module

N_USERS, N_ITEMS, B, D = 7, 5, 6, 3
BIASES = ("user_bias", "item_bias", "global_bias")


def build(name: str, **parameters: Any) -> Any:
    return SCORES.build({"name": name, **parameters}, n_users=N_USERS, n_items=N_ITEMS)


def logits_of(score: Any, users: Tensor, items: Tensor, user: Tensor, item: Tensor) -> Tensor:
    """The dot products of the factors; those of the pairs are the same."""
    logits = (score.user_factors(users, user) * score.item_factors(items, item)).sum(1)
    torch.testing.assert_close(pair_logits(score, users, items, user, item), logits)
    return logits


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    user, item = (torch.randint(n, (B,), generator=generator, dtype=torch.int32) for n in (N_USERS, N_ITEMS))
    return torch.randn(B, D, generator=generator), torch.randn(B, D, generator=generator), user, item


def dots(one: Tensor, other: Tensor) -> list[float]:
    return [sum(a * b for a, b in zip(*rows, strict=True)) for rows in zip(one.tolist(), other.tolist(), strict=True)]


def cosines(one: Tensor, other: Tensor) -> list[float]:
    lengths = [math.sqrt(a * b) for a, b in zip(dots(one, one), dots(other, other), strict=True)]
    return [dot / length for dot, length in zip(dots(one, other), lengths, strict=True)]


@pytest.mark.parametrize("scale", [1.0, 10.0, 0.5])
def test_cosine_is_scaled(scale):
    users, items, *rows = inputs()
    logits = logits_of(build("cosine", scale=scale), users, items, *rows)
    assert logits.tolist() == pytest.approx([scale * cosine for cosine in cosines(users, items)], abs=1e-5)


def test_dot_product():
    users, items, *rows = inputs()
    assert logits_of(build("dot"), users, items, *rows).tolist() == pytest.approx(dots(users, items), abs=1e-5)


@pytest.mark.parametrize("name", SCORES.names())
@pytest.mark.parametrize("zero", ["user", "item", "both"])
@pytest.mark.parametrize("way", [logits_of, pair_logits])
def test_a_zero_vector_scores_zero_with_finite_gradients(name, zero, way):
    users, items, *rows = inputs()
    users[0], items[0] = users[0] * (zero == "item"), items[0] * (zero == "user")
    users.requires_grad_()
    items.requires_grad_()
    logits = way(build(name), users, items, *rows)
    assert logits[0].item() == 0
    logits.sum().backward()
    for vectors in (users, items):
        assert vectors.grad is not None
        assert bool(vectors.grad.isfinite().all())


@pytest.mark.parametrize("name", SCORES.names())
@pytest.mark.parametrize("chosen", list(itertools.product([False, True], repeat=3)), ids=str)
def test_biases_are_optional_zero_at_first_and_added_by_row(name, chosen):
    users, items, user, item = inputs()
    plain = logits_of(build(name), users, items, user, item)
    score = build(name, **dict(zip(BIASES, chosen, strict=True)))
    torch.testing.assert_close(logits_of(score, users, items, user, item), plain)
    parameters = dict(score.named_parameters())
    shapes = {"biases.user.weight": (N_USERS, 1), "biases.item.weight": (N_ITEMS, 1), "biases.everyone": ()}
    expected = {path: shape for (path, shape), wanted in zip(shapes.items(), chosen, strict=True) if wanted}
    assert {path: tuple(parameter.shape) for path, parameter in parameters.items()} == expected
    torch.manual_seed(0)
    for parameter in parameters.values():
        nn.init.normal_(parameter)
    zeros = {path: torch.zeros(shape) for path, shape in shapes.items()}
    of_user, of_item, of_all = {**zeros, **parameters}.values()
    by_hand = plain + of_user.squeeze(1)[user] + of_item.squeeze(1)[item] + of_all
    torch.testing.assert_close(logits_of(score, users, items, user, item), by_hand)


def test_a_learned_scale_starts_at_the_given_value_and_stays_positive():
    users, items, *rows = inputs()
    score = build("cosine", scale=3.0, learn_scale=True)
    logits = logits_of(score, users, items, *rows)
    torch.testing.assert_close(logits, logits_of(build("cosine", scale=3.0), users, items, *rows))
    logits.sum().backward()
    # The logarithm of the scale is the parameter, so that the gradient is the logits' own sum.
    torch.testing.assert_close(score.log_scale.grad, logits.detach().sum())
    optimizer = torch.optim.SGD(score.parameters(), lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        logits_of(score, users, users, *rows).sum().backward()  # every cosine is 1, so that each step shrinks the scale
        optimizer.step()
    assert 0 < score.log_scale.exp().item() < 3.0
    assert bool((logits_of(score, users, users, *rows) > 0).all())


@pytest.fixture
def factor_model(make_experiment):
    vectors = {"encoder": "embedding", "dim": 5, "init": {"name": "normal", "std": 0.1}}
    return make_experiment(
        user_tower={"features": {"user_id": vectors}},
        item_tower={"features": {"movie_id": vectors}},
        score={"name": "dot", **dict.fromkeys(BIASES, True)},
    )


def test_no_blocks_and_a_dot_score_are_matrix_factorisation(factor_model, make_trainer):
    data = load_data(factor_model)
    model = build_module(factor_model, data.schema)
    make_trainer(max_epochs=2).fit(model, DataModule(data))
    weights = model.model.state_dict()
    users = weights.pop("user_tower.encoders.0.embedding.weight")
    items = weights.pop("item_tower.encoders.0.embedding.weight")
    of_user, of_item = weights.pop("score.biases.user.weight"), weights.pop("score.biases.item.weight")
    of_all = weights.pop("score.biases.everyone")
    assert weights == {}, "a factor model has no other weights"
    assert of_all != 0
    assert of_user.any()
    assert of_item.any()
    every_user, every_item = torch.arange(len(users)), torch.arange(len(items))
    by_hand = users @ items.T + of_user + of_item.T + of_all
    logits = model.model(every_user.repeat_interleave(len(items)), every_item.repeat(len(users)))
    torch.testing.assert_close(logits, by_hand.flatten(), rtol=1e-5, atol=1e-6)


def test_biases_alone_train_through_the_trainer(make_experiment, make_trainer):
    experiment = make_experiment(
        user_tower={"features": {}}, item_tower={"features": {}}, score={"name": "dot", **dict.fromkeys(BIASES, True)}
    )
    data = load_data(experiment)
    model, trainer = build_module(experiment, data.schema), make_trainer(max_epochs=15)
    trainer.fit(model, DataModule(data))
    biases = dict(model.model.named_parameters())
    assert set(biases) == {"score.biases.user.weight", "score.biases.item.weight", "score.biases.everyone"}
    for table, rows in (
        (biases["score.biases.user.weight"], data.schema.interactions.user),
        (biases["score.biases.item.weight"], data.schema.interactions.item),
    ):
        seen = rows[data.split.train].unique()
        assert bool(table[seen].all()), "every user and item with a training event has moved"
        unseen = torch.ones(len(table), dtype=torch.bool)
        unseen[seen] = False
        assert unseen[0]
        assert not table[unseen].any(), "and no others"
    # Constant predictions reach at best the entropy of the labels; biases must explain more than that.
    positive = data.labels[data.split.train].mean().item()
    entropy = -positive * math.log(positive) - (1 - positive) * math.log(1 - positive)
    assert trainer.callback_metrics["train/loss"] < entropy
    (results,) = trainer.test(model, DataModule(data), verbose=False)
    assert {"test/loss", "test/auc", "test/accuracy"} <= set(results)


@pytest.mark.parametrize("name", SCORES.names())
def test_half_precision_vectors_are_scored_in_float32(name):
    users, items, *rows = inputs()
    half = logits_of(build(name), users.bfloat16(), items.bfloat16(), *rows)
    assert half.dtype is torch.float32
    torch.testing.assert_close(half, logits_of(build(name), users.bfloat16().float(), items.bfloat16().float(), *rows))


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_cosine_factors_and_their_gradients_equal_those_of_normalize(scale):
    x = inputs()[0].double()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    rows = torch.zeros(len(x), dtype=torch.int32)
    factors = build("cosine", scale=scale).user_factors(ours, rows)
    expected = scale * nn.functional.normalize(theirs, dim=1)
    torch.testing.assert_close(factors, expected)
    weights = torch.randn(factors.shape, dtype=torch.float64)
    (factors * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("name", SCORES.names())
@pytest.mark.parametrize("learn_scale", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_pairs_have_the_gradients_of_their_factors(name, learn_scale, biased):
    parameters = dict.fromkeys(BIASES, biased) | ({"learn_scale": learn_scale} if name == "cosine" else {})
    users, items, *rows = inputs()
    users[0], items[1] = 0, 0
    weights = torch.randn(B, dtype=torch.float64)
    gradients = []
    for way in (logits_of, pair_logits):
        score = build(name, **parameters).double()
        leaves = [vectors.double().requires_grad_() for vectors in (users, items)]
        (way(score, *leaves, *rows) * weights).sum().backward()
        gradients.append([leaf.grad for leaf in (*leaves, *score.parameters())])
    assert len(gradients[0]) == 2 + 3 * biased + (learn_scale and name == "cosine")
    torch.testing.assert_close(*gradients)
    assert all(gradient.any() for gradient in gradients[1])


@pytest.mark.parametrize("length", [1e-30, 1e-20, 1e-11, 1e15])
@pytest.mark.parametrize("way", [logits_of, pair_logits])
def test_very_short_and_long_vectors_have_finite_cosines_and_gradients(length, way):
    users, items, *rows = inputs()
    leaves = [(length * nn.functional.normalize(vectors)).requires_grad_() for vectors in (users, items)]
    logits = way(build("cosine"), *leaves, *rows)
    expected = [10 * cosine if length > 1e-12 else 0.0 for cosine in cosines(users, items)]
    assert logits.tolist() == pytest.approx(expected, abs=1e-4)
    logits.sum().backward()
    assert all(leaf.grad is not None and bool(leaf.grad.isfinite().all()) for leaf in leaves)


def score(user, item, **methods):
    return type("Mine", (nn.Module,), {"user_factors": user, "item_factors": item, **methods})


def same(self, vectors, rows):
    return vectors


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (nn.Module, "have a method user_factors .* got none"),
        (score(lambda self, vectors: vectors, same), "got TypeError"),
        (score(same, lambda self, vectors, rows: vectors.mean(1)), r"got shape \(2,\) for inputs of \(2, 5\), \(2,\)"),
        (score(same, lambda self, vectors, rows: vectors[:, :3]), "as many user factors as item factors, got 5 and 3"),
        (score(same, same, pairs=lambda self, users, items, user, item: users * items), r"logits \(B,\), got shape"),
        (
            score(same, same, pairs=lambda self, users, items, user, item: (users * items).sum(1) * 2),
            "have pairs that are the dot products of its factors",
        ),
    ],
)
def test_a_wrong_score_is_rejected(rejects, part, problem):
    rejects(SCORES, part, lambda: try_score("mine", part(), 5), problem)
