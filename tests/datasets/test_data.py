from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from towerzoo.datasets import Column, ColumnNames, Interactions, Split, StarSchema, Table, TwoTowerData, Vocabulary
from towerzoo.datasets import data as datamodule
from towerzoo.registry import DATASETS, SPLITS
from towerzoo.registry.errors import DataError

USER = torch.tensor([1, 2, 1, 2, 3, 4, 3, 4], dtype=torch.int32)
ITEM = torch.tensor([1, 1, 2, 2, 3, 3, 4, 4], dtype=torch.int32)
RATING = torch.tensor([5.0, 1.0, 4.0, 2.0, 5.0, 1.0, 5.0, 1.0])
PARTS = Split(torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5]), torch.tensor([6, 7]))


class Tiny:
    """Users and items 1 and 2 have training events, 3 and 4 only later ones, and 5 none."""

    def columns(self) -> ColumnNames:
        return ColumnNames(("user_id", "town", "age"), ("movie_id", "genres"), ("rating",))

    def load(self) -> StarSchema:
        towns = Column("town", torch.tensor([0, 1, 2, 2, 3, 1], dtype=torch.int32), Vocabulary(["a", "b", "c"]))
        genres = torch.tensor([[0, 0], [1, 2], [2, 0], [3, 1], [1, 4], [3, 4]], dtype=torch.int32)
        users = (self.ids("user_id"), towns, Column("age", torch.arange(6.0)))
        items = (self.ids("movie_id"), Column("genres", genres, Vocabulary(["w", "x", "y", "z"])))
        return StarSchema(
            Table("user_id", {column.name: column for column in users}),
            Table("movie_id", {column.name: column for column in items}, {"title": ("", *"ABCDE")}),
            Interactions(USER, ITEM, {"rating": RATING}),
            digest="tiny",
        )

    def ids(self, name: str) -> Column:
        return Column(name, torch.arange(6, dtype=torch.int32), Vocabulary(range(1, 6)))


def split_as_given(user: Tensor, timestamp: Tensor | None) -> Split:
    return PARTS


@pytest.fixture(autouse=True)
def register_parts(monkeypatch):
    monkeypatch.setitem(DATASETS._parts, "tiny", Tiny)
    monkeypatch.setitem(SPLITS._parts, "as-given", split_as_given)


def load(**changes: Any) -> TwoTowerData:
    arguments: dict[str, Any] = {
        "label": {"column": "rating", "positive_from": 4},
        "split": "as-given",
        "batch_size": 3,
        "fit_on": "catalogue",
        "seed": 0,
    }
    return TwoTowerData.load("tiny", **{**arguments, **changes})


def values(table: Table) -> dict[str, list[Any]]:
    return {name: column.values.tolist() for name, column in table.columns.items()}


def test_fit_on_catalogue_keeps_the_tables():
    data, tiny = load(), Tiny().load()
    assert values(data.schema.users) == values(tiny.users)
    assert values(data.schema.items) == values(tiny.items)


def test_fit_on_train_hides_ids_without_training_events():
    data, tiny = load(fit_on="train"), Tiny().load()
    assert values(data.schema.users) == {
        "user_id": [0, 1, 2, 0, 0, 0],
        "town": [0, 1, 2, 2, 0, 1],  # user 3 shares a town with user 2, but user 4 with nobody
        "age": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],  # numbers have no vocabulary
    }
    assert values(data.schema.items) == {
        "movie_id": [0, 1, 2, 0, 0, 0],
        "genres": [[0, 0], [1, 2], [2, 0], [0, 1], [1, 0], [0, 0]],
    }
    for table, before in ((data.schema.users, tiny.users), (data.schema.items, tiny.items)):
        assert table.texts == before.texts
        for name, column in table.columns.items():
            assert column.values.dtype == before.columns[name].values.dtype
            assert column.vocabulary == before.columns[name].vocabulary
    assert torch.equal(data.schema.interactions.user, USER)
    assert torch.equal(data.schema.interactions.item, ITEM)


def test_each_loader_yields_its_part_with_labels():
    data = load()
    for made, part in (
        (data.train_batches(), PARTS.train),
        (data.batches("valid"), PARTS.valid),
        (data.batches("test"), PARTS.test),
    ):
        actual = {event for batch in made for event in zip(*(column.tolist() for column in batch[:3]), strict=True)}
        labels = (RATING >= 4).float()
        assert actual == set(zip(USER[part].tolist(), ITEM[part].tolist(), labels[part].tolist(), strict=True))


