"""Every registered block, pooling op and encoder: forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from towerzoo.benchmarks.measure.measuring import Measure, measure_module
from towerzoo.benchmarks.measure.roofline import WIDTH
from towerzoo.benchmarks.suites.options import thorough
from towerzoo.datasets import Column, Split, Vocabulary
from towerzoo.datasets.history import History
from towerzoo.registry import BLOCKS, ENCODERS, POOLINGS
from towerzoo.registry.errors import ConfigError
from towerzoo.registry.registry import REQUIRED, Registry
from towerzoo.towers.encoders import reads_events

IDS, DIM, SLOTS, EVENTS = 6_040, 64, 6, 100_000
SIZES = pytest.mark.parametrize("batch_size", [1_024, thorough(8_192)])
REQUIRED_VALUES = {"dim": DIM, "buckets": 1_000}
"""Values for parameters that have no default, by name."""


def build(registry: Registry, name: str, **context: Any) -> Any:
    """Builds a part with its defaults."""
    needed = [parameter.name for parameter in registry.parameters(name) if parameter.default is REQUIRED]
    unknown = sorted(set(needed) - set(REQUIRED_VALUES))
    if unknown:
        pytest.skip(f"REQUIRED_VALUES has no {', '.join(unknown)}")
    return registry.build({registry.key: name, **{key: REQUIRED_VALUES[key] for key in needed}}, **context)


@SIZES
@pytest.mark.parametrize("part", BLOCKS.names())
def test_block(measure: Measure, device: str, precision: str, part: str, batch_size: int) -> None:
    built = build(BLOCKS, part, in_features=WIDTH, out_features=WIDTH)
    module = nn.Sequential(*(built if isinstance(built, list) else [built]))
    vectors = torch.randn(batch_size, WIDTH, requires_grad=True)
    measure_module(measure, module, vectors, batch_size=batch_size, precision=precision)


@SIZES
@pytest.mark.parametrize("part", POOLINGS.names())
def test_pooling(measure: Measure, device: str, part: str, batch_size: int) -> None:
    vectors = torch.randn(batch_size, SLOTS, DIM, requires_grad=True)
    mask = torch.rand(batch_size, SLOTS) < 0.5
    measure_module(measure, build(POOLINGS, part, dim=DIM), vectors, mask, batch_size=batch_size)


@SIZES
@pytest.mark.parametrize("part", ENCODERS.names())
def test_encoder(measure: Measure, device: str, part: str, batch_size: int) -> None:
    module, values = encoder_and_values(part)
    if not any(True for _ in module.parameters()):
        pytest.skip("it has nothing to train")
    rows = torch.randint(len(values), (batch_size,))
    measure_module(measure, module, values[rows], batch_size=batch_size)


def encoder_and_values(name: str) -> tuple[nn.Module, Tensor]:
    """Builds an encoder for the first kind of column that it takes: histories, single ids, id lists, numbers."""
    if reads_events({ENCODERS.key: name}):
        owners = torch.randint(1, IDS, (EVENTS,))
        one = torch.arange(1)
        split = Split(torch.arange(EVENTS), one, one)
        history = History.gather(owners, owners, {}, None, split, n_owners=IDS + 1, n_partners=IDS + 1)
        encoder = build(ENCODERS, name, column=history)
        return encoder, encoder.inputs(torch.arange(IDS + 1))
    vocabulary = Vocabulary(range(1, IDS + 1))
    columns = (
        Column("id", torch.arange(IDS + 1, dtype=torch.int32), vocabulary),
        Column("ids", torch.randint(IDS + 1, (IDS, SLOTS), dtype=torch.int32), vocabulary),
        Column("number", torch.randn(IDS)),
    )
    for column in columns:
        try:
            return build(ENCODERS, name, column=column), column.values
        except ConfigError:
            continue
    pytest.skip("it takes neither ids, nor id lists, nor numbers")
