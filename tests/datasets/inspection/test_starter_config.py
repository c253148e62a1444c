"""Guesses about tables, and the config that is written from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from towerzoo.datasets.inspection.labels import LabelGuess, guess_label
from towerzoo.datasets.inspection.profiles import TableProfile, profile_table
from towerzoo.datasets.inspection.roles import Guess, guess_roles
from towerzoo.datasets.inspection.starter_config import starter_config
from towerzoo.registry.errors import DataError
from towerzoo.registry.yaml_file import read_yaml

ROWS = 200


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def profile(name: str, /, **columns: Any) -> TableProfile:
    pd.DataFrame(columns).to_parquet(f"{name}.parquet")
    return profile_table(f"{name}.parquet")


def clicks(**changes: Any) -> TableProfile:
    """200 events of 20 users (1 to 20) and 10 items (a to j)."""
    numbers = np.arange(ROWS)
    columns = {"user_id": numbers % 20 + 1, "item": [*"abcdefghij"] * 20, **changes}
    return profile("clicks", **{name: values for name, values in columns.items() if values is not None})


def guess(*tables: TableProfile) -> tuple[Guess, LabelGuess, dict[str, Any]]:
    roles = guess_roles(tables)
    label = guess_label(roles)
    document = read_yaml(starter_config(roles, label, "mine.yaml"), "mine.yaml")
    assert not document.problems
    return roles, label, document.value


def test_profile_of_columns() -> None:
    columns = profile(
        "mine",
        genres=["War|Drama", "", "Drama|War|Drama", "War"],
        town=["Bonn, Rhein", "Rom, Tiber", "Ulm, Donau", None],
        price=[1e3, 2e3, np.inf, np.nan],
        tags=[["x"], [], ["x", "y"], None],
        same=[1, 1, 1, 1],
        when=pd.to_datetime(["2020-01-01"] * 4),
    ).columns
    genres, town, price, tags, same = (columns[name] for name in ("genres", "town", "price", "tags", "same"))
    assert (genres.separator, genres.distinct, genres.missing, genres.longest) == ("|", 2, 1, 3)
    assert genres.is_list
    assert (town.separator, town.distinct, town.missing, town.example) == (None, 3, 1, "Bonn, Rhein")
    assert not town.is_list
    assert (price.type, price.infinite, price.missing, price.distinct) == ("numbers", 1, 1, 3)
    assert price.warnings == ("25.0% missing", "1 infinite")
    assert (tags.type, tags.distinct, tags.missing, tags.longest) == ("lists of text", 2, 2, 2)
    assert same.warnings == ("only one value",)
    assert columns["when"].type == "dates"
    (warning,) = profile("lists", tags=["['a', 'b']", "['b']", "[]", None]).columns["tags"].warnings[1:]
    assert warning == "lists with brackets and quotes: write a|b, or Parquet lists"


def test_empty_table_and_unlike_shards_are_refused() -> None:
    Path("empty.csv").write_text("user_id,item_id\n")
    with pytest.raises(DataError, match=r"empty\.csv has no rows"):
        profile_table("empty.csv")
    Path("b").mkdir()
    Path("b/1.csv").write_text("x\n1\n")
    Path("b/2.csv").write_text("y\n1\n")
    with pytest.raises(DataError, match=r"b/2\.csv must have the columns of b/1\.csv"):
        profile_table("b")


def test_roles_follow_names() -> None:
    users = profile("people", user_id=range(1, 21), town=["Rom", "Ulm"] * 10)
    items = profile("things", id=[*"abcdefghij"], name=[f"Thing {i}" for i in range(10)], price=np.linspace(0, 1, 10))
    events = clicks(weight=np.ones(ROWS), created_at=pd.to_datetime(["2020-01-01"] * ROWS), rating=[1.0, 5.0] * 100)
    guessed, label, config = guess(users, items, events)
    assert guessed.tables == {"user": users, "item": items}
    assert not guessed.notes
    data = config["data"]
    assert data["interactions"] == {
        "files": "clicks.parquet",
        "user": "user_id",
        "item": "item",
        "timestamp": "created_at",
        "weight": "weight",
        "feedback": ["rating"],
    }
    assert data["users"] == {"files": "people.parquet"}
    assert data["items"] == {"files": "things.parquet", "id": "id", "title": "name"}
    assert data["label"] == {"column": "rating", "positive_from": 5}
    assert label.positive == 0.5
    assert "unknown" not in data
    assert list(config["user_tower"]["features"]) == ["user_id", "town"]
    assert list(config["item_tower"]["features"]) == ["id", "price"]
    roles = {column: guessed.role(events, column) for column in events.columns}
    assert roles == {
        "user_id": "user", "item": "item", "weight": "weight", "created_at": "timestamp", "rating": ""
    }  # fmt: skip
    assert [guessed.role(items, column) for column in items.columns] == ["item id", "title", "feature"]
    assert guessed.role(profile("other", x=[1]), "x") == ""


def test_ids_without_telling_names_are_the_most_repeated_values() -> None:
    events = profile("log", a=np.arange(ROWS) % 20, kind=["x", "y"] * 100, b=[*"abcdefghij"] * 20)
    guessed, _, _ = guess(events)
    assert (guessed.user, guessed.item) == ("a", "b")


@pytest.mark.parametrize(
    "columns",
    [
        {"user_id": range(5), "item_id": range(5)},
        {"user_id": [1, 1, 2], "price": [1.5, 2.5, 3.5]},
        {"x": [1, 1, 2], "y": [1.5, 2.5, 3.5]},
        {"x": [1, 1, 2], "y": [1, 1, 2], "id": [1, 2, 3]},
    ],
    ids=["no repeated ids", "no items", "one column of ids", "another table"],
)
def test_tables_without_interactions_are_refused(columns: dict[str, Any]) -> None:
    table = profile("mine", **columns)
    message = r"FILES must include a table of interactions, .*, got mine\.parquet: .*\. Name these columns user_id and"
    with pytest.raises(DataError, match=message):
        guess_roles([table])


def test_fractional_ids_are_reported_with_a_remedy() -> None:
    events = profile("mine", user_id=[1.0, 1.0, np.nan, 2.0], item_id=[1, 2, 1, 2], price=[1.5, 2.5, 3.5, 4.5])
    with pytest.raises(DataError, match="must include a table of interactions") as caught:
        guess_roles([events])
    (fault,) = str(caught.value).split("\n")[1:]
    assert fault.startswith("mine.parquet: user_id must be whole numbers or text, got numbers. If a missing value")


def test_ids_of_another_type_are_reported() -> None:
    guessed, _, _ = guess(profile("users", user_id=["u1", "2"], town=["x", "y"]), clicks())
    note = (
        "users.parquet is not used: its user_id is text, but whole numbers in clicks.parquet; write both with one type."
    )
    assert note in guessed.notes


def test_index_written_by_pandas_is_not_a_feature() -> None:
    items = profile("items", **{"": range(10), "item": [*"abcdefghij"], "colour": ["red", "blue"] * 5})
    guessed, label, config = guess(items, clicks())
    assert list(config["item_tower"]["features"]) == ["item", "colour"]
    assert "    # '': a column without a name, such as the index" in starter_config(guessed, label, "mine.yaml")


def test_unused_tables_are_reported() -> None:
    repeated = profile("users", user_id=[1, 1, 2], town=["x", "y", "z"])
    unrelated = profile("weather", day=["mon", "tue"], rain=[0.5, 1.5])
    foreign = profile("items", item=["q", "r"])
    events = clicks(ts=[1_700_000_000, 1_700_000_000_000] * 100)
    guessed, label, config = guess(repeated, unrelated, foreign, events)
    assert not guessed.tables
    assert guessed.timestamp is None
    notes = "\n".join(guessed.notes)
    assert "clicks.parquet: ts must be times in one unit (100 in seconds and 100 in milliseconds)" in notes
    assert "users.parquet cannot be a table of users: user_id is repeated or missing in 1 row" in notes
    for name in ("users", "weather", "items"):
        assert f"{name}.parquet is not used: none of its columns holds the interactions' users or items." in notes
    assert label.rule == "implicit"
    assert config["data"]["label"] == "implicit"


def test_events_with_unknown_ids_get_the_unknown_row() -> None:
    items = profile("items", item=[*"abcdefgh"], colour=["red", "blue"] * 4)
    user = pd.Series(np.arange(ROWS) % 20, dtype="Int64")
    user[3] = None
    guessed, _, config = guess(items, clicks(user_id=user))
    assert config["data"]["unknown"] == "row"
    assert guessed.uncovered == {"item": pytest.approx(0.2), "user": 1 / ROWS}
    assert "20.00% of the events have items without a row in items.parquet." in guessed.notes
    assert "1 of 200 events of clicks.parquet have no user." in guessed.notes


def test_useless_features_are_left_out() -> None:
    users = profile(
        "users",
        user_id=range(1, 201),
        same=["x"] * 200,
        mail=[f"{i}@x" for i in range(200)],
        hobbies=["a;b", "b;c"] * 100,
        age=[*[20.5] * 199, np.nan],
        income=[*[20.5] * 199, np.inf],
    )
    guessed, label, config = guess(users, clicks())
    assert list(config["user_tower"]["features"]) == ["user_id", "hobbies"]
    assert config["user_tower"]["features"]["hobbies"]["max_length"] == 2
    assert config["data"]["users"] == {
        "files": "users.parquet",
        "lists": {"hobbies": ";"},
        "missing": "unknown",
        "features": ["same", "mail", "hobbies", "age"],
    }
    text = starter_config(guessed, label, "mine.yaml")
    for line in (
        "    # same: only one value",
        "    # mail: 200 different values in 200 rows",
        "    # age: only one value",
        "    # income: 1 infinite numbers",
    ):
        assert f"{line}\n" in text


def test_numbers_are_transformed_by_quantile() -> None:
    users = profile("users", user_id=range(1, 201), income=[*np.linspace(1, 1e6, 199), np.nan], town=["a", "b"] * 100)
    _, _, config = guess(users, clicks())
    assert config["user_tower"]["features"]["income"] == {"encoder": "numeric", "transform": "quantile"}
    assert config["data"]["users"]["missing"] == "unknown"


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"rating": [1.0, 2.0, 3.0, 4.0, 5.0] * 40}, {"column": "rating", "positive_from": 4}),
        ({"score": [*range(0, 100, 10)] * 20}, {"column": "score", "positive_from": 50}),
        ({"stars": [0.5, 1.5, 1.5, 1.5] * 50}, {"column": "stars", "positive_from": 1.5}),
        ({"clicked": [0, 0, 0, 1] * 50}, {"column": "clicked", "positive_from": 1}),
        ({"action": ["view", "buy", "view", "cart"] * 50}, {"column": "action", "equals": "buy"}),
        ({"feedback": ["a", "b", "a", "a"] * 50}, {"column": "feedback", "equals": "b"}),
        ({"event": ["view", "buy"] * 100, "rating": [1, 2] * 100}, {"column": "rating", "positive_from": 2}),
        ({"rating": [1] * 200}, "implicit"),
        ({"rating": [1.0, np.nan] * 100}, "implicit"),
        ({"other": [1, 2] * 100}, "implicit"),
    ],
)
def test_label_rules_give_two_classes(columns: dict[str, Any], rule: Any) -> None:
    _, label, config = guess(clicks(**columns))
    assert label.rule == rule
    assert config["data"]["label"] == rule
    assert 0 < label.positive < 1 or rule == "implicit"
    assert config["loss"] == ("sampled-softmax" if rule == "implicit" else "bce-with-logits")


def test_column_without_a_label_rule_is_reported() -> None:
    _, label, _ = guess(clicks(rating=[1] * 200, score=[1.0, np.nan] * 100))
    assert label.feedback == []
    assert "rating has only one value, so it gives no labels of two classes." in label.notes
    assert any("score must be a finite float32 number, got nothing in row 2" in note for note in label.notes)


@pytest.mark.parametrize("name", ["played_at", "playedAt", "ts"])
def test_times_are_recognised_by_name(name: str) -> None:
    guessed, _, config = guess(clicks(**{name: np.arange(ROWS) + 1_600_000_000}))
    assert guessed.timestamp == name
    assert config["data"]["interactions"]["timestamp"] == name