def test_training_is_shuffled_and_evaluation_in_file_order():
    data = load(seed=11)
    assert (data.train_batches().seed, data.train_batches().batch_size) == (11, 3)
    for made, part in ((data.batches("valid"), PARTS.valid), (data.batches("test"), PARTS.test)):
        (batch,) = made
        assert made.seed is None
        assert torch.equal(batch.user, USER[part])
        assert torch.equal(batch.item, ITEM[part])


def test_evaluation_batch_size(monkeypatch):
    monkeypatch.setattr(datamodule, "EVALUATION_BATCH_SIZE", 1)
    assert len(load().batches("valid")) == 2
    assert len(load().batches("test")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"label": {"column": "stars", "positive_from": 4}},
            r"data\.label\.column must be a feedback column of the dataset, got 'stars'",
        ),
        (
            {"label": {"column": "rating", "positive_from": 0}},
            r"The labels of the train split must be of both classes, got only 1",
        ),
        (
            {"label": {"implicit": True, "column": "rating"}},
            r"The labels of the train split must be of both classes, got only 1 in",
        ),
        ({"split": "temporal"}, r"The data has no timestamps, which a temporal split needs"),
    ],
    ids=["feedback", "classes", "implicit", "times"],
)
def test_unusable_data_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        load(**changes)


def test_times_and_the_label_column_are_dropped():
    events = load().schema.interactions
    assert events.timestamp is None
    assert "rating" not in events.feedback, "labels replace it"


def test_other_feedback_is_kept():
    world = {"name": "synthetic", "users": 30, "items": 20, "interactions": 200}
    data = TwoTowerData.load(
        world, label={"column": "rating", "positive_from": 4}, split="random", batch_size=8, fit_on="catalogue", seed=0
    )
    assert set(data.schema.interactions.feedback) == {"probability"}


def test_implicit_labels():
    data = load(label={"column": "stars", "implicit": True}, positives_only=True)
    assert data.labels.tolist() == [1.0] * len(USER)
    assert set(data.schema.interactions.feedback) == {"rating"}


def test_only_positive_events_train():
    data = load(positives_only=True)
    rows = torch.cat([batch.event for batch in data.train_batches()])
    assert sorted(rows.tolist()) == [row for row in PARTS.train.tolist() if RATING[row] >= 4]
    assert len(rows) < len(PARTS.train)
    assert sum(len(batch.user) for batch in data.batches("test")) == len(PARTS.test)


def test_kinds_in_histories_are_feedback_or_labels(monkeypatch):
    past = load(history=True).schema.users.history
    assert past is not None
    assert len(past.kinds["feedback"].unique()) == len(RATING[PARTS.train].unique())

    class Worded(Tiny):
        def load(self) -> StarSchema:
            schema = super().load()
            texts = {"rating": Vocabulary(["a", "b", "c", "d", "e"])}
            return replace(schema, interactions=replace(schema.interactions, categories=texts))

    monkeypatch.setitem(DATASETS._parts, "tiny", Worded)
    for label in ({"column": "rating", "equals": "e"}, {"column": "stars", "implicit": True}):
        past = load(history=True, label=label, positives_only=True).schema.users.history
        assert past is not None
        assert torch.equal(past.kinds["feedback"], past.kinds["label"])


def test_loaders_share_events_without_copies():
    data = load()
    events = data.schema.interactions
    for loader in (data.train_batches(), data.batches("valid"), data.batches("test")):
        assert loader.events.user.data_ptr() == events.user.data_ptr()
        assert loader.events.item.data_ptr() == events.item.data_ptr()
        assert loader.events.label.data_ptr() == data.labels.data_ptr()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_events_are_on_the_training_gpu(make_experiment, make_trainer):
    from towerzoo.towers.model.build import load_data
    from towerzoo.towers.training.data import DataModule
    from towerzoo.towers.training.module import build_module

    experiment = make_experiment()
    data = load_data(experiment)
    trainer = make_trainer(accelerator="gpu", devices=1)
    trainer.fit(build_module(experiment, data.schema), DataModule(data))
    assert trainer.train_dataloader.events.user.device.type == "cuda"
