from __future__ import annotations

from typing import Any

import pytest
import torch

from towerzoo.datasets import UNKNOWN, Column, Vocabulary, encode_column
from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import ConfigError
from towerzoo.towers.encoders.hashed import hashed_rows

IDS = encode_column("city", [f"city {number}" for number in range(300)])
LISTS = encode_column("tags", [["a", "b"], ["c"], [], ["a", "c", "d"]])


def build(column: Column, **parameters: Any) -> Any:
    return ENCODERS.build({"encoder": "hashed-embedding", "dim": 4, "buckets": 50, **parameters}, column=column)


@pytest.mark.parametrize("hashes", [1, 2, 8])
def test_an_id_is_the_sum_of_the_rows_that_its_value_falls_into(hashes):
    encoder = build(IDS, hashes=hashes, seed=5)
    weight = encoder.embedding.weight
    assert weight.shape == (51, 4)
    vectors = encoder(torch.tensor([7, UNKNOWN, 7, 300]))
    for position, raw in ((0, IDS.vocabulary.values[6]), (3, IDS.vocabulary.values[299])):
        (rows,) = hashed_rows([raw], buckets=50, hashes=hashes, seed=5)
        torch.testing.assert_close(vectors[position], sum((weight[1 + row] for row in rows), torch.zeros(4)))
    assert torch.equal(vectors[0], vectors[2])
    assert torch.equal(vectors[1], hashes * weight[UNKNOWN])


def test_the_unknown_id_has_its_own_vector_which_starts_at_zero_and_learns():
    encoder = build(IDS)
    assert int((encoder.rows == UNKNOWN).sum()) == 1
    assert not encoder(torch.tensor([UNKNOWN])).any()
    (encoder(torch.tensor([UNKNOWN])) - 1).square().sum().backward()
    assert bool(encoder.embedding.weight.grad[UNKNOWN].all())


def test_rows_are_even_independent_and_a_function_of_text_and_seed():
    values = range(40_000)
    rows = hashed_rows(values, buckets=4, hashes=2, seed=3)
    pairs = torch.bincount(torch.from_numpy(rows[:, 0] * 4 + rows[:, 1]), minlength=16)
    # Each pair of rows has 1 / 16 of the ids, to five standard deviations.
    assert pairs.sub(2_500).abs().max() < 5 * (40_000 / 16 * 15 / 16) ** 0.5
    assert (rows == hashed_rows(map(str, values), buckets=4, hashes=2, seed=3)).all()
    assert (rows != hashed_rows(values, buckets=4, hashes=2, seed=4)).any()


def test_rows_are_the_same_in_every_process():
    # Written down: Python's own hash of text differs from process to process.
    assert hashed_rows(["a", "é", 1], buckets=10**6).tolist() == [[36473], [214844], [678762]]
    assert hashed_rows([], buckets=10**6, hashes=2).shape == (0, 2)


def test_a_value_falls_into_the_same_rows_in_every_vocabulary():
    one = build(Column("city", IDS.values[:3], Vocabulary(["x", "y"])))
    other = build(Column("city", IDS.values[:4], Vocabulary(["z", "y", "x"])))
    assert one.rows[1:].flip(0).tolist() == other.rows[2:].tolist()


@pytest.mark.parametrize(("hashes", "buckets"), [(1, 500), (2, 50)])
def test_the_collision_rate_is_the_share_of_ids_that_are_like_another(hashes, buckets):
    encoder = build(IDS, hashes=hashes, buckets=buckets, init={"name": "normal", "std": 1.0})
    vectors = encoder(torch.arange(1, 301)).detach()
    _, counts = torch.unique(vectors, dim=0, return_counts=True)
    assert encoder.collision_rate == pytest.approx(counts[counts > 1].sum().item() / 300)
    # What is expected is 300 / 500 and 2 * 300 / 50 ** 2, less what collides twice.
    assert 0.1 < encoder.collision_rate < 0.6
    expected = f"300 ids in {buckets} buckets by {hashes} hashes, collision rate {encoder.collision_rate:.2%}"
    assert expected in repr(encoder)


def test_two_hashes_of_the_same_rows_in_either_order_collide():
    # With two buckets and many ids each pair of rows comes in both orders.
    assert build(IDS, buckets=2, hashes=2).collision_rate == 1.0
    assert build(encode_column("city", ["one"])).collision_rate == 0.0
    assert build(encode_column("city", [])).collision_rate == 0.0


@pytest.mark.parametrize("pooling", [None, "mean", "max"])
def test_lists_are_pooled_without_their_padding(pooling):
    encoder = build(LISTS, hashes=2, pooling=pooling)
    each = encoder.embedding(encoder.rows).sum(1)
    rows = [each[[i for i in ids if i != UNKNOWN]] for ids in LISTS.values.tolist()]
    expected = [
        torch.zeros(4) if not len(row) else row.amax(dim=0) if pooling == "max" else row.mean(dim=0) for row in rows
    ]
    torch.testing.assert_close(encoder(LISTS.values), torch.stack(expected))
    (encoder(LISTS.values) - 1).square().sum().backward()
    assert not encoder.embedding.weight.grad[UNKNOWN].any()


def test_id_dropout_trains_the_unknown_row():
    encoder = build(IDS, id_dropout=0.5)
    torch.manual_seed(0)
    vectors = encoder(torch.full((1000,), 4))
    assert 300 < int((vectors == 0).all(dim=1).sum()) < 700
    assert bool(encoder.eval()(torch.full((1000,), 4)).all())


def test_gradients_may_be_sparse():
    encoder = build(IDS, sparse=True)
    encoder(torch.tensor([1, 2])).sum().backward()
    assert encoder.embedding.weight.grad.is_sparse


def test_unsuitable_columns_and_poolings_are_errors():
    with pytest.raises(
        ConfigError, match=r"feature 'age' must be a feature of ids for encoder .* got 'numbers'\.\s+Numb"
    ):
        build(Column("age", torch.zeros(3)))
    message = (
        r"pooling of encoder 'hashed-embedding' of feature 'city' must be null for single ids, got 'mean'\.\s+Remove"
    )
    with pytest.raises(ConfigError, match=message):
        build(IDS, pooling="mean")
