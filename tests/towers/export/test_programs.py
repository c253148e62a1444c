"""Every pooling, block, activation and score can be exported, and ONNX agrees with torch."""

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


def trained(module: nn.Module) -> nn.Module:
    """Gives every parameter a random value, also those that start at zero, as after training."""
    torch.manual_seed(3)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval().requires_grad_(False)


def score_for(world, name: str, **parameters) -> nn.Module:
    return trained(SCORES.build({"name": name, **parameters}, n_users=len(world.users), n_items=len(world.items)))


@pytest.fixture(scope="module")
def items(world):
    """The items with a copy of their genres for each pooling, and with numbers, some of them unknown."""
    genres = world.items.columns["genres"]
    pooled = {f"by {name}": replace(genres, name=f"by {name}") for name in POOLINGS.names()}
    numbers = torch.randn(len(world.items), generator=torch.Generator().manual_seed(1))
    numbers[::7] = float("nan")
    floats = {name: Column(name, numbers) for name in ("price", "log.price", "bucket")}
    floats["log.price"] = Column("log.price", numbers.abs())
    return replace(world.items, columns={**world.items.columns, **pooled, **floats})


@pytest.fixture(scope="module")
def every_part(world, items):
    """One exported tower with every pooling, block and activation, and its ONNX session."""
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
    trained(tower)
    return export(tower, score_for(world, "cosine", learn_scale=True, **BIASES), "item", items)


def export(tower, score, side, table):
    import onnxruntime

    programs = export_tower(tower, score, side, table)
    file = io.BytesIO()
    programs.onnx.save(file)
    return programs, onnxruntime.InferenceSession(file.getvalue())


def assert_agreement(programs, session, table, rows: torch.Tensor) -> np.ndarray:
    """Asserts that the model, the exported program and ONNX agree on rows of the table; returns the factors."""
    exported = programs.tower
    columns = exported.tower.inputs(rows) | ({exported.row: rows} if exported.row else {})
    inputs = {spec.name: columns[spec.name].to(getattr(torch, spec.dtype)) for spec in exported.inputs}
    expected = getattr(exported.score, f"{exported.side}_factors")(exported.tower(rows), rows).numpy()
    np.testing.assert_allclose(programs.program.module()(inputs).numpy(), expected, atol=1e-5)
    (actual,) = session.run(["factors"], {name: values.numpy() for name, values in inputs.items()})
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    return expected


@pytest.mark.parametrize("rows", [[0], [3], list(range(41))], ids=len)
def test_every_pooling_block_and_activation_can_be_exported(every_part, items, rows):
    factors = assert_agreement(*every_part, items, torch.tensor(rows))
    assert len(np.unique(factors.round(5), axis=0)) == len(rows), "all items differ"


@pytest.mark.parametrize("name", SCORES.names())
@pytest.mark.parametrize("bias", ["global_bias", "user_bias"])
def test_row_numbers_are_an_input_only_if_the_score_uses_them(world, name, bias):
    tower = trained(Tower(world.users, {"gender": {"encoder": "embedding", "dim": 4}}))
    score = score_for(world, name, **{bias: True})
    exported, program = trace_tower(tower, score, "user", world.users)
    rows = torch.tensor([0, 1, 2, 60])
    inputs = {"gender": tower.inputs(rows)["gender"].long(), "user_id": rows}
    if bias != "user_bias":
        del inputs["user_id"]
    assert [spec.name for spec in exported.inputs] == list(inputs)
    torch.testing.assert_close(program.module()(inputs), score.user_factors(tower(rows), rows))


def test_a_tower_of_biases_alone_can_be_exported(world):
    programs, session = export(trained(Tower(world.items, {})), score_for(world, "dot", **BIASES), "item", world.items)
    assert [spec.name for spec in session.get_inputs()] == ["movie_id"]
    assert_agreement(programs, session, world.items, torch.tensor([0, 5, 40]))


def test_an_unlimited_history_may_have_any_length(make_experiment):
    from towerzoo.towers.model.build import build_model, load_data

    features = {"user_id": {"encoder": "history", "dim": 4, "by": "feedback", "pooling": "sqrtn"}}
    experiment = make_experiment(
        user_tower={"features": features},
        item_tower={"features": {"movie_id": {"encoder": "embedding", "dim": 4}}},
        score={"name": "dot", "user_bias": True},
    )
    schema = load_data(experiment).schema
    model = trained(build_model(experiment, schema))
    programs, session = export(model.user_tower, model.score, "user", schema.users)
    assert [(spec.name, spec.shape) for spec in session.get_inputs()] == [
        ("user_id", ["batch", "length"]),
        ("user_id_row", ["batch"]),
    ]
    for rows in ([0, 1, 2, 60], [0], [5]):
        assert_agreement(programs, session, schema.users, torch.tensor(rows))


class BranchesOnValues(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


class Bessel(nn.Module):
    """torch.export supports it; the ONNX exporter does not."""

    def forward(self, x):
        return torch.special.i0e(x)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(BranchesOnValues, rf"{__file__}:\d+: return x if x.sum"), (Bessel, "No ONNX function found .*bessel_i0e")],
)
def test_the_reason_of_torch_is_reported(world, layer, reason):
    tower = Tower(world.users, {"user_id": {"encoder": "embedding", "dim": 4}})
    tower.mlp.append(layer())
    with pytest.raises(ExportError, match=rf"The user tower cannot be exported\. .*{reason}.*\. Compute with torch"):
        export_tower(trained(tower), score_for(world, "dot"), "user", world.users)
