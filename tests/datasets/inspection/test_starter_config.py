"""What a person's tables are guessed to be, and the config that is written from the guess."""

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
    found = guess_roles(tables)
    label = guess_label(found)
    document = read_yaml(starter_config(found, label, "mine.yaml"), "mine.yaml")
    assert not document.problems
    return found, label, document.value


def test_a_profile_tells_what_a_column_holds() -> None:
    columns = profile(
        "mine",
        genres=["War|Drama", "", "Drama|War|Drama", "War"],
        place=["Bonn, Rhein", "Rom, Tiber", "Ulm, Donau", None],
        price=[1e3, 2e3, np.inf, np.nan],
        tags=[["x"], [], ["x", "y"], None],
        same=[1, 1, 1, 1],
        when=pd.to_datetime(["2020-01-01"] * 4),
    ).columns
    genres, place, price, tags, same = (columns[name] for name in ("genres", "place", "price", "tags", "same"))
    assert (genres.separator, genres.distinct, genres.missing, genres.longest) == ("|", 2, 1, 3)
    assert genres.is_list
    assert (place.separator, place.distinct, place.missing, place.example) == (None, 3, 1, "Bonn, Rhein")
    assert not place.is_list
    assert (price.type, price.infinite, price.missing, price.distinct) == ("numbers", 1, 1, 3)
    assert price.warnings == ("25.0% missing", "1 infinite")
    assert price.spread == "mean 1500, standard deviation 500"
    assert (tags.type, tags.distinct, tags.missing, tags.longest) == ("lists of text", 2, 2, 2)
    assert same.warnings == ("one value only",)
    assert columns["when"].type == "dates"
    (warning,) = profile("lists", tags=["['a', 'b']", "['b']", "[]", None]).columns["tags"].warnings[1:]
    assert warning == "lists with brackets and quotes: write a|b, or Parquet lists"


def test_a_table_without_rows_or_with_unlike_shards_is_told() -> None:
    Path("empty.csv").write_text("user_id,item_id\n")
    with pytest.raises(DataError, match=r"empty\.csv must hold at least one row, got none"):
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
    found, label, config = guess(users, items, events)
    assert found.tables == {"user": users, "item": items}
    assert not found.notes
    data = config["data"]
    assert data["interactions"] == {
        "files": "clicks.parquet",
        "user": "user_id",
        "item": "item",
        "timestamp": "created_at",
        "weight": "weight",
        "measures": ["rating"],
    }
    assert data["users"] == {"files": "people.parquet"}
    assert data["items"] == {"files": "things.parquet", "id": "id", "title": "name"}
    assert data["label"] == {"column": "rating", "positive_from": 5}
    assert label.positive == 0.5
    assert "unknown" not in data
    assert list(config["user_tower"]["features"]) == ["user_id", "town"]
    assert list(config["item_tower"]["features"]) == ["id", "price"]
    roles = {column: found.role(events, column) for column in events.columns}
    assert roles == {
        "user_id": "user", "item": "item", "weight": "weight", "created_at": "timestamp", "rating": ""
    }  # fmt: skip
    assert [found.role(items, column) for column in items.columns] == ["item id", "title", "feature"]
    assert found.role(profile("other", x=[1]), "x") == ""


def test_without_telling_names_the_columns_of_most_repeated_values_are_the_ids() -> None:
    events = profile("log", a=np.arange(ROWS) % 20, kind=["x", "y"] * 100, b=[*"abcdefghij"] * 20)
    found, _, _ = guess(events)
    assert (found.user, found.item) == ("a", "b")


@pytest.mark.parametrize(
    "columns",
    [
        {"user_id": range(5), "item_id": range(5)},
        {"user_id": [1, 1, 2], "price": [1.5, 2.5, 3.5]},
        {"x": [1, 1, 2], "y": [1.5, 2.5, 3.5]},
        {"x": [1, 1, 2], "y": [1, 1, 2], "id": [1, 2, 3]},
    ],
    ids=["no id comes twice", "no items", "one column of ids", "a table of something else"],
)
def test_tables_without_interactions_are_told(columns: dict[str, Any]) -> None:
    table = profile("mine", **columns)
    message = (
        r"FILES must hold a table of interactions, .*, got mine\.parquet: .*\. Name these columns user_id and item_id\."
    )
    with pytest.raises(DataError, match=message):
        guess_roles([table])


def test_ids_that_are_no_ids_are_told_with_what_helps() -> None:
    events = profile("mine", user_id=[1.0, 1.0, np.nan, 2.0], item_id=[1, 2, 1, 2], price=[1.5, 2.5, 3.5, 4.5])
    with pytest.raises(DataError, match="must hold a table of interactions") as caught:
        guess_roles([events])
    (fault,) = str(caught.value).split("\n")[1:]
    assert fault.startswith(
        "mine.parquet: user_id must be whole numbers or text, got numbers. Ids that a missing value"
    )


