# ruff: noqa: E501  (messages stand in tables)
"""Tables become the same star schema, whatever format they are written in."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from towerzoo.datasets import StarSchema, Tabular, Vocabulary
from towerzoo.datasets.labels import binary_labels
from towerzoo.registry.errors import ConfigError, DataError
from towerzoo.towers.model.build import load_data, read_experiment

EVENTS = pd.DataFrame(
    {
        "user_id": [10, 20, 10, 30],
        "item_id": ["a", "b", "c", "a"],
        "rating": [5.0, 3.0, 4.5, 1.0],
        "ts": [1_700_000_000, 1_700_000_050, 1_700_000_010, 1_700_000_020],
        "w": [1.0, 0.5, 2.0, 1.0],
        "shown": ["b c", "", "a", "c"],
    }
)
USERS = pd.DataFrame({"user_id": [30, 10, 20], "town": ["Rom", None, "Ulm"], "height": [1.5, 1.75, 2.0]})
ITEMS = pd.DataFrame(
    {
        "item_id": ["b", "a", "c"],
        "title": ["Bee", "Ant", "Cat"],
        "genres": ["War Drama", "", "Drama"],
        "year": [1999, 2001, 1999],
    }
)
TABLES = {"events": EVENTS, "users": USERS, "items": ITEMS}
LISTS = {"shown": "events", "genres": "items"}
RECBOLE = {
    "events": ("inter", ["token", "token", "float", "float", "float", "token_seq"]),
    "users": ("user", ["token", "token", "float"]),
    "items": ("item", ["token", "token", "token_seq", "token"]),
}
INTERACTIONS: dict[str, Any] = {"timestamp": "ts", "weight": "w", "feedback": ["rating"], "negatives": "shown"}


def separated(folder: Path, table: str, rows: pd.DataFrame, *, suffix: str = "csv") -> None:
    rows.to_csv(folder / f"{table}.{suffix}", sep="," if suffix.startswith("csv") else "\t", index=False)


def listed(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(
        rows.assign(**{name: rows[name].str.split() for name in LISTS if name in rows}), preserve_index=False
    )


def write_csv(folder: Path, suffix: str = "csv") -> str:
    for table, rows in TABLES.items():
        separated(folder, table, rows, suffix=suffix)
    return f"{{}}.{suffix}"


def write_parquet(folder: Path) -> str:
    for table, rows in TABLES.items():
        pq.write_table(listed(rows), folder / f"{table}.parquet")
    return "{}.parquet"


def write_shards(folder: Path) -> str:
    for table, rows in TABLES.items():
        (folder / table).mkdir()
        (folder / table / "_SUCCESS").touch()
        for number in range(2):
            pq.write_table(listed(rows[2 * number : 2 * number + 2]), folder / table / f"part-{number}.parquet")
    return "{}"


def write_csv_shards(folder: Path) -> str:
    for table, rows in TABLES.items():
        (folder / table).mkdir()
        for number in range(len(rows)):
            rows[number : number + 1].to_csv(folder / table / f"{number}.csv", index=False)
    return "{}"


def write_recbole(folder: Path) -> str:
    for table, rows in TABLES.items():
        suffix, types = RECBOLE[table]
        named = rows.rename(columns={n: f"{n}:{t}" for n, t in zip(rows, types, strict=True)})
        separated(folder, table, named, suffix=suffix)
    return "recbole"


FORMATS: dict[str, Callable[[Path], str]] = {
    "csv": write_csv,
    "gzipped csv": lambda folder: write_csv(folder, "csv.gz"),
    "tsv": lambda folder: write_csv(folder, "tsv"),
    "parquet": write_parquet,
    "shards": write_shards,
    "pattern": lambda folder: write_shards(folder) + "/part-*.parquet",
    "csv shards": write_csv_shards,
    "recbole": write_recbole,
}


def section(table: str, pattern: str, **settings: Any) -> dict[str, Any]:
    files = f"{table}.{RECBOLE[table][0]}" if pattern == "recbole" else pattern.format(table)
    return {"files": files, **settings}


def dataset(folder: Path, pattern: str, **settings: Any) -> Tabular:
    text = "parquet" not in pattern and pattern != "recbole"
    lists = {table: {name: " " for name in LISTS if LISTS[name] == table and text} for table in TABLES}
    return Tabular(
        interactions=section("events", pattern, **INTERACTIONS, lists=lists["events"]),  # type: ignore[arg-type]
        users=section("users", pattern),  # type: ignore[arg-type]
        items=section("items", pattern, title="title", lists=lists["items"]),  # type: ignore[arg-type]
        root=str(folder),
        **settings,
    )


@pytest.fixture(autouse=True)
def separate_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TOWERZOO_CACHE", str(folder))
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_star_schema(tmp_path: Path, name: str) -> None:
    tabular = dataset(tmp_path, FORMATS[name](tmp_path))
    columns = tabular.columns()
    schema = tabular.load()
    assert columns.users == ("user_id", "town", "height")
    assert columns.items == ("item_id", "genres", "year")
    assert columns.feedback == ("rating",)
    assert columns.users == tuple(schema.users.columns)
    assert columns.items == tuple(schema.items.columns)
    users, items, events = schema.users, schema.items, schema.interactions
    assert users.ids == Vocabulary([30, 10, 20])
    assert users.columns["town"].vocabulary == Vocabulary(["Rom", "Ulm"])
    assert users.columns["town"].values.tolist() == [0, 1, 0, 2]
    assert users.columns["height"].vocabulary is None
    assert users.columns["height"].unknown.isnan()
    assert users.columns["height"].values.tolist()[1:] == [1.5, 1.75, 2.0]
    assert items.ids == Vocabulary(["b", "a", "c"])
    assert items.texts == {"title": ("", "Bee", "Ant", "Cat")}
    assert items.columns["genres"].vocabulary == Vocabulary(["Drama", "War"])
    assert items.columns["genres"].values.tolist() == [[0, 0], [2, 1], [0, 0], [1, 0]]
    assert items.columns["year"].vocabulary == Vocabulary([1999, 2001])
    assert items.columns["year"].values.tolist() == [0, 1, 2, 1]
    assert events.user.tolist() == [2, 3, 2, 1]
    assert events.item.tolist() == [2, 1, 3, 2]
    assert {name: values.tolist() for name, values in events.feedback.items()} == {"rating": [5.0, 3.0, 4.5, 1.0]}
    assert events.timestamp is not None
    assert events.timestamp.tolist() == [second * 1_000_000 for second in EVENTS["ts"]]
    assert events.weight is not None
    assert events.weight.tolist() == [1.0, 0.5, 2.0, 1.0]
    assert events.negatives is not None
    assert events.negatives.tolist() == [[1, 3], [0, 0], [2, 0], [3, 0]]
    ids = (events.user, events.item, events.negatives, items.columns["genres"].values, users.columns["town"].values)
    assert {values.dtype for values in ids} == {torch.int32}
    numbers = (events.weight, events.feedback["rating"], users.columns["height"].values)
    assert {values.dtype for values in numbers} == {torch.float32}
    assert events.timestamp.dtype == torch.int64
    assert schema.notes == ()


def test_ids_come_from_events_without_tables(tmp_path: Path) -> None:
    separated(tmp_path, "events", EVENTS)
    tabular = Tabular(interactions={"files": "events.csv"}, root=str(tmp_path))  # type: ignore[arg-type]
    assert tabular.columns().users == ("user_id",)
    schema = tabular.load()
    assert schema.users.ids == Vocabulary([10, 20, 30])
    assert schema.items.ids == Vocabulary(["a", "b", "c"])
    events = schema.interactions
    assert events.user.tolist() == [1, 2, 1, 3]
    assert events.item.tolist() == [1, 2, 3, 1]
    assert (events.timestamp, events.weight, events.negatives) == (None, None, None)
    assert not events.feedback


def test_ids_beyond_int64_become_text(tmp_path: Path) -> None:
    hashes = pa.array([2**64 - 1, 2**63, 5], pa.uint64())
    pq.write_table(pa.table({"user_id": hashes}), tmp_path / "users.parquet")
    pq.write_table(pa.table({"user_id": hashes.take([1, 0, 1]), "item_id": [1, 1, 2]}), tmp_path / "events.parquet")
    interactions, users = ({"files": str(tmp_path / f"{name}.parquet")} for name in ("events", "users"))
    schema = Tabular(interactions=interactions, users=users).load()  # type: ignore[arg-type]
    assert schema.interactions.user.tolist() == [2, 1, 2]
    assert schema.users.ids.values == (str(2**64 - 1), str(2**63), "5")
    assert schema.users.ids.row(2**63) == 2


def test_text_feedback_keeps_its_vocabulary(tmp_path: Path) -> None:
    rows = EVENTS.assign(event=["view", "buy", "view", "cart"])
    separated(tmp_path, "events", rows)
    schema = Tabular(interactions={"files": "events.csv", "feedback": ["event"]}, root=str(tmp_path)).load()  # type: ignore[arg-type]
    events = schema.interactions
    assert events.categories == {"event": Vocabulary(["buy", "cart", "view"])}
    assert events.feedback["event"].tolist() == [3, 1, 3, 2]
    assert binary_labels(events, "event", equals="buy").tolist() == [0, 1, 0, 0]


def test_kinds_and_missing_numbers(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,zip,income,age\n10,01234,100,\n20,99,,30.5\n30,,300,32.5\n")
    separated(tmp_path, "events", EVENTS)
    users = {
        "files": "users.csv",
        "kinds": {"zip": "text", "income": "number"},
        "missing": {"income": "mean", "age": "zero"},
    }
    table = Tabular(interactions={"files": "events.csv"}, users=users, root=str(tmp_path)).load().users  # type: ignore[arg-type]
    assert table.columns["zip"].vocabulary == Vocabulary(["01234", "99"])
    assert table.columns["zip"].values.tolist() == [0, 1, 2, 0]
    assert table.columns["income"].values.tolist() == [200.0, 100.0, 200.0, 300.0]
    assert table.columns["age"].values.tolist() == [0.0, 0.0, 30.5, 32.5]


def test_missing_numbers_may_stay_unknown(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,age\n10,\n20,30.5\n30,nan\n")
    separated(tmp_path, "events", EVENTS)
    for missing in ("unknown", {"age": "unknown"}):
        users = {"files": "users.csv", "missing": missing}
        schema = Tabular(interactions={"files": "events.csv"}, users=users, root=str(tmp_path)).load()  # type: ignore[arg-type]
        ages = schema.users.columns["age"].values
        assert ages.isnan().tolist() == [True, True, False, True], "the unknown user's age is unknown, too"
        assert ages[2] == 30.5


def test_only_named_features_are_read(tmp_path: Path) -> None:
    pattern = write_csv(tmp_path)
    users = section("users", pattern, features=["town"])
    tabular = Tabular(interactions={"files": "events.csv"}, users=users, root=str(tmp_path))  # type: ignore[arg-type]
    assert tabular.columns().users == ("user_id", "town")
    assert list(tabular.load().users.columns) == ["user_id", "town"]


def test_parquet_types_of_other_writers(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "user_id": pa.array([1, 2, 3], pa.uint16()),
            "town": pa.array(["a", "b", "a"]).dictionary_encode(),
            "street": pa.array(["x", "", None], pa.large_string()),
            "member": pa.array([True, False, None]),
            "born": pa.array([1, 0, 1], pa.date32()),
            "seen": pa.array([0, 1_500, None], pa.timestamp("ms", "Europe/Paris")),
            "rank": pa.array([1, 2, 3], pa.decimal128(5, 1)),
            "tags": pa.array([["x", None, ""], [], None], pa.large_list(pa.large_string())),
            "codes": pa.array([[7, 8], [8, 9], [9, 7]], pa.list_(pa.int8(), 2)),
            "vector": pa.array([[0.5], [0.5], [0.5]]),
            "about": pa.array([{"a": 1}] * 3),
            "nothing": pa.nulls(3),
            "noon": pa.array([0, 1, 2], pa.time32("s")),
            "last": pa.array([0, 86_400_000, 0], pa.date64()),
        }
    )
    pq.write_table(rows, tmp_path / "users.parquet")
    (tmp_path / "events.csv").write_text("user_id,item_id\n1,5\n2,6\n")
    tabular = Tabular(interactions={"files": "events.csv"}, users={"files": "users.parquet"}, root=str(tmp_path))  # type: ignore[arg-type]
    columns = tabular.load().users.columns
    assert tuple(columns) == tabular.columns().users
    assert not {"vector", "about"} & set(columns)
    assert columns["town"].values.tolist() == [0, 1, 2, 1]
    assert columns["street"].values.tolist() == [0, 1, 0, 0]
    assert columns["member"].vocabulary == Vocabulary([0, 1])
    assert columns["member"].values.tolist() == [0, 2, 1, 0]
    assert columns["born"].vocabulary == Vocabulary(["1970-01-01", "1970-01-02"])
    assert columns["seen"].vocabulary == Vocabulary(["1970-01-01 00:00:00", "1970-01-01 00:00:01"])
    assert columns["rank"].values.tolist()[1:] == [1.0, 2.0, 3.0]
    assert columns["tags"].values.tolist() == [[0], [1], [0], [0]]
    assert columns["codes"].values.tolist() == [[0, 0], [1, 2], [2, 3], [3, 1]]
    assert columns["nothing"].values.tolist() == [0, 0, 0, 0]
    assert columns["noon"].values.tolist() == [0, 1, 2, 3]
    assert columns["last"].vocabulary == Vocabulary(["1970-01-01", "1970-01-02"])


@pytest.mark.parametrize(
    ("unknown", "user", "item"), [("row", [2, 3, 2, 0, 1], [1, 0, 2, 1, 1]), ("drop", [2, 2, 1], [1, 2, 1])]
)
def test_unknown_users_and_items_are_counted_and_reported(
    tmp_path: Path, unknown: str, user: list[int], item: list[int]
) -> None:
    pattern = write_csv(tmp_path)
    (tmp_path / "events.csv").write_text("user_id,item_id,shown\n10,b,a z\n20,q,b\n10,a,\n,b,\n30,b,z\n")
    tabular = Tabular(
        interactions={"files": "events.csv", "negatives": "shown", "lists": {"shown": " "}},  # type: ignore[arg-type]
        users=section("users", pattern),  # type: ignore[arg-type]
        items=section("items", pattern),  # type: ignore[arg-type]
        root=str(tmp_path),
        unknown=unknown,  # type: ignore[arg-type]
    )
    fates = {"row": "are assigned to the unknown", "drop": "were dropped"}
    for _ in range(2):  # then from the cache
        with pytest.warns(UserWarning, match=r"^\d of 5 (events|lists)") as caught:
            schema = tabular.load()
        texts = [str(warning.message) for warning in caught]
        assert [text.partition(":")[0] for text in texts] == [
            f"1 of 5 events {fates[unknown]}{' user' if unknown == 'row' else ''}",
            f"1 of 5 events {fates[unknown]}{' item' if unknown == 'row' else ''}",
            f"2 of 5 lists of shown lost ids that are not in {tmp_path / 'items.csv'}.",
        ]
    assert schema.interactions.user.tolist() == user
    assert schema.interactions.item.tolist() == [{0: 0, 1: 1, 2: 2}[row] for row in item]
    negatives = schema.interactions.negatives
    assert negatives is not None
    assert len(negatives) == len(user)
    assert negatives[0].tolist() == [2]


def test_cache_is_used_until_a_file_or_a_parameter_changes(tmp_path: Path, separate_cache: Path) -> None:
    separated(tmp_path, "events", EVENTS)

    def load(**settings: Any) -> StarSchema:
        return Tabular(interactions={"files": "events.csv", **settings}, root=str(tmp_path)).load()  # type: ignore[arg-type]

    first = load()
    (file,) = (separate_cache / "schemas").iterdir()
    written = file.stat().st_mtime_ns
    assert load().digest == first.digest
    assert file.stat().st_mtime_ns == written
    assert load(timestamp="ts").interactions.timestamp is not None
    separated(tmp_path, "events", EVENTS[:3])
    assert len(load(timestamp="ts").interactions) == 3
    (file,) = (separate_cache / "schemas").iterdir()


def test_digest_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    digests = set()
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        digests.add(dataset(tmp_path / name, write_csv(tmp_path / name)).load().digest)
    assert len(digests) == 1


CONFIG = """\
data:
  name: tabular
  interactions: {{files: events.csv, feedback: [rating]}}
  users: {{files: users.csv}}
  root: {root}
  label: {{positive_from: 4}}
  split: {{name: random, fractions: [0.4, 0.3, 0.3]}}
