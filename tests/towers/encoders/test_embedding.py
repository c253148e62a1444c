from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from towerzoo.datasets import UNKNOWN, Column, Vocabulary
from towerzoo.registry import ENCODERS, POOLINGS
from towerzoo.registry.errors import ConfigError
from towerzoo.towers.encoders import Encoder, built_encoder

IDS = Column("city", torch.tensor([0, 1, 2, 3], dtype=torch.int32), Vocabulary(["a", "b", "c"]))
LISTS = Column(
    "genres", torch.tensor([[0, 0, 0], [1, 0, 0], [2, 1, 0], [3, 2, 1]], dtype=torch.int32), Vocabulary(["x", "y", "z"])
)
NUMBERS = Column("age", torch.tensor([0.0, 1.5, 2.0, 3.0]))
INITS = ["torch-default", "xavier-normal", "kaiming-normal", {"name": "normal", "std": 1.0}]


def build(name: str, column: Column, **parameters: Any) -> Any:
    return ENCODERS.build({"encoder": name, "dim": 4, **parameters}, column=column)


def test_embedding_looks_its_ids_up():
    encoder = build("embedding", IDS)
    assert encoder.out_features == 4
    assert encoder.embedding.weight.shape == (4, 4)
    assert torch.equal(encoder(IDS.values[[2, 0, 2]]), encoder.embedding.weight[[2, 0, 2]])


@pytest.mark.parametrize("init", INITS, ids=str)
@pytest.mark.parametrize(("name", "column"), [("embedding", IDS), ("embedding-bag", LISTS)])
def test_the_unknown_row_starts_at_zero_and_no_other_does(name, column, init):
    weight = build(name, column, init=init).embedding.weight
    assert not weight[UNKNOWN].any()
    assert bool(weight[1:].all())


@pytest.mark.parametrize(("name", "column"), [("embedding", IDS), ("embedding-bag", LISTS)])
def test_init_fills_the_vectors(name, column):
    # A normal draw of standard deviation 1e-6 is never above 1e-3, and one of standard deviation 1e6 hardly below.
    small = build(name, column, init={"name": "normal", "std": 1e-6}).embedding.weight[1:]
    large = build(name, column, init={"name": "normal", "std": 1e6}).embedding.weight[1:]
    assert small.abs().max() < 1e-3 < large.abs().min()


@pytest.mark.parametrize("init", INITS, ids=str)
@pytest.mark.parametrize("pooling", ["sum", "max", "padded-mean", "blind-to-the-mask"])
def test_the_padding_vector_stays_zero_in_training(init, pooling, monkeypatch):
    # A person's own pooling may give padding a gradient.
    monkeypatch.setitem(POOLINGS._parts, "blind-to-the-mask", lambda dim: lambda vectors, mask: vectors.mean(dim=1))
    encoder = build("embedding-bag", LISTS, init=init, pooling=pooling, max_length=5)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.1, weight_decay=0.1)
    before = encoder.embedding.weight.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        (encoder(LISTS.values) - 1).square().sum().backward()
        optimizer.step()
    assert not encoder.embedding.weight[UNKNOWN].any()
    assert bool((encoder.embedding.weight[1:] != before[1:]).all())


def test_the_unknown_id_of_single_ids_is_trained():
    encoder = build("embedding", IDS)
    (encoder(torch.tensor([UNKNOWN])) - 1).square().sum().backward()
    assert bool(encoder.embedding.weight.grad[UNKNOWN].all())


@pytest.mark.parametrize("max_length", [1, 2, 3, 4, 6])
def test_longer_lists_lose_their_last_ids_and_shorter_ones_are_padded(max_length):
    encoder = build("embedding-bag", LISTS, max_length=max_length, pooling="padded-mean")
    weight = encoder.embedding.weight
    expected = [
        sum((weight[i] for i in ids[:max_length] if i != UNKNOWN), torch.zeros(4)) / max_length
        for ids in LISTS.values.tolist()
    ]
    torch.testing.assert_close(encoder(LISTS.values), torch.stack(expected))


def test_mean_is_the_default_pooling_and_leaves_padding_out():
    encoder = build("embedding-bag", LISTS)
    weight = encoder.embedding.weight
    expected = torch.stack([torch.zeros(4), weight[1], (weight[2] + weight[1]) / 2, weight[1:].mean(dim=0)])
    torch.testing.assert_close(encoder(LISTS.values), expected)
    assert encoder.max_length == 6


