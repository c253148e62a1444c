# ruff: noqa: E501  (whole messages, in tables)
"""Streamed training events: the run differs from one in memory only by the order of its batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result

from towerzoo.tools.recommend import main as recommend
from towerzoo.tools.test import main as retest
from towerzoo.tools.train import main as train
from towerzoo.towers.metrics.baselines import training_biases
from towerzoo.towers.model.build import load_data, read_experiment

CONFIG = """
data:
  name: tabular
  root: {root}
  interactions: {{files: train/*.parquet, valid: valid.parquet, test: test.parquet, stream: true,
                  shuffle_buffer: 1000, feedback: [rating], weight: w}}
  label: {{column: rating, positive_from: 4}}
  split: files
  batch_size: 256
user_tower: {{features: {{user_id: {{encoder: embedding, dim: 8}}}}}}
item_tower: {{features: {{item_id: {{encoder: embedding, dim: 8}}}}}}
score: {{name: dot, user_bias: true, item_bias: true}}
loss: bce-with-logits
optimizer: {{name: adam, lr: 0.02}}
training: {{max_epochs: 2}}
"""
IN_MEMORY = "data.interactions.stream=false"
WITHOUT_SPLIT = ["data.interactions.valid=null", "data.interactions.test=null"]
SOFTMAX = ["data.label=implicit", "loss={name: sampled-softmax, mask_known: false}", "evaluation={ranking: {at: [5]}}"]


def events(n: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 50, n), rng.integers(0, 30, n)
    rating = 1 + (user % 5 + item % 3 + rng.integers(0, 2, n)) % 5
    names = [f"i{number:02}" for number in item]
    return pa.table({"user_id": user, "item_id": names, "rating": rating, "w": rng.random(n) + 0.5})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,000 training events in row groups of 200, 400 to validate and 400 to test."""
    folder = tmp_path_factory.mktemp("stream")
    (folder / "train").mkdir()
    for number in range(2):
        pq.write_table(events(2_000, number), folder / "train" / f"{number}.parquet", row_group_size=200)
    for number, part in enumerate(("valid", "test"), start=2):
        pq.write_table(events(400, number), folder / f"{part}.parquet")
    (folder / "mine.yaml").write_text(CONFIG.format(root=folder))
    return folder


def run_train(folder: Path, out: Path, *overrides: str) -> Result:
    sets = [f"--set={override}" for override in overrides]
    return CliRunner().invoke(train, [str(folder / "mine.yaml"), "--device=cpu", f"--out={out}", *sets])


def trained(folder: Path, out: Path, *overrides: str) -> Path:
    result = run_train(folder, out, *overrides)
    assert result.exit_code == 0, result.output
    (run,) = (out / "mine").iterdir()
    return run


def read(run: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((run / name).read_text()))


@pytest.fixture(scope="module")
def streamed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(folder, tmp_path_factory.mktemp("streamed"))


def test_a_streamed_run_has_the_data_and_protocol_of_one_in_memory(folder, streamed, tmp_path):
    in_memory = trained(folder, tmp_path, IN_MEMORY)
    one, other = (read(run, "schema.json") for run in (streamed, in_memory))
    for key in ("users", "items", "events"):
        assert one[key] == other[key], key
    one, other = (read(run, "metrics.json") for run in (streamed, in_memory))
    assert one["fingerprint"] == other["fingerprint"]
    assert one["test"].keys() == other["test"].keys()
    assert one["test"]["auc"] == pytest.approx(other["test"]["auc"], abs=0.03)
    assert one["test"]["auc"] > one["baselines"]["item mean"]["auc"]
    assert list(one["baselines"]) == ["constant", "item mean", "user + item bias"]
    for name, figures in one["baselines"].items():
        assert figures == pytest.approx(other["baselines"][name]), name
    header = (streamed / "epochs.csv").read_text().partition("\n")[0]
    assert "train/loss" in header
    assert "train/auc" not in header, "it would take the logits of all events"


def test_biases_are_those_of_the_events_in_memory(folder):
    found = []
    for overrides in ([], [IN_MEMORY]):
        data = load_data(read_experiment(folder / "mine.yaml", overrides)[0])
        assert (data.stream is None) == bool(overrides)
        found.append(training_biases(data))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0.1


def test_rankings_leave_out_items_that_users_saw_in_the_stream(folder, tmp_path):
    found = {}
    for name, overrides in (("streamed", []), ("in memory", [IN_MEMORY])):
        run = trained(folder, tmp_path / name, *SOFTMAX, "training.max_epochs=1", *overrides)
        found[name] = read(run, "metrics.json")
    assert found["streamed"]["fingerprint"] == found["in memory"]["fingerprint"]
    assert found["streamed"]["baselines"] == found["in memory"]["baselines"]
    assert list(found["streamed"]["baselines"]) == ["random", "popularity"]


def test_only_positive_events_of_a_stream_train_against_candidates(folder, tmp_path):
    label = "data.label={column: rating, positive_from: 4}"
    run = trained(folder, tmp_path, *SOFTMAX, label, "loss={name: bpr, sampler: in-batch, mask_known: false}")
    assert list(read(run, "metrics.json")["baselines"])[1:] == [
        "popularity",
        "positive popularity",
        "item mean",
        "user + item bias",
    ]


def test_ids_may_have_tables_and_be_unknown_without_training_events(folder, tmp_path):
    users = pa.table({"user_id": range(60), "town": [f"t{number % 7}" for number in range(60)]})
    pq.write_table(users, tmp_path / "users.parquet")
    overrides = [
        f"data.users={{files: {tmp_path / 'users.parquet'}}}",
        "user_tower.features.town={encoder: embedding, dim: 8}",
        "user_tower.combine=sum",
        "data.fit_on=train",
        "training.max_epochs=1",
    ]
    one = read(trained(folder, tmp_path / "streamed", *overrides), "schema.json")
    other = read(trained(folder, tmp_path / "in memory", *overrides, IN_MEMORY), "schema.json")
    assert one["users"] == other["users"]
    assert one["events"] == other["events"]


def test_a_streamed_run_can_be_tested_again_and_sliced(streamed):
    before = read(streamed, "metrics.json")
    result = CliRunner().invoke(retest, [str(streamed), "--device=cpu", "--by=user-warmth", "--by=popularity"])
    assert result.exit_code == 0, result.output
    assert read(streamed, "metrics.json")["test"] == before["test"]
    assert "decile 1" in result.output


def test_a_streamed_run_recommends_but_does_not_know_seen_items(streamed):
    result = CliRunner().invoke(recommend, [str(streamed), "--user=7", "--device=cpu"])
    assert result.exit_code == 1
    assert "trained on a stream, so it does not know what users have seen" in result.output
    result = CliRunner().invoke(recommend, [str(streamed), "--user=7", "--device=cpu", "--keep-seen"])
    assert result.exit_code == 0, result.output


def test_a_resumed_run_is_bit_equal_to_one_that_never_stopped(folder, streamed, tmp_path):
    run = trained(folder, tmp_path, "training.max_epochs=1")
    result = CliRunner().invoke(train, ["--resume", str(run), "--device=cpu", "--set=training.max_epochs=2"])
    assert result.exit_code == 0, result.output
    assert (run / "model.safetensors").read_bytes() == (streamed / "model.safetensors").read_bytes()


def test_other_training_events_are_refused(folder, streamed, tmp_path):
    (tmp_path / "train").mkdir()
    pq.write_table(events(4_000, 9), tmp_path / "train" / "0.parquet")
    for part in ("valid", "test"):
        (tmp_path / f"{part}.parquet").write_bytes((folder / f"{part}.parquet").read_bytes())
    result = CliRunner().invoke(retest, [str(streamed), f"--set=data.root={tmp_path}", "--device=cpu"])
    assert result.exit_code == 1
    assert "The dataset's events, labels or split are not the ones that" in result.output


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.split=random"], "data.split must be 'files' for data that comes with its own split, got 'random'. Write `split: files`, or"),
        ([*WITHOUT_SPLIT, IN_MEMORY], "data.split must be a split of events for data without its own split, got 'files'. Name valid and test"),
        (["data.interactions.test=null"], "data.interactions must be a mapping with both valid and test, or with neither, got"),
        (WITHOUT_SPLIT, "data.interactions must be a mapping with valid and test where stream is true, since a stream cannot be split, got"),
        (["data.interactions.negatives=shown"], "must have a column 'shown', got no such column. Columns: item_id, rating, user_id, w."),
        (["data.interactions.negatives=item_id"], "0.parquet: item_id must be lists of ids to be streamed, got text. Write the column as Parquet lists."),
        (["data.interactions.shuffle_buffer=0"], "data.interactions.shuffle_buffer must be a whole number >= 1, got 0."),
        (["user_tower.features.h={encoder: history, dim: 8}"], "user_tower.features.h must be another encoder than 'history' where interactions are streamed, got 'history'."),
        (["data.label=implicit", "loss={name: sampled-softmax}"], "loss.mask_known must be false where interactions are streamed, got True. The items that users are known to like are not in memory. Add mask_known: false"),
        (["data.unknown=drop"], "data.unknown must be 'error' or 'row' where interactions are streamed, got 'drop'. Write the files without such"),
        (["data.interactions.valid=train/0.parquet"], "0.parquet must be in one part of the events, got it in interactions and interactions.valid. Move it"),
        (["data.interactions.valid=mine.yaml"], "mine.yaml: the file name must end in"),
        (["data.label.positive_from=0"], "The labels of the valid split must be of both classes, got only 1 in 400 events"),
    ],
)  # fmt: skip
def test_settings_that_a_stream_cannot_serve_are_refused_and_nothing_is_written(folder, tmp_path, overrides, message):
    result = run_train(folder, tmp_path, *overrides)
    assert result.exit_code == 1, result.output
    assert message in " ".join(result.output.split())
    assert not any(tmp_path.iterdir())


def test_streamed_events_of_one_class_or_unknown_users_are_reported(folder, tmp_path):
    (tmp_path / "train").mkdir()
    table = events(400, 0)
    pq.write_table(table.set_column(2, "rating", [[5] * 400]), tmp_path / "train" / "0.parquet")
    for part in ("valid", "test"):
        (tmp_path / f"{part}.parquet").write_bytes((folder / f"{part}.parquet").read_bytes())
    result = run_train(folder, tmp_path / "runs", f"data.root={tmp_path}")
    assert "The labels of the train split must be of both classes, got only 1 in 400 events" in result.output
    few = ["data.users={files: users.csv}", "data.unknown=row"]
    (tmp_path / "users.csv").write_text("user_id\n" + "\n".join(map(str, range(40))) + "\n")
    pq.write_table(table, tmp_path / "train" / "0.parquet")
    unknown = sum(user >= 40 for user in table["user_id"].to_pylist())
    with pytest.warns(UserWarning, match=rf"{unknown} of 400 training events are assigned to the unknown user"):
        trained(folder, tmp_path / "runs", f"data.root={tmp_path}", *few)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's data is Linux's")
def test_a_dataset_larger_than_memory_trains_only_as_a_stream(folder, tmp_path):
    """Ids of 205 letters, as URLs are: 720,000 events are 291 MiB in files without compression, for 224 MiB of memory."""
    room, groups, rows = 224, 72, 10_000
    rng = np.random.default_rng(0)
    ids = {f"{side}_id": pa.array([f"{side}-{number:0200}" for number in range(500)]) for side in ("user", "item")}
    drawn = {name: names.take(pa.array(rng.integers(0, 500, rows))) for name, names in ids.items()}
    group = pa.table({**drawn, "rating": rng.integers(1, 6, rows), "w": np.ones(rows)})
    (tmp_path / "train").mkdir()
    path = tmp_path / "train" / "0.parquet"
    with pq.ParquetWriter(path, group.schema, use_dictionary=False, compression="none") as file:
        for _ in range(groups):
            file.write_table(group)
    assert path.stat().st_size > room << 20
    for part in ("valid", "test"):
        pq.write_table(group[:2_000], tmp_path / f"{part}.parquet")
    text = CONFIG.format(root=tmp_path).replace("shuffle_buffer: 1000", "shuffle_buffer: 40000")
    text = text.replace("batch_size: 256", "batch_size: 16384").replace("max_epochs: 2", "max_epochs: 1")
    (tmp_path / "mine.yaml").write_text(text)
    script = Path(__file__).with_name("limited_training.py")
    switch = "data.interactions.stream"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "mine.yaml", str(room), tmp_path, f"{switch}=false", f"{switch}=true"],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "TOWERZOO_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert f"{switch}=false: 1" in done.stdout
    assert "alloc of size" in done.stderr, "the whole set does not fit"
    assert f"{switch}=true: 0" in done.stdout, done.stderr
    (run,) = (tmp_path / "mine").iterdir()
    assert read(run, "metrics.json")["protocol"]["events"]["train"].startswith(f"{groups * rows}:")
