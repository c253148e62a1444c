"""The dataset's column of items that were shown with an event and not taken, from the file to the loss."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from towerzoo.registry.errors import ConfigError, DataError
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module
from towerzoo.towers.training.rules import TRAINING_RULES

FILES = """\
data:
  name: tabular
  root: {root}
  interactions: {{files: plays.csv, user: user, item: song, negatives: shown, lists: {{shown: ' '}}}}
  label: implicit
  split: {{name: random, fractions: [0.8, 0.1, 0.1]}}
  batch_size: 64
user_tower: {{features: {{user: {{encoder: embedding, dim: 4}}}}}}
item_tower: {{features: {{song: {{encoder: embedding, dim: 4}}}}}}
score: {{name: dot, item_bias: true}}
loss: {{name: bpr, sampler: from-column}}
optimizer: {{name: adam, lr: 0.05}}
training: {{max_epochs: 3}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """400 plays of songs 0 to 9; song n + 10 is shown with n and never taken; the first two plays show nothing."""
    rows = [f"{n % 20},{n % 7 + n % 4},{'' if n < 2 else f'{n % 7 + n % 4 + 10}'}" for n in range(400)]
    every = [f"0,{song}," for song in range(20)]
    (tmp_path / "plays.csv").write_text("\n".join(["user,song,shown", *rows, *every]) + "\n")
    (tmp_path / "mine.yaml").write_text(FILES.format(root=tmp_path))
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    "loss",
    [
        "{name: sampled-softmax, sampler: {name: mixed, parts: [from-column, in-batch]}}",
        "{name: hinge, sampler: from-column, hardest: 1, mask_known: false}",
    ],
)
def test_training_separates_items_taken_from_items_shown(config, make_trainer, loss):
    experiment, _ = read_experiment(config, [f"loss={loss}"])
    data = load_data(experiment)
    model = build_module(experiment, data.schema)

    def right() -> float:
        events = data.schema.interactions
        assert events.negatives is not None
        rows = (events.negatives[:, 0] > 0).nonzero().flatten()
        user, item, shown = events.user[rows], events.item[rows], events.negatives[rows, 0]
        return float((model.model(user, item) > model.model(user, shown)).float().mean())

    model.eval()
    before = right()
    model.train()
    make_trainer(max_epochs=3).fit(model, DataModule(data))
    model.eval()
    assert right() > max(before, 0.9)


def test_only_training_batches_have_the_items_shown(config):
    experiment, _ = read_experiment(config)
    data = load_data(experiment)
    column = data.schema.interactions.negatives
    assert column is not None
    for batch in data.train_batches():
        assert torch.equal(batch.negatives, column[batch.event.long()])
    assert next(iter(data.batches("test"))).negatives is None
    experiment, _ = read_experiment(config, ["loss=sampled-softmax"])
    data = load_data(experiment)
    assert next(iter(data.train_batches())).negatives is None
    assert data.schema.interactions.negatives is None, "unused columns would take up memory"


STREAMED = [
    "data.interactions={files: train.parquet, valid: valid.parquet, test: test.parquet, user: user, item: song, "
    "negatives: shown, feedback: [stars], stream: true, shuffle_buffer: 5000}",
    "data.label={column: stars, positive_from: 4}",
    "data.split=files",
    "data.items={files: songs.csv, id: song}",
    "loss={name: bpr, sampler: from-column, mask_known: false}",
]
IN_MEMORY = "data.interactions.stream=false"


@pytest.fixture
def presplit(config: Path) -> Path:
    """1,000 training events in row groups of 70, each shown with up to four songs from 10 on."""
    (config.parent / "songs.csv").write_text("song\n" + "\n".join(map(str, range(20))) + "\n")
    for part, n in (("train", 1_000), ("valid", 40), ("test", 40)):
        shown = [[10 + (row + slot) % 10 for slot in range(row // 7 % 5)] for row in range(n)]
        plays = {
            "user": [row % 20 for row in range(n)],
            "song": [row // 3 % 10 for row in range(n)],
            "stars": [1 + row % 7 % 5 for row in range(n)],
            "shown": pa.array(shown if part == "train" else [[]] * n, pa.list_(pa.int64())),
        }
        pq.write_table(pa.table(plays), config.parent / f"{part}.parquet", row_group_size=70)
    return config


def test_streamed_events_have_the_same_items_shown_as_events_in_memory(presplit):
    counts = []
    for overrides in (STREAMED, [*STREAMED, IN_MEMORY]):
        experiment, _ = read_experiment(presplit, overrides)
        data = load_data(experiment)
        assert (data.stream is None) == (IN_MEMORY in overrides)
        events: Counter[tuple[Any, ...]] = Counter()
        for batch in data.train_batches():
            assert batch.negatives is not None
            shown = [tuple(row for row in rows if row) for rows in batch.negatives.tolist()]
            events.update(zip(batch.user.tolist(), batch.item.tolist(), batch.label.tolist(), shown, strict=True))
        counts.append(events)
        assert next(iter(data.batches("test"))).negatives is None
    assert counts[0] == counts[1]
    assert counts[0].total() == sum(1 for row in range(1_000) if row % 7 % 5 >= 3)


def test_shown_songs_without_a_row_are_reported_before_training(presplit):
    (presplit.parent / "songs.csv").write_text("song\n" + "\n".join(map(str, range(19))) + "\n")
    with pytest.raises(
        DataError, match=r"train\.parquet: shown must be lists of ids of .*songs\.csv, got \[.*19.*\] in"
    ):
        load_data(read_experiment(presplit, STREAMED)[0])
    lost = sum(19 in [10 + (row + slot) % 10 for slot in range(row // 7 % 5)] for row in range(1_000))
    with pytest.warns(UserWarning, match=rf"{lost} of 1,000 training events lost items shown that have no row"):
        load_data(read_experiment(presplit, [*STREAMED, "data.unknown=row"])[0])


@pytest.mark.parametrize("sampler", ["from-column", "{name: mixed, parts: [in-batch, from-column]}"])
def test_data_without_items_shown_is_rejected_before_it_is_read(config, sampler):
    text = config.read_text().replace(", negatives: shown, lists: {shown: ' '}", "")
    config.write_text(text.replace("sampler: from-column", f"sampler: {sampler}"))
    (config.parent / "plays.csv").write_text("user,song\nan event that cannot be read\n")
    message = (
        r"mine\.yaml:11: loss\.sampler must be a sampler that the dataset has items for, got 'from-column'\.\s+"
        r"Name their column as data\.interactions\.negatives of a tabular dataset, or choose another sampler\."
    )
    with pytest.raises(ConfigError, match=message):
        read_experiment(config, rules=TRAINING_RULES)


def test_a_dataset_without_its_announced_column_is_rejected(make_experiment):
    experiment = make_experiment(loss={"name": "bpr", "sampler": "from-column"})
    message = "The sampler 'from-column' needs the items that were shown and not taken, which this dataset"
    with pytest.raises(DataError, match=message):
        load_data(experiment)
