"""The contract that every registered part keeps."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from towerzoo.datasets import Column, ColumnNames, Split, Vocabulary, encode_column
from towerzoo.datasets.history import History
from towerzoo.registry import (
    ACTIVATIONS,
    BLOCKS,
    CATALOGUE,
    DATASETS,
    ENCODERS,
    INITIALIZERS,
    LOSSES,
    OPTIMIZERS,
    POOLINGS,
    SCORES,
    SPLITS,
)
from towerzoo.registry.registry import REQUIRED, Registry
from towerzoo.towers.losses.candidates import CandidateLoss, Candidates

REQUIRED_VALUES = {
    "dim": 4,
    "lr": 0.1,
    "sampler": "in-batch",
    "n": 5,
    "parts": ["in-batch", "catalogue"],
    "buckets": 3,
    "path": "written by the fixture `vectors`",
    "interactions": {"files": "nowhere.csv", "feedback": ["rating"]},
}
"""Values for parameters without a default, by name; a part with a new one adds a line here."""

LEARNING = {"trainable": True}
"""Values for parameters whose defaults leave a part nothing to learn."""

PARTS = [pytest.param(registry, name, id=f"{kind}-{name}") for kind, registry in CATALOGUE.items() for name in registry]
B = 6
Case = tuple[nn.Module, tuple[Any, ...], tuple[int, ...]]
"""A module, its inputs and the shape of its output."""

IDS = Column("city", torch.tensor([0, 1, 2, 3, 3, 1], dtype=torch.int32), Vocabulary(["a", "b", "c"]))
LISTS = Column(
    "genres",
    torch.tensor([[0, 0], [1, 0], [2, 1], [3, 2], [1, 0], [0, 0]], dtype=torch.int32),
    Vocabulary(["x", "y", "z"]),
)
PAST = History.gather(
    owner=torch.tensor([1, 1, 2, 3, 3, 3]),
    partner=torch.tensor([1, 2, 2, 1, 3, 4]),
    observed={"label": torch.tensor([1, 0, 1, 1, 0, 0])},
    timestamp=torch.arange(6),
    split=Split(torch.arange(6), torch.arange(1), torch.arange(1)),
    n_owners=5,
    n_partners=5,
)
COLUMNS = {
    "embedding": IDS,
    "embedding-bag": LISTS,
    "history": PAST,
    "hashed-embedding": IDS,
    "letter-trigrams": encode_column("title", ["Alien", "Aliens", "Ran", None, "Ran"]),
    "numeric": Column("price", torch.tensor([float("nan"), 1.5, 2.0, 3.0, float("nan"), 3.0])),
    "bucketized": encode_column("year", [1977, 1995, None, 1995, 2001]),
    "pretrained": IDS,
}
"""A column for each encoder."""


@pytest.fixture(scope="module", autouse=True)
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    path = tmp_path_factory.mktemp("vectors") / "cities.npz"
    np.savez(path, ids=["c", "a"], vectors=np.arange(8.0).reshape(2, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REQUIRED_VALUES, "path", str(path))
        yield


def build(registry: Registry, name: str, **context: Any) -> Any:
    values = {
        p.name: REQUIRED_VALUES[p.name] if p.default is REQUIRED else LEARNING[p.name]
        for p in registry.parameters(name)
        if p.default is REQUIRED or p.name in LEARNING
    }
    torch.manual_seed(0)
    return registry.build({registry.key: name, **values}, **context)


def block(name: str) -> Case:
    built = build(BLOCKS, name, in_features=5, out_features=3)
    return nn.Sequential(*(built if isinstance(built, list) else [built])), (floats(B, 5),), (B, 3)


def activation(name: str) -> Case:
    return build(ACTIVATIONS, name), (floats(B, 5),), (B, 5)


def pooling(name: str) -> Case:
    mask = torch.tensor([[False, False, False], [True, True, True], [True, False, False]] * 2)
    return build(POOLINGS, name, dim=5), (floats(B, 3, 5), mask), (B, 5)


def encoder(name: str) -> Case:
    column = COLUMNS[name]
    built = build(ENCODERS, name, column=column)
    rows = torch.arange(B) if isinstance(column, Column) else torch.tensor([0, 1, 2, 3, 3, 4])
    return built, (built.inputs(rows).clone(),), (B, built.out_features)


class Logits(nn.Module):
    """A score as one module of both sides' vectors and rows."""

    def __init__(self, score: Any) -> None:
        super().__init__()
        self.score = score

    def forward(self, users: Tensor, items: Tensor, user: Tensor, item: Tensor) -> Tensor:
        return (self.score.user_factors(users, user) * self.score.item_factors(items, item)).sum(1)


def score(name: str) -> Case:
    switches = {p.name: True for p in SCORES.parameters(name) if p.annotation is bool}
    built = SCORES.build({"name": name, **switches}, n_users=9, n_items=8)
    rows = torch.tensor([0, 1, 2, 3, 3, 7], dtype=torch.int32)
    return Logits(built), (floats(B, 5), floats(B, 5, seed=1), rows, rows.flip(0)), (B,)


def loss(name: str) -> Case:
    built = build(LOSSES, name)
    if isinstance(built, CandidateLoss):
        return built, (floats(B), floats(B, 4, seed=1), Candidates(torch.arange(4), floats(4), floats(4, seed=2))), ()
    return built, (floats(B), torch.tensor([0.0, 1.0] * 3)), ()


