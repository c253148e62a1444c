from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

from towerzoo.datasets import Column, encode_column
from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import ConfigError
from towerzoo.towers.encoders.letter_trigrams import NO_TRIGRAM, letter_trigrams
from towerzoo.towers.export import reader as export_reader
from towerzoo.towers.model.build import load_data
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module

TEXTS = ["Alien", "Aliens", "Ran", "Banana banana", "!?", "Amélie 🎬 in Ελλάδα", "I"]
TITLES = encode_column("title", TEXTS)


def build(column: Column, **parameters: Any) -> Any:
    return ENCODERS.build({"encoder": "letter-trigrams", "dim": 4, **parameters}, column=column)


@pytest.mark.parametrize(
    ("text", "trigrams"),
    [
        ("good", ["#go", "goo", "ood", "od#"]),
        ("", []),
        (" - !", []),
        ("#", []),
        ("a", ["#a#"]),
        ("It's A", ["#it", "it#", "#s#", "#a#"]),
        ("M (1931)", ["#m#", "#19", "193", "931", "31#"]),
        ("é", ["#é#"]),
        ("e\u0301", ["#é#"]),
        ("İ", ["#i#"]),
        ("aaaa", ["#aa", "aaa", "aaa", "aa#"]),
        ("\U0010fffd雪x", ["#雪x", "雪x#"]),
    ],
)
def test_trigrams_are_those_of_framed_lower_case_words(text, trigrams):
    assert letter_trigrams(text) == trigrams


@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrtn"])
def test_a_text_is_the_pooled_vectors_of_its_trigrams(pooling):
    encoder = build(TITLES, pooling=pooling)
    known = sorted({trigram for text in TEXTS for trigram in letter_trigrams(text)})
    vector = dict(zip(known, encoder.embedding.weight, strict=True))  # code points are in the order of their texts
    ids = TITLES.vocabulary.encode(TEXTS)
    found = encoder(torch.tensor([0, *ids, ids[0], 0]))
    for text, row in zip(["", *TEXTS, TEXTS[0], ""], found, strict=True):
        bag = letter_trigrams(text)
        divisor = {"sum": 1, "mean": len(bag), "sqrtn": math.sqrt(len(bag))}[pooling] or 1
        torch.testing.assert_close(row, sum((vector[one] for one in bag), torch.zeros(4)) / divisor)


def test_init_fills_every_vector():
    weight = build(TITLES, init={"name": "normal", "std": 1e6}).embedding.weight
    assert weight.abs().min() > 1e-3, "no row stands for the unknown"


@pytest.mark.parametrize("min_count", [1, 2, 3])
def test_trigrams_of_too_few_texts_are_dropped(min_count):
    encoder = build(TITLES, min_count=min_count)
    counts = Counter(trigram for text in TEXTS for trigram in set(letter_trigrams(text)))
    assert len(encoder.trigrams) == sum(count >= min_count for count in counts.values())
    if min_count == 2:
        alien, aliens, ran = encoder(torch.from_numpy(TITLES.vocabulary.encode(["Alien", "Aliens", "I"])))
        assert torch.equal(alien, aliens), "they differ in trigrams of their own alone"
        assert not ran.any()
    assert f"{len(encoder.trigrams)} trigrams of 7 texts, sum" in repr(encoder)


def test_a_mean_is_over_the_known_trigrams():
    encoder = build(encode_column("title", ["ab", "abc"]), min_count=2, pooling="mean")
    assert torch.equal(encoder(torch.tensor([1])), encoder.embedding.weight)
    assert torch.equal(encoder(torch.tensor([2])), encoder.embedding.weight)


@pytest.mark.parametrize("texts", [[], ["!"]], ids=["no text", "no letter"])
def test_texts_without_trigrams_are_zeros(texts):
    column = encode_column("title", texts)
    vectors = build(column)(column.values)
    assert vectors.tolist() == [[0.0] * 4] * len(column.values)


def test_a_state_brings_its_trigrams_along():
    trained, fresh = build(encode_column("title", ["xyz", "abc"])), build(encode_column("title", ["uvw", "abc"]))
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh(torch.tensor([1])), trained(torch.tensor([1]))), "abc"
    assert not fresh(torch.tensor([2])).any(), "its vocabulary lacks uvw"


def test_all_but_vectors_and_trigrams_stays_out_of_the_state():
    assert set(build(TITLES).state_dict()) == {"trigrams", "embedding.weight"}


@pytest.mark.parametrize(
    ("column", "found"), [(Column("x", torch.zeros(3)), "numbers"), (encode_column("x", [["a"]]), "id lists")]
)
def test_other_columns_are_an_error(column, found):
    message = rf"feature 'x' must be a text or single ids for encoder 'letter-trigrams', got '{found}'\.\s+Name a text"
    with pytest.raises(ConfigError, match=message):
        build(column)


def test_a_model_trains_on_titles(make_experiment, make_trainer):
    title = {"title": {"encoder": "letter-trigrams", "dim": 8, "pooling": "sqrtn", "min_count": 2}}
    user = {"user_id": {"encoder": "embedding", "dim": 8}}
    experiment = make_experiment(user_tower={"features": user}, item_tower={"features": title}, score={"name": "dot"})
    data = load_data(experiment)
    model = build_module(experiment, data.schema)
    before = model.model.item_tower.encoder("title").embedding.weight.detach().clone()
    trainer = make_trainer(max_epochs=10)
    trainer.fit(model, DataModule(data))
    after = model.model.item_tower.encoder("title").embedding.weight
    assert bool((before != after).any(dim=1).all())
    assert trainer.callback_metrics["train/auc"] > 0.7


@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrtn"])
@pytest.mark.parametrize("min_count", [1, 2, 100])
def test_given_trigrams_have_the_vectors_of_their_text(pooling, min_count):
    encoder = build(TITLES, pooling=pooling, min_count=min_count)
    lists = [[encoder.known.index(one) for one in letter_trigrams(text) if one in encoder.known] for text in TEXTS]
    longest = max(map(len, lists)) + 1
    given = torch.tensor([[*ids, *[NO_TRIGRAM] * (longest - len(ids))] for ids in lists])
    expected = encoder(torch.from_numpy(TITLES.vocabulary.encode(TEXTS)))
    torch.testing.assert_close(encoder(given), expected)
    assert torch.equal(encoder.read(TEXTS), given[:, :-1])


@pytest.mark.parametrize("text", TEXTS)
def test_a_bundle_takes_texts_apart_alike(text):
    assert export_reader.letter_trigrams(text) == letter_trigrams(text)