def test_an_id_of_another_type_is_told() -> None:
    found, _, _ = guess(profile("users", user_id=["u1", "2"], town=["x", "y"]), clicks())
    note = "users.parquet is not used: its user_id is text, and whole numbers in clicks.parquet; write both alike."
    assert note in found.notes


def test_the_index_that_pandas_writes_is_no_feature() -> None:
    items = profile("items", **{"": range(10), "item": [*"abcdefghij"], "colour": ["red", "blue"] * 5})
    found, label, config = guess(items, clicks())
    assert list(config["item_tower"]["features"]) == ["item", "colour"]
    assert "    # '': a column without a name, such as the index" in starter_config(found, label, "mine.yaml")


def test_what_cannot_be_used_is_told() -> None:
    double = profile("users", user_id=[1, 1, 2], town=["x", "y", "z"])
    strange = profile("weather", day=["mon", "tue"], rain=[0.5, 1.5])
    foreign = profile("items", item=["q", "r"])
    events = clicks(ts=[1_700_000_000, 1_700_000_000_000] * 100)
    found, label, config = guess(double, strange, foreign, events)
    assert not found.tables
    assert found.timestamp is None
    notes = "\n".join(found.notes)
    assert "clicks.parquet: ts must be times of one unit (100 in seconds and 100 in milliseconds)" in notes
    assert (
        "users.parquet is not taken as a table of users: user_id is given more than once, or missing, in 1 row" in notes
    )
    for name in ("users", "weather", "items"):
        assert f"{name}.parquet is not used: no column of it holds the interactions' users or items." in notes
    assert label.rule == "implicit"
    assert config["data"]["label"] == "implicit"


def test_events_of_nobody_known_get_the_unknown_row() -> None:
    items = profile("items", item=[*"abcdefgh"], colour=["red", "blue"] * 4)
    user = pd.Series(np.arange(ROWS) % 20, dtype="Int64")
    user[3] = None
    found, _, config = guess(items, clicks(user_id=user))
    assert config["data"]["unknown"] == "row"
    assert found.uncovered == {"item": pytest.approx(0.2), "user": 1 / ROWS}
    assert "20.00% of the events are of items without a row in items.parquet." in found.notes
    assert "1 of 200 events of clicks.parquet have no user." in found.notes


def test_features_that_say_too_little_or_cannot_be_read_are_left_out() -> None:
    users = profile(
        "users",
        user_id=range(1, 201),
        same=["x"] * 200,
        mail=[f"{i}@x" for i in range(200)],
        hobbies=["a;b", "b;c"] * 100,
        age=[*[20.5] * 199, np.nan],
        income=[*[20.5] * 199, np.inf],
    )
    found, label, config = guess(users, clicks())
    assert list(config["user_tower"]["features"]) == ["user_id", "hobbies"]
    assert config["user_tower"]["features"]["hobbies"]["max_length"] == 2
    assert config["data"]["users"] == {
        "files": "users.parquet",
        "lists": {"hobbies": ";"},
        "missing": "unknown",
        "features": ["same", "mail", "hobbies", "age"],
    }
    text = starter_config(found, label, "mine.yaml")
    for line in (
        "    # same: one value only",
        "    # mail: 200 different values in 200 rows",
        "    # age: one value only",
        "    # income: 1 infinite numbers",
    ):
        assert f"{line}\n" in text


def test_numbers_are_features_by_their_ranks() -> None:
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
def test_labels_of_two_classes_are_looked_for(columns: dict[str, Any], rule: Any) -> None:
    _, label, config = guess(clicks(**columns))
    assert label.rule == rule
    assert config["data"]["label"] == rule
    assert 0 < label.positive < 1 or rule == "implicit"
    assert config["loss"] == ("sampled-softmax" if rule == "implicit" else "bce-with-logits")


def test_a_measure_that_makes_no_label_is_told() -> None:
    _, label, _ = guess(clicks(rating=[1] * 200, score=[1.0, np.nan] * 100))
    assert label.measures == []
    assert "rating has one value only, of which no label of two classes can be made." in label.notes
    assert any("score must be a finite float32 number, got nothing in row 2" in note for note in label.notes)


@pytest.mark.parametrize("name", ["played_at", "playedAt", "ts"])
def test_times_are_known_by_what_they_are_called(name: str) -> None:
    found, _, config = guess(clicks(**{name: np.arange(ROWS) + 1_600_000_000}))
    assert found.timestamp == name
    assert config["data"]["interactions"]["timestamp"] == name
