"""Every pooling, block, activation and score exports, and ONNX computes what torch does."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from towerzoo.datasets import Column
from towerzoo.registry import ACTIVATIONS, BLOCKS, POOLINGS, SCORES
from towerzoo.registry.errors import ExportError
from towerzoo.towers.export.programs import export_tower, trace_tower
from towerzoo.towers.model.tower import Tower

pytestmark = pytest.mark.usefixtures("quick_exporter")

BIASES = {"user_bias": True, "item_bias": True, "global_bias": True}


def ready(module: nn.Module) -> nn.Module:
    """A module as after training: every parameter, also one that starts as zeros, has some value."""
    torch.manual_seed(3)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval().requires_grad_(False)


def score_for(world, name: str, **parameters) -> nn.Module:
    return ready(SCORES.build({"name": name, **parameters}, n_users=len(world.users), n_items=len(world.items)))


@pytest.fixture(scope="module")
def items(world):
    """The items with their genres once for each pooling, and with numbers of which some are unknown."""
    genres = world.items.columns["genres"]
    pooled = {f"by {name}": replace(genres, name=f"by {name}") for name in POOLINGS.names()}
    numbers = torch.randn(len(world.items), generator=torch.Generator().manual_seed(1))
    numbers[::7] = float("nan")
    floats = {name: Column(name, numbers) for name in ("price", "log.price", "bucket")}
    floats["log.price"] = Column("log.price", numbers.abs())
    return replace(world.items, columns={**world.items.columns, **pooled, **floats})


@pytest.fixture(scope="module")
def every_part(world, items):
    """One tower of every pooling, block and activation, exported, and a session that runs it."""
    bag = {"encoder": "embedding-bag", "dim": 4, "max_length": 4}
    features = {f"by {name}": {**bag, "pooling": name} for name in POOLINGS.names()}
    features |= {
        "genres": {"encoder": "hashed-embedding", "dim": 4, "buckets": 8, "pooling": "padded-mean"},
        "price": {"encoder": "numeric", "dim": 2, "transform": "quantile"},
        "log.price": {"encoder": "numeric", "transform": "log"},
        "bucket": {"encoder": "bucketized", "dim": 4, "buckets": 5},
    }
    tower = Tower(items, features)
    width = tower.out_features
    blocks = [{"name": "linear-act-dropout", "act": name} for name in ACTIVATIONS.names()]
    blocks += [{"name": name} for name in BLOCKS.names()]
    for block in blocks:
        built = BLOCKS.build(block, in_features=width, out_features=8)
        tower.mlp.extend(built if isinstance(built, list) else [built])
        width = 8
    ready(tower)
    return export(tower, score_for(world, "cosine", learn_scale=True, **BIASES), "item", items)


def export(tower, score, side, table):
    import onnxruntime

    programs = export_tower(tower, score, side, table)
    file = io.BytesIO()
    programs.onnx.save(file)
    return programs, onnxruntime.InferenceSession(file.getvalue())


def agree(programs, session, table, rows: torch.Tensor) -> np.ndarray:
    """Asserts that torch by rows, the exported program and ONNX agree on rows of the table; returns the factors."""
    exported = programs.tower
    columns = exported.tower.columns(rows) | ({exported.row: rows} if exported.row else {})
    inputs = {some.name: columns[some.name].to(getattr(torch, some.dtype)) for some in exported.inputs}
    expected = getattr(exported.score, f"{exported.side}_factors")(exported.tower(rows), rows).numpy()
    np.testing.assert_allclose(programs.program.module()(inputs).numpy(), expected, atol=1e-5)
    (found,) = session.run(["factors"], {name: values.numpy() for name, values in inputs.items()})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    return expected


@pytest.mark.parametrize("rows", [[0], [3], list(range(41))], ids=len)
def test_every_pooling_block_and_activation_is_exported(every_part, items, rows):
    factors = agree(*every_part, items, torch.tensor(rows))
    assert len(np.unique(factors.round(5), axis=0)) == len(rows), "items differ"


@pytest.mark.parametrize("name", SCORES.names())
@pytest.mark.parametrize("bias", ["global_bias", "user_bias"])
def test_rows_are_asked_for_where_the_score_uses_them(world, name, bias):
    tower = ready(Tower(world.users, {"gender": {"encoder": "embedding", "dim": 4}}))
    score = score_for(world, name, **{bias: True})
    exported, program = trace_tower(tower, score, "user", world.users)
    rows = torch.tensor([0, 1, 2, 60])
    inputs = {"gender": tower.columns(rows)["gender"].long(), "user_id": rows}
    if bias != "user_bias":
        del inputs["user_id"]
    assert [some.name for some in exported.inputs] == list(inputs)
    torch.testing.assert_close(program.module()(inputs), score.user_factors(tower(rows), rows))


def test_biases_alone_are_exported(world):
    programs, session = export(ready(Tower(world.items, {})), score_for(world, "dot", **BIASES), "item", world.items)
    assert [some.name for some in session.get_inputs()] == ["movie_id"]
    agree(programs, session, world.items, torch.tensor([0, 5, 40]))


def test_a_history_without_an_end_is_of_any_length(make_experiment):
    from towerzoo.towers.model.build import build_model, load_data

    features = {"user_id": {"encoder": "history", "dim": 4, "by": "measure", "pooling": "sqrtn"}}
    experiment = make_experiment(
        user_tower={"features": features},
        item_tower={"features": {"movie_id": {"encoder": "embedding", "dim": 4}}},
        score={"name": "dot", "user_bias": True},
    )
    schema = load_data(experiment).schema
    model = ready(build_model(experiment, schema))
    programs, session = export(model.user_tower, model.score, "user", schema.users)
    assert [(some.name, some.shape) for some in session.get_inputs()] == [
        ("user_id", ["batch", "length"]),
        ("user_id_row", ["batch"]),
    ]
    for rows in ([0, 1, 2, 60], [0], [5]):
        agree(programs, session, schema.users, torch.tensor(rows))


class LooksAtValues(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


class Bessel(nn.Module):
    """Exported by torch, but not by ONNX's exporter."""

    def forward(self, x):
        return torch.special.i0e(x)


@pytest.mark.parametrize("layer", [LooksAtValues, Bessel])
def test_a_block_that_cannot_be_exported_is_named(world, layer):
    tower = Tower(world.users, {})
    tower.mlp.append(layer())
    told = (
        f"user_tower.block must be a part that torch.export and ONNX can hold, got {layer.__name__}: .+. Let it compute"
    )
    with pytest.raises(ExportError, match=told):
        export_tower(ready(tower), score_for(world, "dot"), "user", world.users)


def test_a_score_that_cannot_be_exported_is_named(world):
    class Mine(nn.Module):
        def user_factors(self, vectors, rows):
            return vectors * (2 if rows.max().item() > 3 else 1)

    tower = ready(Tower(world.users, {"user_id": {"encoder": "embedding", "dim": 4}}))
    with pytest.raises(ExportError, match=r"score must be a part that torch.export and ONNX can hold, got Mine: "):
        export_tower(tower, Mine(), "user", world.users)
