"""Blocks: one layer of a tower, from one width to the next.

Each returns a flat list of modules, so a tower is one `nn.Sequential` and prints as its published structure.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from towerzoo.registry import ACTIVATIONS, BLOCKS, Spec
from towerzoo.registry.ranges import Rate
from towerzoo.towers.layers.activations import Tanh
from towerzoo.towers.layers.dropout import Dropout
from towerzoo.towers.layers.trials import built_module, require_module, trial_numbers, try_part


@BLOCKS.register("linear-act-dropout")
def linear_act_dropout(
    in_features: int, out_features: int, *, act: Annotated[Spec, ACTIVATIONS] = "relu", dropout: Rate = 0.2
) -> list[nn.Module]:
    """Linear, activation, dropout: the layer of a plain multi-layer perceptron.

    Args:
        act: A registered activation.
        dropout: Share of outputs set to 0 in training, in [0, 1).

    Example:
        >>> linear_act_dropout(4, 2, act="tanh")
        [Linear(in_features=4, out_features=2, bias=True), Tanh(), Dropout(p=0.2, inplace=False)]
    """
    return [nn.Linear(in_features, out_features), built_module(ACTIVATIONS, act), Dropout(dropout)]


@BLOCKS.register("linear-bn-tanh-dropout")
def linear_bn_tanh_dropout(in_features: int, out_features: int, *, dropout: Rate = 0.2) -> list[nn.Module]:
    """Linear, batch normalisation, tanh, dropout: normalises before the tanh can saturate.

    Batch normalisation: Ioffe and Szegedy, ICML 2015, section 3. It needs at least two rows in training.

    Args:
        dropout: Share of outputs set to 0 in training, in [0, 1).
    """
    return [nn.Linear(in_features, out_features), nn.BatchNorm1d(out_features), Tanh(), Dropout(dropout)]


@BLOCKS.register("dropout-linear-bn-tanh")
def dropout_linear_bn_tanh(in_features: int, out_features: int, *, dropout: Rate = 0.3) -> list[nn.Module]:
    """Dropout, linear, batch normalisation, tanh: drops the input, so no dropout follows the normalisation.

    Dropout after batch normalisation shifts variances between training and test (Li et al., CVPR 2019). Here the output
    of the block, and with it the tower's vector, is never dropped. It needs at least two rows in training.

    Args:
        dropout: Share of inputs set to 0 in training, in [0, 1).
    """
    return [Dropout(dropout), nn.Linear(in_features, out_features), nn.BatchNorm1d(out_features), Tanh()]


def built_block(spec: Spec, in_features: int, out_features: int) -> list[nn.Module]:
    """Builds a block and tries it in both modes.

    Raises:
        PartError: It does not consist of modules, does not map (B, in_features) to (B, out_features), or fails
            backwards.
    """
    built = BLOCKS.build(spec, in_features=in_features, out_features=out_features)
    modules = [require_module(BLOCKS, spec, part) for part in (built if isinstance(built, list) else [built])]
    contract = f"map (B, {in_features}) to (B, {out_features})"
    block = nn.Sequential(*modules).eval()
    for n_rows in (3, 1):  # some requests are about one user alone
        try_part(BLOCKS, spec, contract, (n_rows, out_features), block, trial_numbers(n_rows, in_features))
    vectors = trial_numbers(3, in_features)
    try_part(BLOCKS, spec, f"{contract} in training", (3, out_features), _train_step, block.train(), vectors)
    return modules


def _train_step(block: nn.Module, vectors: Tensor) -> object:
    """Runs a block forwards and backwards on copies of its weights and buffers, and returns its output."""
    tensors = (*block.named_parameters(), *block.named_buffers())
    copies = {name: value.detach().clone().requires_grad_(value.requires_grad) for name, value in tensors}
    output = torch.func.functional_call(block, copies, (vectors.requires_grad_().clone(),))
    if isinstance(output, Tensor) and output.requires_grad:
        output.sum().backward()  # type: ignore[no-untyped-call]
    return output
