"""Mistakes in one's own parts: each is told with the part, its place and what it did, before training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from towerzoo.datasets import Column, Vocabulary
from towerzoo.registry import (
    ACTIVATIONS,
    BLOCKS,
    ENCODERS,
    INITIALIZERS,
    LOSSES,
    OPTIMIZERS,
    POOLINGS,
    SAMPLERS,
    SCORES,
)
from towerzoo.registry.errors import PartError
from towerzoo.towers.layers import trials
from towerzoo.towers.losses.sampled import CandidateLoss

HERE = r"test_trials\S*: "
NOTHING = "got nothing: a return is missing"


@pytest.fixture
def told(monkeypatch):
    """Registers a part as `mine`, uses it, and looks for the message."""

    def tell(registry, part, use, message):
        monkeypatch.setitem(registry._parts, "mine", part)
        with pytest.raises(PartError, match=f"(?s){HERE}{registry.kind} 'mine' must .*{message}.* is called with"):
            use()

    return tell


class Module(nn.Module):
    """Any part that is a module: its context is left aside."""

    def __init__(self, *args: object, **context: object) -> None:
        super().__init__()


class NoSuper(nn.Module):
    def __init__(self, *args: object, **context: object) -> None:
        self.size = 3


class Assigning(nn.Module):
    def __init__(self, *args: object, **context: object) -> None:
        self.inner = nn.Linear(2, 2)


class Double(Module):
    out_features = 2

    def forward(self, values: torch.Tensor, *others: object) -> torch.Tensor:
        return torch.zeros(len(values), 2, dtype=torch.float64)


class Reshaping(Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.reshape(2, -1)


class Squeezing(nn.Linear):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values).squeeze()


class OnlyInEval(nn.Linear):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values) / (1 / (not self.training))


class AnotherInTraining(nn.Linear):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        vectors = super().forward(values)
        return (vectors, values) if self.training else vectors


class Overwriting(nn.Linear):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        vectors = super().forward(values).sigmoid()
        return vectors.mul_(vectors.detach() + 1)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (NoSuper, r"got a NoSuper whose __init__ does not call super\(\).__init__\(\) first"),
        (Assigning, r"be built without an error, got AttributeError: cannot assign module before"),
        (lambda in_features, out_features: nn.Linear(in_features, 3, groups=2), "got TypeError: .*argument 'groups'"),
        (Double, r"got a tensor of torch.float64.\n    Add .to\(torch.float32\)"),
        (Reshaping, r"without an error, got RuntimeError: shape"),
        (lambda in_features, out_features: [nn.Identity(), nn.Module()], "NotImplementedError"),
        (Squeezing, r"got one from \(1, 5\) to \(2,\)"),
        (OnlyInEval, r"to \(B, 2\) in training without an error, got ZeroDivisionError: division by zero"),
        (AnotherInTraining, r"to \(B, 2\) in training, got a tuple"),
        (Overwriting, r"in training without an error, got RuntimeError: one of the variables needed for gradient"),
    ],
)
def test_a_block(told, part, message):
    told(BLOCKS, part, lambda: trials.built_block("mine", 5, 2), message)


class Counting(nn.Linear):
    """Changes its weights and a buffer in training, and a vector that is handed to it at all times."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.training:
            with torch.no_grad():
                self.seen += len(values)
                self.weight.clamp_(max=0)
        return super().forward(values.mul_(2))


def test_a_trial_in_training_changes_nothing_of_a_block(monkeypatch):
    monkeypatch.setitem(BLOCKS._parts, "mine", Counting)
    torch.manual_seed(1)
    (block,) = trials.built_block("mine", 5, 2)
    torch.manual_seed(1)
    assert torch.equal(block.weight, nn.Linear(5, 2).weight)
    assert block.weight.max() > 0
    assert block.seen == 0
    assert block.weight.grad is None
    assert block.training


def test_the_line_of_an_error_is_told(monkeypatch):
    def mine(in_features: int, out_features: int) -> nn.Module:
        return nn.Linear(in_features / 0, out_features)

    monkeypatch.setitem(BLOCKS._parts, "mine", mine)
    line = mine.__code__.co_firstlineno + 1
    with pytest.raises(PartError, match=rf"test_trials\.py:{line}: block 'mine' .*got ZeroDivisionError"):
        trials.built_block("mine", 1, 1)


