from __future__ import annotations

import pytest
import torch
from torch import nn

from towerzoo.registry import BLOCKS

ORDERS = {
    "linear-act-dropout": [nn.Linear, nn.ReLU, nn.Dropout],
    "linear-bn-tanh-dropout": [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout],
    "dropout-linear-bn-tanh": [nn.Dropout, nn.Linear, nn.BatchNorm1d, nn.Tanh],
}


@pytest.mark.parametrize("name", ORDERS)
def test_layers_come_in_the_order_of_the_name(name):
    layers = BLOCKS.build(name, in_features=5, out_features=3)
    assert len(layers) == len(ORDERS[name])
    assert all(isinstance(layer, kind) for layer, kind in zip(layers, ORDERS[name], strict=True))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            assert (layer.in_features, layer.out_features) == (5, 3)
            assert layer.bias is not None
        if isinstance(layer, nn.BatchNorm1d):
            assert layer.num_features == 3


@pytest.mark.parametrize(
    ("name", "share"),
    [("linear-act-dropout", 0.2), ("linear-bn-tanh-dropout", 0.2), ("dropout-linear-bn-tanh", 0.3)],
)
def test_dropout_is_a_parameter_with_the_published_default(name, share):
    def dropout(spec: str | dict[str, object]) -> float:
        (layer,) = (one for one in BLOCKS.build(spec, in_features=5, out_features=3) if isinstance(one, nn.Dropout))
        return layer.p

    assert dropout(name) == share
    assert dropout({"name": name, "dropout": 0.45}) == 0.45


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ("tanh", nn.Tanh),
        ("silu", nn.SiLU),
        ({"name": "leaky-relu", "negative_slope": 0.5}, nn.LeakyReLU),
    ],
    ids=str,
)
def test_the_plain_block_takes_any_activation(act, expected):
    _, activation, _ = BLOCKS.build({"name": "linear-act-dropout", "act": act}, in_features=5, out_features=3)
    assert isinstance(activation, expected)
    assert getattr(activation, "negative_slope", 0.5) == 0.5


def test_each_block_has_weights_of_its_own():
    first, second = (BLOCKS.build("linear-act-dropout", in_features=5, out_features=3)[0] for _ in range(2))
    assert not torch.equal(first.weight, second.weight)
