"""The cache of star schemas returns exactly what was saved, or nothing."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from towerzoo.datasets import Column, Interactions, StarSchema, Table, Vocabulary
from towerzoo.datasets.schema import cache
from towerzoo.datasets.schema.cache import cache_folder, cached, load_schema, save_schema


def make_schema(digest: str = "abc", *, timestamp: bool = True) -> StarSchema:
    ids = torch.arange(3, dtype=torch.int32)
    users = Table(
        "user",
        {
            "user": Column("user", ids, Vocabulary([10, 20])),
            "height": Column("height", torch.tensor([0.0, 1.5, 1.75])),
        },
    )
    items = Table(
        "item",
        {
            "item": Column("item", ids, Vocabulary(["ä", "b:c"])),
            "tags": Column(
                "tags", torch.tensor([[0, 1], [2, 0], [0, 0]], dtype=torch.int32).T[:1].T, Vocabulary(["x", "y"])
            ),
        },
        {"title": ("", "Één", "Zwei, drei")},
    )
    events = Interactions(
        user=torch.tensor([1, 2, 2, 1], dtype=torch.int32),
        item=torch.tensor([2, 2, 1, 1], dtype=torch.int32),
        feedback={"rating": torch.tensor([1.0, 2.0, 3.0, 4.0])},
        timestamp=torch.tensor([1, 2, 3, 1 << 40]) if timestamp else None,
        weight=torch.tensor([0.5, 1.0, 2.0, 1.0]) if timestamp else None,
        negatives=torch.tensor([[1, 0], [0, 0], [2, 1], [2, 0]], dtype=torch.int32) if timestamp else None,
        categories={"rating": Vocabulary(["bad", "fair", "good", "übel"])} if timestamp else {},
    )
    return StarSchema(users, items, events, digest, ("One event was dropped.",) if timestamp else ())


def assert_equal(left: StarSchema, right: StarSchema) -> None:
    assert (left.digest, left.notes) == (right.digest, right.notes)
    for a, b in ((left.users, right.users), (left.items, right.items)):
        assert (a.key, dict(a.texts), list(a.columns)) == (b.key, dict(b.texts), list(b.columns))
        for name, column in a.columns.items():
            other = b.columns[name]
            assert (column.name, column.vocabulary) == (other.name, other.vocabulary)
            assert column.values.dtype == other.values.dtype
            assert torch.equal(column.values, other.values)
    a, b = left.interactions, right.interactions
    assert list(a.feedback) == list(b.feedback)
    pairs = [(a.user, b.user), (a.item, b.item), *((a.feedback[name], b.feedback[name]) for name in a.feedback)]
    assert a.categories == b.categories
    for one, other in ((a.timestamp, b.timestamp), (a.weight, b.weight), (a.negatives, b.negatives)):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            pairs.append((one, other))
    for values, other in pairs:
        assert values.dtype == other.dtype
        assert torch.equal(values, other)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "mine.safetensors"


@pytest.mark.parametrize("timestamp", [True, False])
def test_round_trip(path, timestamp):
    schema = make_schema(timestamp=timestamp)
    save_schema(schema, path)
    loaded = load_schema(path, "abc")
    assert loaded is not None
    assert_equal(loaded, schema)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_empty_interactions_and_empty_vocabulary(path):
    nothing = torch.zeros(0, dtype=torch.int32)
    table = Table("id", {"id": Column("id", torch.zeros(1, dtype=torch.int32), Vocabulary([]))})
    schema = StarSchema(table, table, Interactions(nothing, nothing, {}), "abc")
    save_schema(schema, path)
    loaded = load_schema(path, "abc")
    assert loaded is not None
    assert_equal(loaded, schema)


def test_missing_stale_and_unreadable_files(path):
    assert load_schema(path, "abc") is None
    save_schema(make_schema(), path)
    assert load_schema(path, "abd") is None
    assert load_schema(path.parent, "abc") is None


def test_other_version(path, monkeypatch):
    save_schema(make_schema(), path)
    monkeypatch.setattr(cache, "VERSION", "0")
    assert load_schema(path, "abc") is None


def test_every_truncation(path):
    save_schema(make_schema(), path)
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        assert load_schema(path, "abc") is None, size


def test_every_flipped_byte(path):
    schema = make_schema()
    save_schema(schema, path)
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        loaded = load_schema(path, "abc")
        if loaded is not None:
            # Whitespace in the JSON header has no meaning.
            assert position < start
            assert_equal(loaded, schema)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04pickle", b"PK\x03\x04 a zip file", b"\x05" + b"\0" * 7 + b"[1,2]", b"\x02" + b"\0" * 7 + b"{}"],
)
def test_foreign_file(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    assert load_schema(path, "abc") is None


def test_other_safetensors_file(path):
    path.parent.mkdir()
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    assert load_schema(path, "abc") is None
    tensors = {"description": torch.frombuffer(bytearray(json.dumps([1]).encode()), dtype=torch.uint8)}
    header = {"format": cache.FORMAT, "version": cache.VERSION, "digest": "abc", "crc32": str(cache._checksum(tensors))}
    safetensors.torch.save_file(tensors, path, header)
    assert load_schema(path, "abc") is None


def test_folder_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TOWERZOO_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "towerzoo"


def test_cached_rebuilds_when_the_sources_change(monkeypatch, tmp_path):
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path))
    built = []

    def build(digest: str) -> StarSchema:
        return cached("mine", digest, lambda: built.append(digest) or make_schema(digest))

    assert_equal(build("abc"), build("abc"))
    assert built == ["abc"]
    build("abd")
    build("abd")
    assert built == ["abc", "abd"]
    assert [p.name for p in (tmp_path / "schemas").iterdir()] == ["mine.safetensors"]


def test_unwritable_folder_is_a_warning(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path / "file"))
    with pytest.warns(
        UserWarning, match=r"schemas cannot be written \(Not a directory\).*Set TOWERZOO_CACHE to another folder"
    ):
        schema = cached("mine", "abc", make_schema)
    assert_equal(schema, make_schema())


def test_failed_write_leaves_no_file(monkeypatch, path):
    def fail(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.warns(UserWarning, match=r"cannot be written \(Permission denied\)"):
        save_schema(make_schema(), path)
    assert list(path.parent.iterdir()) == []