@pytest.mark.parametrize(("part", "message"), [(lambda: torch.relu, "got a builtin_function"), (lambda: None, NOTHING)])
def test_an_activation(told, part, message):
    told(ACTIVATIONS, part, lambda: trials.built_block({"name": "linear-act-dropout", "act": "mine"}, 2, 2), message)


class SmallTable(Module):
    """Has no vector for the last id."""

    def __init__(self, column: Column) -> None:
        super().__init__()
        self.out_features = 2
        self.inner = nn.Embedding(column.cardinality - 1, 2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.inner(values)


class SqueezingTable(SmallTable):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values.clamp(max=2)).squeeze()


class Returnless(Module):
    out_features = 2

    def forward(self, *values: object) -> None: ...


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (SmallTable, "got IndexError"),
        (Double, "torch.float64"),
        (Returnless, NOTHING),
        (NoSuper, "super"),
        (SqueezingTable, r"got one from \(1,\) to \(2,\)"),
    ],
)
def test_an_encoder(told, part, message):
    column = Column("film", torch.tensor([0, 1, 2, 3, 1]), Vocabulary(["a", "b", "c"]))
    told(ENCODERS, part, lambda: trials.built_encoder("mine", column), message)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda dim: lambda vectors: vectors.mean(1), "got TypeError"),
        (lambda dim: lambda vectors, mask: vectors, r"got one from \(3, 2, 2\), \(3, 2\) to \(3, 2, 2\)"),
        (
            lambda dim: lambda vectors, mask: vectors.sum(1) / mask.sum(1, keepdim=True),
            "got values that are not finite",
        ),
        (lambda dim: None, NOTHING),
        (Returnless, NOTHING),
        (Double, "torch.float64"),
    ],
)
def test_a_pooling(told, part, message):
    told(POOLINGS, part, lambda: trials.built_pooling("mine", 2), message)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda weight: weight * 0, r"got another tensor.\n    Write weight.copy_\(...\) in place of return"),
        (lambda weight: weight.fill_(float("nan")), "fill the weight with finite numbers"),
    ],
)
def test_an_initializer(told, part, message):
    told(INITIALIZERS, part, lambda: trials.initialize("mine", nn.Parameter(torch.zeros(2, 2))), message)


def test_an_initializer_need_not_know_of_gradients(monkeypatch):
    monkeypatch.setitem(INITIALIZERS._parts, "mine", lambda weight: weight.fill_(3))
    weight = nn.Parameter(torch.zeros(2, 2))
    trials.initialize("mine", weight)
    assert weight.eq(3).all()
    assert weight.requires_grad


def score(user, item, **methods):
    return type("Mine", (Module,), {"user_factors": user, "item_factors": item, **methods})


def same(self, vectors, rows):
    return vectors


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Module, "have a method user_factors .* got none"),
        (score(lambda self, vectors: vectors, same), "got TypeError"),
        (score(same, lambda self, vectors, rows: None), NOTHING),
        (score(same, lambda self, vectors, rows: vectors.mean(1)), r"got one from \(2, 5\), \(2,\) to \(2,\)"),
        (score(same, lambda self, vectors, rows: vectors[:, :3]), "as many factors of users as of items, got 5 and 3"),
        (score(same, same, pairs=lambda self, users, items, user, item: users * items), r"logits \(B,\), got one from"),
        (
            score(same, same, pairs=lambda self, users, items, user, item: (users * items).sum(1) * 2),
            "have pairs that are the dot products of its factors",
        ),
    ],
)
def test_a_score(told, part, message):
    told(SCORES, part, lambda: trials.try_score("mine", part(), 5), message)


