# ruff: noqa: E501  (messages stand in tables)
"""Events are streamed from Parquet files, some row groups at a time, each once an epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from towerzoo.datasets import BatchLoader, Vocabulary
from towerzoo.datasets.batches.loaders import Batch
from towerzoo.datasets.batches.streams import StreamLoader
from towerzoo.datasets.tabular.events import Ids
from towerzoo.datasets.tabular.files import find_shards
from towerzoo.datasets.tabular.row_groups import RowGroups
from towerzoo.datasets.tabular.sections import InteractionFiles
from towerzoo.datasets.tabular.stream import ParquetStream
from towerzoo.registry.errors import DataError

USERS, ITEMS = Vocabulary(range(100, 140)), Vocabulary([f"i{number}" for number in range(25)])
EVENTS, GROUP = 1_000, 50


def rows() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "user_id": rng.integers(100, 140, EVENTS),
        "item_id": [f"i{number}" for number in rng.integers(0, 25, EVENTS)],
        "rating": rng.integers(1, 6, EVENTS),
        "w": rng.random(EVENTS) + 0.5,
        "event": [*(["view"] * 999), "buy"],
        "shown": [[f"i{item}" for item in rng.integers(0, 25, n % 7)] for n in range(EVENTS)],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """1,000 events in two files, the first of 12 row groups and the second of 8."""
    table = pa.table(rows())
    for number, part in enumerate((table[:600], table[600:])):
        pq.write_table(part, tmp_path / f"{number}.parquet", row_group_size=GROUP)
    return tmp_path


LABEL = {"column": "rating", "positive_from": 4}


def make_stream(
    folder: Path, *, items: Vocabulary = ITEMS, unknown: Any = "error", buffer: int = 150, **columns: Any
) -> ParquetStream:
    feedback = ["rating", "event"] if items is ITEMS else []
    section = InteractionFiles(files=str(folder), shuffle_buffer=buffer, **{"feedback": feedback, **columns})
    users, items_ids = (Ids(pa.array(ids.values), f"the {side}") for side, ids in (("users", USERS), ("items", items)))
    return ParquetStream(RowGroups(find_shards(str(folder)), section), users, items_ids, unknown)


def make_loader(
    folder: Path,
    *,
    label: dict[str, Any] = LABEL,
    batch_size: int = 64,
    seed: int | None = None,
    positives: int | None = None,
    shown: bool = False,
    **changes: Any,
) -> StreamLoader:
    stream = make_stream(folder, **changes, **({"negatives": "shown"} if shown else {}))
    return stream.loader(label, batch_size=batch_size, seed=seed, positives=positives, shown=shown)


def joined(batches: list[Batch]) -> Batch:
    return Batch(*(None if part[0] is None else torch.cat(part) for part in zip(*batches, strict=True)))  # type: ignore[arg-type]


def test_batches_without_a_seed_equal_those_in_memory(folder: Path) -> None:
    whole = rows()
    events = Batch(
        torch.from_numpy(USERS.encode(whole["user_id"])),
        torch.from_numpy(ITEMS.encode(whole["item_id"])),
        torch.from_numpy((whole["rating"] >= 4).astype(np.float32)),
        torch.from_numpy(whole["w"].astype(np.float32)),
    )
    in_memory = BatchLoader(events, torch.arange(EVENTS, dtype=torch.int32), batch_size=64)
    streamed = make_loader(folder, weight="w")
    assert len(streamed) == len(in_memory) == 16
    for actual, expected in zip(streamed, in_memory, strict=True):
        assert actual.negatives is None
        assert expected.negatives is None
        for values, other in zip(actual[:5], expected[:5], strict=True):
            assert values is not None
            assert other is not None
            assert values.dtype == other.dtype
            assert torch.equal(values, other)


def test_each_epoch_yields_every_event_once_in_another_order(folder: Path) -> None:
    loader = make_loader(folder, seed=5)
    epochs = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        assert [len(batch.user) for batch in batches] == [64] * 15 + [40]
        assert len(loader) == 16
        epochs.append(joined(batches))
    users = torch.from_numpy(USERS.encode(rows()["user_id"]))
    for events in epochs:
        assert events.event is not None
        assert events.event.dtype == torch.int32
        assert events.event.sort().values.tolist() == list(range(EVENTS))
        assert torch.equal(events.user, users[events.event.long()]), "an event keeps its user"
        assert events.weight is None
    assert not torch.equal(epochs[0].user, epochs[1].user)
    again = make_loader(folder, seed=5)
    again.set_epoch(1)
    assert torch.equal(joined(list(again)).user, epochs[1].user)
    assert not torch.equal(joined(list(make_loader(folder, seed=6))).user, epochs[0].user)


def test_events_of_several_groups_are_shuffled_together(folder: Path) -> None:
    for batch in make_loader(folder, seed=1, batch_size=50):
        assert batch.event is not None
        assert len(torch.unique(batch.event // GROUP)) > 1


def test_single_last_event_joins_the_batch_before_it(folder: Path) -> None:
    assert [len(batch.user) for batch in make_loader(folder, seed=0, batch_size=333)] == [333, 333, 334]
    assert [len(batch.user) for batch in make_loader(folder, batch_size=333)] == [333, 333, 333, 1]


def test_only_some_groups_are_in_memory(tmp_path: Path) -> None:
    n = 2_000_000
    rng = np.random.default_rng(0)
    table = pa.table({"user_id": rng.integers(100, 140, n), "item_id": rng.integers(0, 25, n)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=20_000)
    size = table.nbytes
    del table
    items = Vocabulary(range(25))
    loader = make_loader(tmp_path, items=items, label={"implicit": True}, buffer=40_000, seed=0, batch_size=8_192)
    pool = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() - pool for _ in loader)
    assert most < size / 20


def test_only_positive_events_if_only_they_train(folder: Path) -> None:
    positive = (rows()["rating"] >= 4).nonzero()[0].tolist()
    events = joined(list(make_loader(folder, positives=len(positive), seed=3)))
    assert events.event is not None
    assert sorted(events.event.tolist()) == positive
    assert bool((events.label == 1).all())


@pytest.mark.parametrize("buffer", [10_000, 150])
@pytest.mark.parametrize("positives", [None, int((rows()["rating"] >= 4).sum())])
def test_items_shown_are_padded_to_the_longest_list_of_the_batch(
    folder: Path, buffer: int, positives: int | None
) -> None:
    lists = [ITEMS.encode(row).tolist() for row in rows()["shown"]]
    seen = []
    for batch in make_loader(folder, shown=True, buffer=buffer, seed=2, positives=positives, batch_size=8):
        assert batch.event is not None
        assert batch.negatives is not None
        assert batch.negatives.dtype == torch.int32
        shown = [lists[event] for event in batch.event.tolist()]
        width = max(1, *map(len, shown))
        assert batch.negatives.tolist() == [row + [0] * (width - len(row)) for row in shown]
        seen += batch.event.tolist()
    assert len(set(seen)) == len(seen) == (positives or EVENTS)


def test_lists_take_room_in_the_buffer_if_they_are_read(folder: Path) -> None:
    groups = make_stream(folder, buffer=300, negatives="shown").groups
    # 50 events have some 150 items, which count as 75 events; an empty list counts as one item.
    assert [len(fill) for fill in groups.fills(range(4))] == [4]
    assert [len(fill) for fill in groups.fills(range(4), shown=True)] == [2, 2]
    assert next(iter(make_loader(folder, negatives="shown"))).negatives is None, "they were not requested"


def test_one_long_list_does_not_pad_the_others(tmp_path: Path) -> None:
    n, long = 100_000, 20_000  # 7.5 GiB if padded
    items = Vocabulary(range(25))
    lists = [[1]] * (n - 1) + [[2] * long]
    table = pa.table({"user_id": [100] * n, "item_id": [3] * n, "shown": lists})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10_000)
    loader = make_loader(tmp_path, items=items, label={"implicit": True}, shown=True, buffer=n, seed=0, batch_size=100)
    widths = [batch.negatives.shape[1] for batch in loader if batch.negatives is not None]
    assert sorted(widths)[-2:] == [1, long]
    assert len(widths) == 1_000


def test_unknown_items_in_lists_are_reported_or_counted(folder: Path) -> None:
    table = pa.table(rows())
    lists = table.column("shown").to_pylist()
    lists[977] = ["i1", "i99", "i2"]
    where = table.schema.get_field_index("shown")
    pq.write_table(table.set_column(where, "shown", [lists])[600:], folder / "1.parquet", row_group_size=GROUP)
    message = r"1\.parquet: shown must be lists of ids of the items, got \['i1', 'i99', 'i2'\] in row 378\. 1 row is"
    with pytest.raises(DataError, match=message):
        make_stream(folder, negatives="shown").lost_shown()
    stream = make_stream(folder, negatives="shown", unknown="row")
    assert stream.lost_shown() == 1
    events = joined(list(stream.loader(LABEL, batch_size=EVENTS, seed=None, shown=True)))
    assert events.negatives is not None
    assert events.negatives[977].tolist()[:3] == [*ITEMS.encode(["i1", "i2"]), 0]


def test_buffer_holds_whole_groups(folder: Path) -> None:
    groups = make_stream(folder, buffer=120).groups
    assert list(groups.fills([3, 1, 0, 2, 19])) == [[3, 1], [0, 2], [19]]
    assert list(make_stream(folder, buffer=1).groups.fills([3, 1])) == [[3], [1]]


def test_parts_and_columns_keep_the_order_of_the_files(folder: Path) -> None:
    stream = make_stream(folder)
    whole = rows()
    everything = joined(list(stream.parts(LABEL)))
    assert everything.user.tolist() == USERS.encode(whole["user_id"]).tolist()
    assert everything.label.tolist() == (whole["rating"] >= 4).tolist()
    for column in ("user", "item", "label"):
        assert torch.equal(torch.cat(list(stream.values(LABEL, column))), getattr(everything, column))
    for label in ({"implicit": True}, {"column": "event", "equals": "buy"}):
        assert torch.equal(torch.cat(list(stream.values(label, "label"))), joined(list(stream.parts(label))).label)


@pytest.mark.parametrize(
    ("label", "positive"),
    [
        ({"implicit": True}, EVENTS),
        ({"column": "event", "equals": "buy"}, 1),
        ({"column": "rating", "equals": 3}, int((rows()["rating"] == 3).sum())),
    ],
)
def test_labels_follow_the_rule_in_every_group(folder: Path, label: dict[str, Any], positive: int) -> None:
    assert joined(list(make_loader(folder, label=label, seed=0))).label.sum() == positive


def test_unknown_users(folder: Path) -> None:
    table = pa.table(rows())
    users = table.column("user_id").to_pylist()
    users[977] = 7
    pq.write_table(table.set_column(0, "user_id", [users])[600:], folder / "1.parquet", row_group_size=GROUP)
    message = r"1\.parquet: user_id must be one of the 40 ids of the users, got 7 in row 378\. 1 row is"
    with pytest.raises(DataError, match=message):
        list(make_loader(folder))
    events = joined(list(make_loader(folder, unknown="row")))
    assert (events.user == 0).nonzero().flatten().tolist() == [977]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "1.parquet").write_text("no"), r"1\.parquet cannot be read: "),
        (lambda folder: (folder / "1.parquet").unlink() or (folder / "0.parquet").rename(folder / "0.csv"), r"must be a "
         r"Parquet file to be streamed, got CSV\."),
        (lambda folder: [pq.write_table(pa.table(rows())[:0], folder / f"{n}.parquet") for n in range(2)],
         r"0\.parquet and its other shards must hold 1 to 2,147,483,647 events, got 0\."),
        (lambda folder: pq.write_table(pa.table(rows()).drop_columns(["rating"]), folder / "1.parquet"),
         r"1\.parquet must have a column 'rating', got no such column\. Columns: event, item_id, shown, user_id, w\."),
        (lambda folder: pq.write_table(pa.table({**rows(), "item_id": np.arange(EVENTS)}), folder / "1.parquet"),
         r"1\.parquet: item_id must be text, as in .*0\.parquet, got whole numbers\. Write all files with the same types\."),
        (lambda folder: [pq.write_table(pa.table({**rows(), "shown": ["i1 i2"] * EVENTS}), folder / f"{n}.parquet")
         for n in range(2)],
         r"0\.parquet: shown must be lists of ids to be streamed, got text\. Write the column as Parquet lists\."),
    ],
)  # fmt: skip
def test_files_that_cannot_be_streamed(folder: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(folder)
    with pytest.raises(DataError, match=message):
        make_loader(folder, shown=True)


def test_damaged_rows_are_reported_when_they_are_read(folder: Path) -> None:
    path = folder / "1.parquet"
    loader = make_loader(folder)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"1\.parquet cannot be read: "):
        list(loader)


def test_whole_numbers_beyond_int64_are_streamed_as_text(folder: Path) -> None:
    ids = np.array(rows()["user_id"], np.uint64)
    ids[-1] = 2**64 - 1
    pq.write_table(pa.table({**rows(), "user_id": ids})[600:], folder / "1.parquet", row_group_size=GROUP)
    message = r"1\.parquet: user_id must be whole numbers up to 9223372036854775807 to be streamed, got larger ones\. Read them with `kinds: \{user_id: text\}`\."
    with pytest.raises(DataError, match=message):
        list(make_loader(folder))
    users = Ids(pa.array([*map(str, USERS.values), str(2**64 - 1)]), "the users")
    stream = replace(make_stream(folder, kinds={"user_id": "text"}), users=users)
    rows_read = joined(list(stream.parts(LABEL))).user
    assert rows_read.tolist() == [*(rows()["user_id"] - 99)[:-1], len(users.values)]


def test_lists_of_whole_numbers_beyond_int64_cannot_be_streamed(folder: Path) -> None:
    shown = pa.array([[2**63]] * EVENTS, pa.list_(pa.uint64()))
    for name in ("0.parquet", "1.parquet"):
        pq.write_table(pa.table({**rows(), "shown": shown}), folder / name, row_group_size=GROUP)
    message = r"shown must be lists of whole numbers up to 9223372036854775807 to be streamed, got larger ones\. Write them as text\."
    with pytest.raises(DataError, match=message):
        list(make_loader(folder, shown=True))


def test_groups_take_the_type_of_their_column(folder: Path) -> None:
    halves = pa.table({**rows(), "rating": rows()["rating"] + 0.5})[:600]
    pq.write_table(halves, folder / "2.parquet", row_group_size=GROUP)
    events = joined(list(make_loader(folder, label={"column": "rating", "equals": 3.5})))
    assert int(events.label.sum()) == int((rows()["rating"][:600] == 3).sum())
