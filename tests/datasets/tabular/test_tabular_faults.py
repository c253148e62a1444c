# ruff: noqa: E501  (messages stand in tables)
"""Problems of tables are reported all at once, with file, column, row and count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from towerzoo.datasets import Tabular
from towerzoo.registry.errors import DataError

EVENTS = "user_id,item_id,rating,ts,w,event\n1,a,5,1700000000,1,view\n2,b,3,1700000001,2,buy\n1,b,4,1700000002,1,view\n"
USERS = "user_id,age,town\n1,20.5,Rom\n2,30.5,Ulm\n"
ITEMS = "item_id,title,genres\na,Ant,War|Drama\nb,Bee,\n"
INTERACTIONS: dict[str, Any] = {
    "files": "events.csv",
    "timestamp": "ts",
    "weight": "w",
    "feedback": ["rating", "event"],
}

Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Writes the three tables, with any of them replaced, and loads them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path / "cache"))

    def make(
        events: str = EVENTS,
        users: str = USERS,
        items: str = ITEMS,
        *,
        interactions: dict[str, Any] | None = None,
        of_users: dict[str, Any] | None = None,
        of_items: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Any:
        for name, text in (("events", events), ("users", users), ("items", items)):
            Path(f"{name}.csv").write_text(text)
        return Tabular(
            interactions={**INTERACTIONS, **(interactions or {})},  # type: ignore[arg-type]
            users={"files": "users.csv", **(of_users or {})},  # type: ignore[arg-type]
            items={"files": "items.csv", "lists": {"genres": "|"}, **(of_items or {})},  # type: ignore[arg-type]
            **settings,
        ).load()

    return make


def test_sound_tables(load: Load) -> None:
    schema = load()
    assert schema.interactions.user.tolist() == [1, 2, 1]
    assert schema.interactions.item.tolist() == [1, 2, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"interactions": {"user": "user"}},
            "events.csv must have a column 'user', got no such column. Did you mean 'user_id'? Columns: event, item_id,",
        ),
        (
            {"of_users": {"features": ["twon"]}},
            "users.csv must have a column 'twon', got no such column. Did you mean 'town'? Columns: age, town, user_id.",
        ),
        (
            {"users": USERS + "1,3.5,Bonn\n2,3.5,Bonn\n"},
            "users.csv: user_id must be unique, got 1 in row 3. 2 rows are like that, of 4. Keep one row",
        ),
        (
            {"items": ITEMS + ",Cat,\n"},
            "items.csv: item_id must be given, got nothing in row 3. 1 row is like that, of 3. Fill in or remove these rows.",
        ),
        (
            {"users": "user_id,age,town\n"},
            "users.csv has no rows. Check the file.",
        ),
        (
            {"events": EVENTS.splitlines()[0] + "\n"},
            "events.csv has no events. Check the file.",
        ),
        (
            {"items": "item_id,title,name\na,Ant,Ameise\nb,Bee,Biene\n", "of_items": {"title": "name", "lists": {}}},
            "items.csv: both the feature 'title' and the display column `title: name` would be called 'title'. Leave the "
            "feature out with `features`, or rename it.",
        ),
        (
            {"events": EVENTS.replace("170000000", "1e30")},
            "events.csv: ts must be a date, an ISO 8601 time such as '2026-11-24T12:00:00Z', or a number since 1970, got 1e+300",
        ),
        (
            {"users": "user_id,age\n1.5,2\n2,3\n"},
            "users.csv: user_id must be whole numbers or text, got numbers. If a missing value turned",
        ),
        (
            {"events": EVENTS + "9,a,1,1700000000,1,buy\n8,z,1,1700000000,1,buy\n"},
            "events.csv: user_id must be one of the 2 ids of users.csv, got 9 in row 4. 2 rows are like that, of 5. "
            "Add the users, or set `unknown` to `row` or `drop`.\n"
            "events.csv: item_id must be one of the 2 ids of items.csv, got 'z' in row 5. 1 row is like that, of 5.",
        ),
        (
            {"events": EVENTS.replace("\n1,", "\n7,").replace("\n2,", "\n8,"), "unknown": "drop"},
            "None of the 3 events of events.csv has a known user and item. Check the columns of ids, or",
        ),
        (
            {"events": EVENTS + "x1,a,1,1700000000,1,buy\n"},
            "events.csv: user_id must be whole numbers, like the ids of users.csv, got 'x1' in row 4. 1 row is like that, "
            "of 4. Repair these rows, or read both columns of ids as text with `kinds`.",
        ),
        (
            {"events": EVENTS.replace(",5,", ",,").replace(",4,", ",inf,")},
            "events.csv: rating must be a finite float32 number, got nothing in row 1. 2 rows are like that, of 3. Repair or",
        ),
        (
            {"events": EVENTS.replace(",3,", ",good,")},
            "events.csv: rating must be a number like the others, got 'good' in row 2. 1 row is like that, of 3. Repair these",
        ),
        (
            {"events": EVENTS.replace(",view", ",")},
            "events.csv: event must be given, got nothing in row 1. 2 rows are like that, of 3.",
        ),
        (
            {"interactions": {"feedback": ["rating"], "kinds": {"rating": "text"}}},
            "events.csv: rating must be a number, not text, got '5' in row 1. 3 rows are like that, of 3. Repair these",
        ),
        (
            {"events": EVENTS.replace("view", "2024-01-01").replace("buy", "2024-01-01")},
            "events.csv: event must be numbers, got dates. Name another column.",
        ),
        (
            {"events": EVENTS.replace(",2,buy", ",0,buy")},
            "events.csv: w must be a finite float32 number > 0, got 0 in row 2. 1 row is like that, of 3.",
        ),
        (
            {"events": EVENTS.replace("1700000001", "1700000001000")},
            "events.csv: ts must be times in one unit (2 in seconds and 1 in milliseconds), got 1700000001000 in row 2. "
            "1 row is like that, of 3. Write all of them in seconds.",
        ),
        (
            {"events": EVENTS.replace("1700000001", "yesterday")},
            "events.csv: ts must be a number like the others, got 'yesterday' in row 2. 1 row is like that, of 3.",
        ),
        (
            {"events": EVENTS.replace("1700000001", "")},
            "events.csv: ts must be a date, an ISO 8601 time such as '2026-11-24T12:00:00Z', or a number since 1970, got "
            "nothing in row 2. 1 row is like that, of 3. Repair or remove these rows, or leave `timestamp` out.",
        ),
        (
            {"interactions": {"timestamp": "event", "lists": {"event": "|"}, "feedback": []}},
            "events.csv: event must be times, got lists of text. Name another column.",
        ),
        (
            {"interactions": {"negatives": "event"}},
            "events.csv: event must be lists of ids, got text. Set the separator of its values, such as `lists: {event: ",
        ),
        (
            {
                "events": EVENTS.replace("view", "5|6"),
                "interactions": {"negatives": "event", "lists": {"event": "|"}, "feedback": []},
            },
            "events.csv: event must be lists of ids of items.csv, got ['5', '6'] in row 1. 3 rows are like that, of 3. Add the",
        ),
        (
            {
                "events": EVENTS.replace("view", "5|6").replace("buy", ""),
                "interactions": {"negatives": "event", "lists": {"event": "|"}, "feedback": []},
            },
            "events.csv: event must be lists of text, like the ids of items.csv, got lists of whole numbers. Write both",
        ),
        (
            {"users": USERS.replace("20.5", "")},
            "users.csv: age must be a number, got nothing in row 1. 1 row is like that, of 2. Set data.users.missing to "
            "`unknown`, `mean` or `zero`, or leave the column out with data.users.features.",
        ),
        (
            {"users": USERS.replace("20.5", "-inf"), "of_users": {"missing": "mean"}},
            "users.csv: age must be a finite float32 number, got -inf in row 1. 1 row is like that, of 2. Repair these rows.",
        ),
        (
            {"of_users": {"missing": {"town": "mean"}}},
            "data.users.missing must name numeric features, got 'town'. Numeric features: age.",
        ),
        (
            {"of_users": {"kinds": {"town": "number"}}},
            "users.csv: town must be a number, got 'Rom' in row 1. 2 rows are like that, of 2. Repair the file, or remove "
            "'town' from `kinds`.",
        ),
        (
            {"of_users": {"kinds": {"born": "number"}}},
            "data.users.kinds must name columns that are used, got 'born'. Columns: user_id, age, town.",
        ),
        (
            {"interactions": {"kinds": {"born": "number"}, "lists": {"shown": "|"}}},
            "data.interactions.kinds must name columns that are used, got 'born'. Columns: user_id, item_id, ts, w, rating, "
            "event.\ndata.interactions.lists must name columns that are used, got 'shown'.",
        ),
        (
            {"users": USERS.replace("town", "age")},
            "users.csv has several columns called 'age'. Rename all but one.",
        ),
        (
            {"users": ""},
            "users.csv is empty. Its first row must hold the column names.",
        ),
        (
            {"users": USERS + "3\n"},
            "users.csv cannot be read: CSV parse error: Expected 3 columns, got 1: 3. Repair the file, or write it again.",
        ),
    ],
)
def test_fault_is_reported(load: Load, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        load(**changes)
    assert message in str(caught.value)


def test_all_problems_are_reported_at_once(load: Load) -> None:
    with pytest.raises(DataError) as caught:
        load(
            events=EVENTS.replace("1700000001", "soon").replace(",5,", ",,").replace("\n2,", "\n9,"),
            users=USERS.replace("20.5", ""),
            items=ITEMS + "b,Bee,\n",
        )
    count, *problems = str(caught.value).splitlines()
    assert count == "The data has 5 problems."
    assert [problem.partition(" must")[0] for problem in problems] == [
        "users.csv: age",
        "items.csv: item_id",
        "events.csv: user_id",
        "events.csv: ts",
        "events.csv: rating",
    ]


def test_too_many_texts_do_not_name_kinds_of_events(load: Load) -> None:
    rows = "".join(f"1,a,5,1700000000,1,text {number}\n" for number in range(1_001))
    message = (
        r"events\.csv: event must be numbers or at most 1,000 different texts, got 1,001\. Remove it from `feedback`"
    )
    with pytest.raises(DataError, match=message):
        load(events=EVENTS.splitlines()[0] + "\n" + rows)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            pa.array([[1.5], [2.5]]),
            r"users\.parquet: x must be UTF-8 text, numbers, dates or lists of them, got list<",
        ),
        (pa.array([{"a": 1}, {"a": 2}]), r"users\.parquet: x must be UTF-8 text, .*, got struct<a: int64>\. Leave"),
    ],
)
def test_unsupported_types_are_refused(load: Load, column: pa.Array, message: str) -> None:
    pq.write_table(pa.table({"user_id": [1, 2], "x": column}), "users.parquet")
    with pytest.raises(DataError, match=message):
        load(of_users={"files": "users.parquet", "features": ["x"]})


def test_numbers_and_dates_cannot_be_split(load: Load) -> None:
    pq.write_table(pa.table({"user_id": [1, 2], "x": [1, 2]}), "users.parquet")
    message = r"users\.parquet: x must be text with the separator '\|', or lists, got whole numbers\. Remove it from"
    with pytest.raises(DataError, match=message):
        load(of_users={"files": "users.parquet", "lists": {"x": "|"}})


def test_ids_without_a_table_must_be_ids(load: Load) -> None:
    load()
    interactions = {"files": "events.csv", "user": "age"}
    Path("events.csv").write_text("age,item_id\n1.5,a\n,b\n")
    with pytest.raises(DataError, match=r"events\.csv: age must be whole numbers or text, got numbers\. If a"):
        Tabular(interactions=interactions).load()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "events.csv has no events. Check the file."),
        (
            "99999999999999999999,a\n",
            "events.csv: user_id must be whole numbers or text, got numbers. If a missing value turned whole numbers into "
            "fractions, remove it; to read ids as they are written, add `kinds: {user_id: text}`.",
        ),
    ],
)
def test_fault_of_ids_without_a_table_is_reported_once(load: Load, rows: str, message: str) -> None:
    load()
    Path("events.csv").write_text(f"user_id,item_id\n{rows}")
    with pytest.raises(DataError) as caught:
        Tabular(interactions={"files": "events.csv"}).load()  # type: ignore[arg-type]
    assert str(caught.value) == message