def loss(forward, kind=nn.Module):
    return type("Mine", (kind,), {"forward": forward})


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (loss(lambda self, logits, labels: (logits - labels) ** 2), r"to a mean loss \(\), got one from .* to \(4,\)"),
        (loss(lambda self, logits, labels: (logits - labels).mean().item()), "got a float"),
        (loss(lambda self, logits, labels: (logits - labels).mean().detach()), "has a gradient, got one without"),
        (loss(lambda self, logits, labels: (logits - labels).mean().double()), "torch.float64"),
        (loss(lambda self, logits: logits.mean()), "got TypeError"),
        (loss(lambda self, logits, labels: logits.log().mean()), "got values that are not finite"),
    ],
)
def test_a_loss_of_pairs(monkeypatch, part, message):
    monkeypatch.setitem(LOSSES._parts, "mine", part)
    with pytest.raises(PartError, match=f"(?s)loss 'mine' must .*{message}"):
        trials.try_loss("mine", part(), weighted=False)


def test_a_loss_without_weights_is_told_where_the_data_has_them(monkeypatch):
    part = loss(lambda self, logits, labels: (logits - labels).mean())
    monkeypatch.setitem(LOSSES._parts, "mine", part)
    trials.try_loss("mine", part(), weighted=False)
    with pytest.raises(PartError, match=r"logits \(B,\), labels \(B,\) and weights \(B,\) to .* got TypeError"):
        trials.try_loss("mine", part(), weighted=True)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, own, others, drawn, weights=None: others.logsumexp(1) - own, r"to \(4,\)"),
        (lambda self, own, others, drawn, weights=None: (others.mean(1) - own).mean(), "minus infinity is a candidate"),
        (lambda self, own, others: own.mean(), "got TypeError"),
    ],
)
def test_a_loss_of_candidates(monkeypatch, forward, message):
    part = loss(forward, CandidateLoss)
    monkeypatch.setitem(LOSSES._parts, "mine", part)
    with pytest.raises(PartError, match=f"(?s)loss 'mine' must .*{message}"):
        trials.try_loss("mine", part(sampler="in-batch"), weighted=False)


@pytest.mark.parametrize(
    ("part", "message"),
    [(lambda parameters: None, NOTHING), (lambda parameters: [torch.optim.Adam(parameters)], "got a list")],
)
def test_an_optimizer(told, part, message):
    told(OPTIMIZERS, part, lambda: trials.built_optimizer("mine", [nn.Parameter(torch.zeros(2))]), message)


def sampler(draw, expected=lambda self, rows, n_positives: torch.ones(len(rows))):
    return type(
        "Mine", (), {"__init__": lambda self, item_counts: None, "draw": lambda self, p: draw(p), "expected": expected}
    )


def rows(*values):
    return lambda positives: torch.tensor(values)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda item_counts: item_counts, "got a Tensor without draw"),
        (sampler(rows(0, 3)), "draw item rows .* from 1 to 4, got rows from 0 to 3"),
        (sampler(rows(1, 5)), "got rows from 1 to 5"),
        (sampler(rows(1.0, 2.0)), "got a tensor of torch.float32"),
        (sampler(rows([1, 2], [3, 4])), r"and shape \(2, 2\)"),
        (sampler(lambda positives: positives[:0]), "from 1 to 4, got none"),
        (sampler(lambda positives: None), NOTHING),
        (sampler(rows(1, 2), lambda self, rows, n_positives: 0.5), "got a float"),
        (sampler(rows(1, 2), lambda self, rows, n_positives: torch.ones(5)), r"got one from \(2,\) to \(5,\)"),
        (sampler(rows(1, 2), lambda self, rows, n_positives: torch.zeros(2)), "times > 0 .* got numbers from 0.0 to 0"),
        (sampler(lambda positives: positives.missing), "got AttributeError"),
    ],
)
def test_a_sampler(told, part, message):
    told(SAMPLERS, part, lambda: trials.built_sampler("mine", torch.tensor([0, 1, 2, 3, 0])), message)


def test_trials_leave_the_generators_and_the_modes_as_they_are(monkeypatch):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    monkeypatch.setitem(SAMPLERS._parts, "mine", sampler(lambda positives: torch.randint(1, 5, (9,))))
    trials.built_sampler("mine", torch.tensor([0, 1, 2, 3, 0]))
    part = loss(lambda self, logits, labels: (torch.rand(4) * logits).mean())()
    trials.try_loss("bce-with-logits", part, weighted=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert part.training