def test_id_dropout_replaces_ids_by_the_unknown_one_in_training_only():
    encoder = build("embedding", IDS, id_dropout=0.3)
    with torch.no_grad():
        encoder.embedding.weight[UNKNOWN] = 9.0
    ids = torch.full((20_000,), 2, dtype=torch.int32)
    torch.manual_seed(1)
    vectors = encoder(ids)
    dropped = (vectors == 9.0).all(dim=1)
    assert torch.equal(vectors[~dropped], encoder.embedding.weight[ids[~dropped]])
    # Five standard deviations of a mean of 20,000 coins.
    assert dropped.double().mean().item() == pytest.approx(0.3, abs=5 * (0.21 / 20_000) ** 0.5)
    vectors.sum().backward()
    assert bool(encoder.embedding.weight.grad[UNKNOWN].all()), "the unknown vector learns"
    torch.manual_seed(1)
    assert torch.equal(encoder(ids), vectors), "torch's seed fixes which"
    assert torch.equal(encoder.eval()(ids), encoder.embedding.weight[ids])


def test_id_dropout_drops_ids_of_lists():
    lists = torch.tensor([[3, 2, 1]] * 5_000, dtype=torch.int32)
    encoder = build("embedding-bag", LISTS, max_length=3, pooling="sum", id_dropout=0.4)
    with torch.no_grad():
        encoder.embedding.weight.fill_(1.0)
    torch.manual_seed(0)
    assert encoder(lists).mean().item() == pytest.approx(3 * 0.6, abs=0.1)
    assert bool((encoder.eval()(lists) == 3).all())


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        (
            "embedding",
            LISTS,
            r"feature 'genres' must be a feature of single ids for encoder 'embedding', got 'id lists'\.\s+Lists take",
        ),
        ("embedding", NUMBERS, r"feature 'age' must be a feature of single ids for encoder 'embedding', got 'numbers'"),
        (
            "embedding-bag",
            IDS,
            r"feature 'city' must be a feature of id lists for encoder 'embedding-bag', got 'single ids'\.\s+Ids take",
        ),
        ("embedding-bag", NUMBERS, r"feature 'age' must be a feature of id lists .* got 'numbers'"),
    ],
)
def test_a_column_of_the_wrong_kind_is_an_error(name, column, message):
    with pytest.raises(ConfigError, match=message):
        build(name, column)


def test_a_feature_without_any_known_value_still_encodes():
    nothing = Column("city", torch.zeros(2, dtype=torch.int32), Vocabulary([]))
    encoder = build("embedding", nothing, init="xavier-normal")
    assert isinstance(encoder.embedding, nn.Embedding)
    assert encoder(nothing.values).tolist() == [[0.0] * 4] * 2


@pytest.mark.parametrize("pooling", ["sum", "mean", "padded-mean", "sqrtn"])
def test_pooling_few_ids_by_a_product_equals_gathering_them(pooling):
    vocabulary = Vocabulary(range(1, 20))
    ids = torch.randint(0, 20, (50, 6), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    ids[0] = 0
    column = Column("genres", ids, vocabulary)
    results = []
    for by_product in (True, False):
        torch.manual_seed(1)
        encoder = ENCODERS.build({"encoder": "embedding-bag", "dim": 5, "pooling": pooling}, column=column).double()
        assert encoder.by_product
        encoder.by_product = by_product
        pooled = encoder(ids)
        (pooled * torch.linspace(-1, 1, pooled.numel(), dtype=torch.float64).view_as(pooled)).sum().backward()
        results.append((pooled, encoder.embedding.weight.grad))
    torch.testing.assert_close(*(pooled for pooled, _ in results), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(*(gradient for _, gradient in results), rtol=1e-6, atol=1e-6)
    assert not results[0][0][0].any()


def test_many_ids_sparse_gradients_and_other_poolings_gather():
    def make(n: int, **parameters: object) -> bool:
        column = Column("tags", torch.zeros(3, 2, dtype=torch.int32), Vocabulary(range(1, n + 1)))
        return bool(ENCODERS.build({"encoder": "embedding-bag", "dim": 2, **parameters}, column=column).by_product)

    assert make(63)
    assert not make(64)
    assert not make(5, sparse=True)
    assert not make(5, pooling="max")


def test_sums_by_a_product_stay_in_float32_under_autocast():
    column = Column("genres", torch.tensor([[1, 2], [2, 0]], dtype=torch.int32), Vocabulary([1, 2]))
    encoder = ENCODERS.build({"encoder": "embedding-bag", "dim": 3}, column=column)
    expected = encoder(column.values)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder(column.values), expected)


class SmallTable(Encoder):
    """Has no vector for the last id."""

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self.out_features = 2
        self.inner = nn.Embedding(column.cardinality - 1, 2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.inner(values)


class SqueezingTable(SmallTable):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values.clamp(max=2)).squeeze()


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (lambda column: nn.Embedding(4, 2), "return an Encoder, got a Embedding"),
        (Encoder, "have an attribute out_features, got a Encoder without it"),
        (SmallTable, r"map values \(B,\) or \(B, L\) to \(B, 2\) without an error, got IndexError"),
        (SqueezingTable, r"got shape \(2,\) for inputs of \(1,\)"),
    ],
)
def test_a_wrong_encoder_is_rejected_when_it_is_built(rejects, part, problem):
    rejects(ENCODERS, part, lambda: built_encoder("mine", IDS), problem)