def floats(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


MAKERS: dict[str, Callable[[str], Case]] = {
    "blocks": block,
    "activations": activation,
    "poolings": pooling,
    "encoders": encoder,
    "scores": score,
    "losses": loss,
}
"""Makes the case of a part, by kind."""

MODULES = [pytest.param(kind, name, id=f"{kind}-{name}") for kind in MAKERS for name in CATALOGUE[kind]]


def test_every_registry_has_parts():
    assert all(registry.names() for registry in CATALOGUE.values())


@pytest.mark.parametrize(("registry", "name"), PARTS)
def test_a_docstring_begins_with_a_sentence(registry, name):
    # Not `inspect.getdoc`, which would inherit the docstring of nn.Module.
    first_line = (registry.get(name).__doc__ or "").strip().partition("\n")[0]
    assert first_line.endswith(".")
    assert len(first_line.split()) > 1
    assert registry.describe(name) == first_line


@pytest.mark.parametrize(("registry", "name"), PARTS)
def test_parameters_have_types_and_yaml_parameters_are_keyword_only(registry, name):
    part = registry.get(name)
    signature = inspect.signature(part).parameters
    for parameter in signature.values():
        assert parameter.annotation is not parameter.empty, f"{parameter.name} has no annotation"
        if parameter.name not in registry.context:
            assert parameter.kind is parameter.KEYWORD_ONLY, f"{parameter.name} could be positional"
    for parameter in registry.parameters(name):
        assert parameter.annotation is not Any, f"{parameter.name} could not be checked"


@pytest.mark.parametrize(("kind", "name"), MODULES)
def test_shape_and_type(kind, name):
    module, inputs, shape = MAKERS[kind](name)
    output = module(*inputs)
    assert output.shape == shape
    assert output.dtype == torch.float32
    assert bool(output.isfinite().all())


@pytest.mark.parametrize(("kind", "name"), MODULES)
def test_parameters_and_vectors_get_finite_gradients(kind, name):
    module, inputs, _ = MAKERS[kind](name)
    # Labels and the weights of candidates get no gradient.
    n_differentiable = {"losses": 2 if isinstance(module, CandidateLoss) else 1}.get(kind)
    differentiable = [value for value in inputs[:n_differentiable] if value.is_floating_point()]
    for value in differentiable:
        value.requires_grad_()
    # With equal weights the sum would not depend on parts that only shift or normalise.
    output = module(*inputs)
    (output * floats(*output.shape, seed=2)).sum().backward()
    for tensor in [*module.parameters(), *differentiable]:
        assert tensor.grad is not None
        assert bool(tensor.grad.isfinite().all())
        assert bool(tensor.grad.any())


@pytest.mark.parametrize(("kind", "name"), MODULES)
def test_evaluation_is_deterministic_and_independent_of_other_rows(kind, name):
    module, inputs, _ = MAKERS[kind](name)
    module(*inputs)  # moves running statistics
    module.eval()
    first = module(*inputs)
    torch.manual_seed(99)
    assert torch.equal(module(*inputs), first)
    if kind != "losses":
        rows = [module(*(value[n : n + 1] for value in inputs)) for n in range(B)]
        torch.testing.assert_close(torch.cat(rows), first, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "name"), MODULES)
def test_the_state_dict_restores_the_outputs(kind, name):
    module, inputs, _ = MAKERS[kind](name)
    module(*inputs)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.linspace(0.5, 1, parameter.numel()).view_as(parameter))
    state = copy.deepcopy(module.state_dict())
    fresh, _, _ = MAKERS[kind](name)
    if state:
        assert not torch.equal(fresh.eval()(*inputs), module.eval()(*inputs))
    fresh.load_state_dict(state)
    assert torch.equal(fresh.eval()(*inputs), module.eval()(*inputs))


@pytest.mark.parametrize("name", INITIALIZERS.names())
def test_initializers_fill_in_place(name):
    weight = nn.Parameter(torch.zeros(7, 5))
    before, memory = weight.clone(), weight.data_ptr()
    assert build(INITIALIZERS, name, weight=weight) is None
    assert weight.data_ptr() == memory
    assert weight.requires_grad
    assert weight.grad_fn is None
    assert bool(weight.isfinite().all())
    assert torch.equal(weight, before) is (name == "torch-default")


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_optimizers_go_downhill_and_resume_exactly(name):
    def follow(weight: nn.Parameter, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()

    weight = nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = build(OPTIMIZERS, name, parameters=iter([weight]))
    follow(weight, optimizer, 3)
    assert bool((weight.abs() < torch.tensor([3.0, 2.0])).all())
    resumed = nn.Parameter(weight.detach().clone())
    state = copy.deepcopy(optimizer.state_dict())
    other = build(OPTIMIZERS, name, parameters=[resumed])
    other.load_state_dict(state)
    follow(weight, optimizer, 2)
    follow(resumed, other, 2)
    assert torch.equal(weight, resumed)


@pytest.mark.parametrize("name", [name for name in SPLITS.names() if name != "files"])  # which splits nothing itself
def test_splits_are_complete_disjoint_and_repeatable(name, world):
    events = world.interactions
    first, again = (build(SPLITS, name, user=events.user, timestamp=events.timestamp) for _ in range(2))
    assert isinstance(first, Split)
    assert torch.cat([first.train, first.valid, first.test]).sort().values.tolist() == list(range(len(events)))
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(first, part), getattr(again, part))


@pytest.mark.parametrize("name", DATASETS.names())
def test_datasets_know_their_columns_without_reading(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOWERZOO_DATA", str(tmp_path / "nothing here"))
    columns = build(DATASETS, name).columns()
    assert isinstance(columns, ColumnNames)
    assert columns.users
    assert columns.items
    assert columns.feedback
    assert list(tmp_path.iterdir()) == []