user_tower: {{features: {{user_id: {{encoder: embedding, dim: 4}}, town: {{encoder: embedding, dim: 4}}}}}}
item_tower: {{features: {{item_id: {{encoder: embedding, dim: 8}}}}}}
score: cosine
loss: bce-with-logits
optimizer: {{name: adam, lr: 1e-3}}
"""


def test_dataset_from_yaml(tmp_path: Path) -> None:
    for table, rows in TABLES.items():
        separated(tmp_path, table, pd.concat([rows] * (10 if table == "events" else 1)))
    config = tmp_path / "mine.yaml"
    config.write_text(CONFIG.format(root=tmp_path))
    data = load_data(read_experiment(config)[0])
    assert len(data.schema.interactions) == 40
    assert data.labels.sum() == 20


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("files: events.csv, ", "", r"data\.interactions\.files must be text, got nothing"),
        ("feedback: [rating]", "feedbck: [rating]", r"data\.interactions\.feedbck must be a known key, got 'feedbck'.\n"
         r"    Did you mean 'feedback'\?"),
        ("feedback: [rating]", "feedback: rating", r"data\.interactions\.feedback must be a list, got 'rating'"),
        ("users: {files: users.csv}", "users: users.csv", r"data\.users must be a mapping with files or null, got 'users.csv'"),
        ("{files: users.csv}", "{files: users.csv, kinds: {town: txt}}", r"data\.users\.kinds\.town must be 'text' or 'number'"),
        ("{files: users.csv}", "{files: users.csv, missing: men}", r"data\.users\.missing must be 'error', 'mean', 'zero', "
         r"'unknown' or a mapping, got 'men'"),
        ("  root", "  unknown: keep\n  root", r"data\.unknown must be 'row', 'drop' or 'error', got 'keep'"),
        ("feedback: [rating]", "feedback: []", r"data\.label\.column must be a feedback column of the dataset, got 'rating'"),
        ("town:", "twon:", r"user_tower\.features\.twon must be a feature of the tabular dataset's users, got 'twon'.\n    Did"),
    ],
)  # fmt: skip
def test_yaml_is_checked_before_data_is_read(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_csv(tmp_path)
    config = tmp_path / "mine.yaml"
    config.write_text(CONFIG.format(root=tmp_path).replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        read_experiment(config)


def test_missing_files_are_reported_at_once_when_data_is_loaded(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(CONFIG.format(root=tmp_path))
    experiment, _ = read_experiment(config)
    with pytest.raises(DataError) as caught:
        load_data(experiment)
    message = str(caught.value)
    assert message.startswith("The data has 2 problems.\ndata.interactions.files: 'events.csv' must be a file, ")
    assert "\ndata.users.files: 'users.csv' must be a file, a folder of files or a pattern such as" in message


def test_sound_data_does_not_warn(tmp_path: Path) -> None:
    pattern = write_csv(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset(tmp_path, pattern).load()


def test_files_of_parts_give_the_split(tmp_path: Path) -> None:
    for name, part in {"train": EVENTS[:2], "valid": EVENTS[2:3], "test": EVENTS[3:]}.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    files = {"files": "train.csv", "valid": "valid.csv", "test": "test.csv", "feedback": ["rating"]}
    source = Tabular(interactions=files, root=str(tmp_path))  # type: ignore[arg-type]
    assert (source.presplit, source.streamed) == (True, False)
    schema = source.load()
    split = schema.split
    assert split is not None
    assert [part.tolist() for part in (split.train, split.valid, split.test)] == [[0, 1], [2], [3]]
    assert schema.interactions.feedback["rating"].tolist() == [5.0, 3.0, 4.5, 1.0]
    assert not split.in_time, "unknown without times"
    again = source.load().split
    assert again is not None
    assert torch.equal(again.test, split.test), "the cache keeps the split"


def test_split_in_time_is_recognised(tmp_path: Path) -> None:
    for name, part in {"train": EVENTS[:1], "valid": EVENTS[2:3], "test": EVENTS[1:2]}.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    files = {"files": "train.csv", "valid": "valid.csv", "test": "test.csv", "timestamp": "ts"}
    for names, in_time in ((("train", "valid"), True), (("valid", "train"), False)):
        sections = {**files, "files": f"{names[0]}.csv", "valid": f"{names[1]}.csv"}
        split = Tabular(interactions=sections, root=str(tmp_path)).load().split  # type: ignore[arg-type]
        assert split is not None
        assert split.in_time is in_time, "user 10 has an event 10 seconds later"


def test_dropped_events_are_in_no_part(tmp_path: Path) -> None:
    for name, part in {"train": EVENTS[:2], "valid": EVENTS[2:3], "test": EVENTS[3:]}.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    USERS[USERS["user_id"] != 20].to_csv(tmp_path / "users.csv", index=False)
    files = {"files": "train.csv", "valid": "valid.csv", "test": "test.csv"}
    users = {"files": "users.csv", "missing": "zero"}
    source = Tabular(interactions=files, users=users, unknown="drop", root=str(tmp_path))  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="1 of 4 events were dropped"):
        split = source.load().split
    assert split is not None
    assert [part.tolist() for part in (split.train, split.valid, split.test)] == [[0], [1], [2]]


def test_files_of_parts_must_have_one_format(tmp_path: Path) -> None:
    for name in ("train.csv", "valid.csv", "test.tsv"):
        EVENTS.to_csv(tmp_path / name, index=False)
    files = {"files": "train.csv", "valid": "valid.csv", "test": "test.tsv"}
    with pytest.raises(DataError, match=r"test\.tsv must be CSV like .*train\.csv, got TSV\. Write all events in one"):
        Tabular(interactions=files, root=str(tmp_path)).load()  # type: ignore[arg-type]
