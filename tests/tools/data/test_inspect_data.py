"""From files to a config that trains as written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from towerzoo.tools import inspect_data, train

EVENTS = 600


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def events(**columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    ids = {"user": rng.integers(1, 41, EVENTS), "item": rng.integers(1, 31, EVENTS)}
    return pd.DataFrame({**ids, "rating": rng.integers(1, 6, EVENTS), "ts": rng.integers(1e9, 2e9, EVENTS), **columns})


def write_like_movielens() -> list[str]:
    rows = events().rename(columns={"user": "userId", "item": "movieId", "ts": "timestamp"})
    rows.to_csv("ratings.csv", index=False)
    titles = [f"Film {number}, The (1990)" for number in range(30)]
    genres = ["Drama|War", "War", "Comedy|Drama"] * 10
    pd.DataFrame({"movieId": range(1, 31), "title": titles, "genres": genres}).to_csv("movies.csv", index=False)
    return ["ratings.csv", "movies.csv"]


def write_clicks() -> list[str]:
    rng = np.random.default_rng(1)
    rows = events(kind=rng.choice(["view", "purchase"], EVENTS)).drop(columns="rating")
    rows = rows.rename(columns={"user": "visitorid", "item": "sku", "kind": "event"})
    Path("clicks").mkdir()
    for number in range(3):
        rows[number::3].to_parquet(f"clicks/{number}.parquet")
    prices = [np.nan, *np.linspace(10, 500, 28)]
    pd.DataFrame({"sku": range(1, 30), "price": prices, "brand": [*"abcde"] * 5 + [*"abcd"]}).to_csv(
        "products.tsv", sep="\t", index=False
    )
    return ["clicks", "products.tsv"]


def write_recbole() -> list[str]:
    names = {
        "user": "user_id:token",
        "item": "item_id:token",
        "rating": "rating:float",
        "ts": "timestamp:float",
        "age": "age:token",
        "title": "movie_title:token_seq",
        "class": "class:token_seq",
    }
    people = pd.DataFrame({"user": range(1, 41), "age": [20, 30] * 20})
    films = pd.DataFrame({"item": range(1, 31), "title": "A film", "class": ["War Drama", "Drama"] * 15})
    for suffix, rows in (("inter", events()), ("user", people), ("item", films)):
        rows.rename(columns=names).to_csv(f"ml.{suffix}", sep="\t", index=False)
    return ["ml.item", "ml.inter", "ml.user"]


def write_positive_only() -> list[str]:
    events().drop(columns=["rating", "ts"]).to_csv("likes.csv", index=False)
    return ["likes.csv"]


@pytest.mark.parametrize(
    ("write", "reported"),
    [
        (write_like_movielens, ["ratings.csv: interactions, 600 rows", "text, separated by '|'", "item id", "title"]),
        (write_clicks, ["clicks: interactions, 600 rows", "without a row in products.tsv"]),
        (write_recbole, ["ml.inter: interactions", "ml.user: users, 40 rows", "ml.item: items", "lists of text"]),
        (write_positive_only, ["likes.csv: interactions", "every event is positive (label: implicit)"]),
    ],
)
def test_written_config_trains(
    invoke: Callable[..., Result], write: Callable[[], list[str]], reported: list[str]
) -> None:
    result = invoke(inspect_data.main, *write(), "--out", "mine.yaml")
    assert result.exit_code == 0, result.output
    for text in (*reported, "config: mine.yaml"):
        assert text in result.output
    trained = invoke(train.main, "mine.yaml", "--fast-dev-run", "--device", "cpu")
    assert trained.exit_code == 0, trained.output
    assert "One batch each of training, validation and test passed" in trained.output


def test_output_is_checked_before_tables_are_read(invoke: Callable[..., Result]) -> None:
    result = invoke(inspect_data.main, "no.csv", "--out", "missing/mine.yaml")
    assert result.exit_code == 1
    assert "missing/mine.yaml cannot be written: No such file or directory" in result.output


def test_missing_number_learns_a_value(invoke: Callable[..., Result]) -> None:
    from towerzoo.towers.model.build import build_model, load_data, read_experiment
    from towerzoo.towers.runs.folder import RunFolder

    invoke(inspect_data.main, *write_clicks(), "--out", "mine.yaml")
    quick = ("--device", "cpu", "--set", "training={max_epochs: 1}")
    done = invoke(train.main, "mine.yaml", *quick)
    assert done.exit_code == 0, done.output
    (run,) = Path("runs/mine").iterdir()
    experiment, _ = read_experiment(run / "config.yaml")
    model = build_model(experiment, load_data(experiment).schema)
    before = model.item_tower.encoder("price").unknown.item()
    RunFolder(run).load_weights(model)
    assert before == 0
    assert model.item_tower.encoder("price").unknown.item() != 0


@pytest.mark.parametrize("write", [write_recbole, write_positive_only])
def test_run_on_own_tables_can_be_resumed(invoke: Callable[..., Result], write: Callable[[], list[str]]) -> None:
    invoke(inspect_data.main, *write(), "--out", "mine.yaml")
    done = invoke(train.main, "mine.yaml", "--device", "cpu", "--set", "training={max_epochs: 1}")
    assert done.exit_code == 0, done.output
    (run,) = Path("runs/mine").iterdir()
    again = invoke(train.main, "--resume", run, "--device", "cpu", "--set", "training.max_epochs=2")
    assert again.exit_code == 0, again.output


def test_nothing_is_written_without_out(invoke: Callable[..., Result]) -> None:
    files = write_positive_only()
    assert invoke(inspect_data.main, *files).exit_code == 0
    assert [path.name for path in Path().iterdir()] == files


def test_missing_files_are_reported(invoke: Callable[..., Result]) -> None:
    result = invoke(inspect_data.main, "nowhere.csv")
    assert result.exit_code == 1
    assert result.output.startswith("error: 'nowhere.csv' must be a file, a folder of files or a pattern such as")
