"""Tower blocks: what stands between two widths of a tower.

A block returns a flat list of modules, so that a tower is one `nn.Sequential` and prints as its published structure.
"""

from __future__ import annotations

from typing import Annotated

from torch import nn

from towerzoo.registry import ACTIVATIONS, BLOCKS, Spec
from towerzoo.registry.ranges import Rate
from towerzoo.towers.layers.activations import Tanh
from towerzoo.towers.layers.dropout import Dropout
from towerzoo.towers.layers.trials import built_module


@BLOCKS.register("linear-act-dropout")
def linear_act_dropout(
    in_features: int, out_features: int, *, act: Annotated[Spec, ACTIVATIONS] = "relu", dropout: Rate = 0.2
) -> list[nn.Module]:
    """Linear, activation, dropout: the plain multi-layer perceptron.

    Args:
        in_features: Width of the input (B, in_features).
        out_features: Width of the output (B, out_features).
        act: A registered activation.
        dropout: Share of outputs set to 0 in training, in [0, 1).

    Example:
        >>> linear_act_dropout(4, 2, act="tanh")
        [Linear(in_features=4, out_features=2, bias=True), Tanh(), Dropout(p=0.2, inplace=False)]
    """
    return [nn.Linear(in_features, out_features), built_module(ACTIVATIONS, act), Dropout(dropout)]


@BLOCKS.register("linear-bn-tanh-dropout")
def linear_bn_tanh_dropout(in_features: int, out_features: int, *, dropout: Rate = 0.2) -> list[nn.Module]:
    """Linear, batch normalisation, tanh, dropout: normalised before the tanh can saturate.

    Batch normalisation: Ioffe and Szegedy, ICML 2015, section 3.

    Args:
        in_features: Width of the input (B, in_features); B >= 2 in training.
        out_features: Width of the output (B, out_features).
        dropout: Share of outputs set to 0 in training, in [0, 1).
    """
    return [nn.Linear(in_features, out_features), nn.BatchNorm1d(out_features), Tanh(), Dropout(dropout)]


@BLOCKS.register("dropout-linear-bn-tanh")
def dropout_linear_bn_tanh(in_features: int, out_features: int, *, dropout: Rate = 0.3) -> list[nn.Module]:
    """Dropout, linear, batch normalisation, tanh: the statistics are those of the output that the next layer gets.

    Dropout after batch normalisation shifts variances between training and test (Li et al., CVPR 2019); dropping the
    block's input instead leaves its output undropped, the tower's vector above all.

    Args:
        in_features: Width of the input (B, in_features); B >= 2 in training.
        out_features: Width of the output (B, out_features).
        dropout: Share of inputs set to 0 in training, in [0, 1).
    """
    return [Dropout(dropout), nn.Linear(in_features, out_features), nn.BatchNorm1d(out_features), Tanh()]
