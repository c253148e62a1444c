from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from towerzoo.registry import ACTIVATIONS, BLOCKS
from towerzoo.registry.errors import PartError
from towerzoo.towers.layers.blocks import built_block

ORDERS = {
    "linear-act-dropout": [nn.Linear, nn.ReLU, nn.Dropout],
    "linear-bn-tanh-dropout": [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout],
    "dropout-linear-bn-tanh": [nn.Dropout, nn.Linear, nn.BatchNorm1d, nn.Tanh],
}


@pytest.mark.parametrize("name", ORDERS)
def test_modules_are_in_the_order_of_the_name(name):
    layers = BLOCKS.build(name, in_features=5, out_features=3)
    assert len(layers) == len(ORDERS[name])
    assert all(isinstance(layer, kind) for layer, kind in zip(layers, ORDERS[name], strict=True))
    (linear,) = (layer for layer in layers if isinstance(layer, nn.Linear))
    assert (linear.in_features, linear.out_features) == (5, 3)
    assert linear.bias is not None


@pytest.mark.parametrize(
    ("name", "share"),
    [("linear-act-dropout", 0.2), ("linear-bn-tanh-dropout", 0.2), ("dropout-linear-bn-tanh", 0.3)],
)
def test_dropout_has_the_published_default(name, share):
    def dropout(spec: str | dict[str, object]) -> float:
        (layer,) = (
            module for module in BLOCKS.build(spec, in_features=5, out_features=3) if isinstance(module, nn.Dropout)
        )
        return layer.p

    assert dropout(name) == share
    assert dropout({"name": name, "dropout": 0.45}) == 0.45


@pytest.mark.parametrize(
    ("act", "expected"),
    [("tanh", nn.Tanh), ({"name": "leaky-relu", "negative_slope": 0.5}, nn.LeakyReLU)],
    ids=str,
)
def test_the_plain_block_takes_any_activation(act, expected):
    _, activation, _ = BLOCKS.build({"name": "linear-act-dropout", "act": act}, in_features=5, out_features=3)
    assert isinstance(activation, expected)
    assert getattr(activation, "negative_slope", 0.5) == 0.5


class NoSuper(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        self.size = 3


class Double(nn.Linear):
    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values).double()


class Squeezing(nn.Linear):
    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values).squeeze()


class FailingInTraining(nn.Linear):
    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values) / (1 / (not self.training))


class PairInTraining(nn.Linear):
    def forward(self, values: Tensor) -> Tensor:
        vectors = super().forward(values)
        return (vectors, values) if self.training else vectors


class Overwriting(nn.Linear):
    def forward(self, values: Tensor) -> Tensor:
        vectors = super().forward(values).sigmoid()
        return vectors.mul_(vectors.detach() + 1)


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (lambda in_features, out_features: [nn.Identity(), None], "return an nn.Module, got nothing: a return is miss"),
        (NoSuper, r"got a NoSuper whose __init__ does not call super\(\).__init__\(\) first"),
        (lambda in_features, out_features: nn.Linear(in_features, 3), r"map \(B, 5\) to \(B, 2\), got shape \(3, 3\)"),
        (Double, r"got a tensor of torch.float64.\n    Add .to\(torch.float32\)"),
        (Squeezing, r"got shape \(2,\) for inputs of \(1, 5\)"),
        (FailingInTraining, r"to \(B, 2\) in training without an error, got ZeroDivisionError: division by zero"),
        (PairInTraining, r"to \(B, 2\) in training, got a tuple"),
        (Overwriting, r"in training without an error, got RuntimeError: one of the variables needed for gradient"),
    ],
)
def test_a_wrong_block_is_rejected_when_it_is_built(rejects, part, problem):
    rejects(BLOCKS, part, lambda: built_block("mine", 5, 2), problem)


def test_an_activation_that_is_not_a_module_is_rejected(rejects):
    spec = {"name": "linear-act-dropout", "act": "mine"}
    rejects(ACTIVATIONS, lambda: torch.relu, lambda: built_block(spec, 2, 2), "got a builtin_function")


class Counting(nn.Linear):
    """Changes its weights and a buffer in training, and the vectors that it is given at all times."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.seen += len(values)
                self.weight.clamp_(max=0)
        return super().forward(values.mul_(2))


def test_a_trial_leaves_a_block_unchanged(monkeypatch):
    monkeypatch.setitem(BLOCKS._parts, "mine", Counting)
    torch.manual_seed(1)
    (block,) = built_block("mine", 5, 2)
    torch.manual_seed(1)
    assert torch.equal(block.weight, nn.Linear(5, 2).weight)
    assert block.weight.max() > 0
    assert block.seen == 0
    assert block.weight.grad is None
    assert block.training


def test_an_error_names_the_line_that_failed(monkeypatch):
    def mine(in_features: int, out_features: int) -> nn.Module:
        return nn.Linear(in_features / 0, out_features)

    monkeypatch.setitem(BLOCKS._parts, "mine", mine)
    line = mine.__code__.co_firstlineno + 1
    with pytest.raises(PartError, match=rf"test_blocks\.py:{line}: block 'mine' .*got ZeroDivisionError"):
        built_block("mine", 1, 1)
