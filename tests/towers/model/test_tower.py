from __future__ import annotations

import pytest
import torch
from torch import nn

from towerzoo.datasets import Column, Table, Vocabulary
from towerzoo.registry import BLOCKS
from towerzoo.registry.errors import DataError
from towerzoo.towers.model.tower import Tower

EMBEDDING = {"encoder": "embedding", "dim": 4}
BAG = {"encoder": "embedding-bag", "dim": 3, "pooling": "sum"}


class OneModule(nn.Module):
    """A block that is a module instead of a list of modules, with its linear layer inside."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.inner = nn.Linear(in_features, out_features)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.inner(vectors)


@pytest.fixture(autouse=True)
def block_for_this_test_only(monkeypatch):
    monkeypatch.setitem(BLOCKS._parts, "one-module", OneModule)


def test_features_are_encoded_and_concatenated_in_the_order_of_the_config(world):
    rows = torch.tensor([5, 0, 5, 17], dtype=torch.int32)
    tower = Tower(world.items, {"genres": BAG, "movie_id": EMBEDDING})
    genres, movie = tower.encoders
    columns = world.items.columns
    expected = torch.cat([genres(columns["genres"].values[rows]), movie(columns["movie_id"].values[rows])], dim=1)
    assert tower.out_features == 7
    assert len(tower.mlp) == 0
    assert torch.equal(tower(rows), expected)


def test_a_text_is_a_feature_like_any_other(world):
    tower = Tower(world.items, {"title": {"encoder": "letter-trigrams", "dim": 4}})
    rows = torch.tensor([3, 0], dtype=torch.int32)
    (encoder,) = tower.encoders
    assert torch.equal(tower(rows), encoder(world.items.column("title").values[rows]))
    assert bool(tower(rows)[0].all())
    assert not tower(rows)[1].any()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_rows_may_be_of_either_width(world, dtype):
    tower = Tower(world.users, {"gender": EMBEDDING})
    assert tower(torch.tensor([1, 2], dtype=dtype)).shape == (2, 4)


def test_blocks_stand_on_the_encoders_and_on_each_other(world):
    tower = Tower(world.users, {"gender": EMBEDDING, "age": EMBEDDING}, block="linear-act-dropout", widths=[6, 5])
    kinds = [nn.Linear, nn.ReLU, nn.Dropout] * 2
    assert all(isinstance(layer, kind) for layer, kind in zip(tower.mlp, kinds, strict=True))
    assert [layer.weight.shape for layer in tower.mlp if isinstance(layer, nn.Linear)] == [(6, 8), (5, 6)]
    assert (tower.out_features, tower.n_rows) == (5, len(world.users))
    tower.eval()
    rows = torch.arange(9)
    encoded = torch.cat([tower.encoder(name)(world.users.columns[name].values[:9]) for name in ("gender", "age")], 1)
    assert torch.equal(tower(rows), tower.mlp(encoded))
    assert bool((tower(rows) != encoded[:, :5]).any())


@pytest.mark.parametrize("block", ["linear-act-dropout", "one-module"])
def test_init_fills_every_weight_matrix_and_nothing_else(world, block):
    plain = Tower(world.users, {"gender": EMBEDDING}, block=block, widths=[6, 5])
    filled = Tower(world.users, {"gender": EMBEDDING}, block=block, widths=[6, 5], init={"name": "normal", "std": 1e3})
    weights = [
        (one.weight, other.weight)
        for one, other in zip(plain.modules(), filled.modules(), strict=True)
        if isinstance(one, nn.Linear | nn.Embedding)
    ]
    assert len(weights) == 3
    for one, other in weights:
        assert one.abs().max() < 10 < other.abs().max()
    biases = [parameter for name, parameter in filled.named_parameters() if name.endswith("bias")]
    assert len(biases) == 2
    assert all(bias.abs().max() < 1 for bias in biases)


def test_an_encoder_keeps_its_own_init(world):
    own = {**EMBEDDING, "init": {"name": "normal", "std": 1e3}}
    tower = Tower(
        world.users, {"gender": own, "age": {**EMBEDDING, "init": None}}, init={"name": "normal", "std": 1e-3}
    )
    assert tower.encoder("gender").embedding.weight.abs().max() > 10
    assert 0 < tower.encoder("age").embedding.weight.abs().max() < 0.1


def test_columns_move_with_the_tower_but_are_not_in_its_state(world):
    tower = Tower(world.items, {"genres": BAG, "movie_id": EMBEDDING})
    assert {name for name, _ in tower.named_buffers()} == {"encoders.0.values", "encoders.1.values"}
    assert set(tower.state_dict()) == {"encoders.0.embedding.weight", "encoders.1.embedding.weight"}


@pytest.mark.parametrize(
    "names",
    [
        ("type", "items", "keys", "forward", "training", "mlp", "encoders", "values"),
        ("movie.year", "movie_year", "movie%2Eyear", ".", "_", " ", "é", "", "%"),
    ],
    ids=["names of torch's own attributes", "names that torch does not allow or that look alike"],
)
def test_a_feature_may_have_any_name(names):
    columns = {
        name: Column(name, torch.full((3,), number, dtype=torch.int32), Vocabulary(range(9)))
        for number, name in enumerate(names)
    }
    columns["id"] = Column("id", torch.arange(3, dtype=torch.int32), Vocabulary(["a", "b"]))
    tower = Tower(Table("id", columns), dict.fromkeys(names, EMBEDDING))
    vectors = tower(torch.tensor([1]))
    for number, encoder in enumerate(tower.encoders):
        assert torch.equal(vectors[0, 4 * number : 4 * number + 4], encoder.embedding.weight[number])
    Tower(Table("id", columns), dict.fromkeys(names, EMBEDDING)).load_state_dict(tower.state_dict())


def test_no_features_give_empty_vectors(world):
    vectors = Tower(world.users, {})(torch.tensor([1, 2, 3]))
    assert vectors.shape == (3, 0)
    assert vectors.dtype == torch.float32


@pytest.mark.parametrize("combine", ["concat", "sum"])
def test_encoding_features_equals_encoding_their_rows(world, combine):
    bag = {**BAG, "dim": 4}
    features = {"genres": bag, "movie_id": EMBEDDING, "title": {"encoder": "letter-trigrams", "dim": 4}}
    tower = Tower(world.items, features, block="linear-bn-tanh-dropout", widths=[6], combine=combine).eval()
    rows = torch.tensor([3, 0, 17, 3])
    columns = tower.inputs(rows)
    assert list(columns) == ["genres", "movie_id", "title"]
    assert torch.equal(tower.encode(columns), tower(rows))
    new = {**columns, "movie_id": torch.zeros(4, dtype=torch.int64)}
    assert not torch.allclose(tower.encode(new)[0], tower(rows)[0])
    assert torch.equal(tower.encode(new)[1], tower(rows)[1])


def test_a_pooling_with_too_few_slots_is_refused(world):
    with pytest.raises(DataError, match=r"slots of pooling 'recency' must be at least 6, the length of .*, got 5"):
        Tower(world.items, {"genres": {**BAG, "pooling": {"name": "recency", "slots": 5}}})
