"""`import towerzoo`: train, evaluate, load and recommend from Python."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch

import towerzoo as tz

EMBEDDING = {"encoder": "embedding", "dim": 4}
TINY = {
    "data": {
        "name": "synthetic",
        "users": 60,
        "items": 40,
        "interactions": 600,
        "label": {"column": "rating", "positive_from": 4},
        "split": {"name": "random", "fractions": [0.8, 0.1, 0.1]},
        "batch_size": 256,
    },
    "user_tower": {"combine": "sum", "features": {"user_id": EMBEDDING, "gender": EMBEDDING}},
    "item_tower": {"features": {"movie_id": EMBEDDING}},
    "score": {"name": "cosine", "scale": 10.0},
    "loss": "bce-with-logits",
    "optimizer": {"name": "adam", "lr": 0.01},
    "training": {"max_epochs": 1},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tz.Run:
    return tz.train(TINY, out=tmp_path_factory.mktemp("runs"), device="cpu")


@pytest.fixture(scope="module")
def recommender(run: tz.Run) -> tz.Recommender:
    return tz.load(run)


def python(*arguments: object) -> str:
    result = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_it_imports_nothing_heavy():
    heavy = "{'torch', 'pandas', 'numpy', 'pydantic', 'pytorch_lightning', 'pyarrow', 'rich'} & set(sys.modules)"
    assert python("-c", f"import sys, towerzoo; print({heavy})") == "set()\n"
    assert set(tz.__all__) <= set(dir(tz))
    assert all(getattr(tz, name) is not None for name in tz.__all__)
    assert tz.__version__.count(".") == 2
    assert tz.BLOCKS.names()
    with pytest.raises(AttributeError, match="nothing"):
        tz.nothing  # noqa: B018


def test_recommending_imports_what_it_uses(run):
    code = (
        f"import sys; sys.argv = ['recommend', {str(run)!r}, '--user', '3']\n"
        "from towerzoo.tools.recommend import main\n"
        "main(standalone_mode=False)\n"
        "print([name for name in ('pytorch_lightning', 'torchmetrics', 'pandas') if name in sys.modules])\n"
        "print(sum(name.split('.')[0] == 'towerzoo' for name in sys.modules))"
    )
    *_, heavy, count = python("-c", code).splitlines()
    assert heavy == "[]"
    assert int(count) <= 60


def test_training_is_quiet_and_leaves_a_run(tmp_path, capfd, recwarn):
    run = tz.train(TINY, overrides={"training.max_epochs": 2, "seed": 3}, out=tmp_path, name="mine", device="cpu")
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []
    assert run.path.parent == tmp_path / "mine"
    assert list(run.epochs["epoch"]) == [0, 1]
    assert run.metrics["test"]["auc"] == tz.evaluate(run, device="cpu")["test"]["auc"]
    again = tz.resume(run, overrides=["training.max_epochs=3"], device="cpu", progress=True)
    assert again == run
    assert len(run.epochs) == 3
    assert "resuming: " in capfd.readouterr().out


def test_training_runs_in_a_thread_too(tmp_path):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(tz.train(TINY, out=tmp_path, device="cpu")))
    thread.start()
    thread.join()
    assert runs[0].metrics["epochs"] == 1


def test_parts_of_a_session_need_no_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(tz.BLOCKS, "_parts", dict(tz.BLOCKS._parts))

    @tz.BLOCKS.register("my-linear")
    def my_linear(in_features: int, out_features: int) -> list[torch.nn.Module]:
        return [torch.nn.Linear(in_features, out_features)]

    layers = {"block": "my-linear", "widths": [8]}
    changes = {f"{tower}.{key}": value for tower in ("user_tower", "item_tower") for key, value in layers.items()}
    run = tz.train(TINY, overrides=changes, out=tmp_path, device="cpu")
    assert isinstance(tz.load(run).model.user_tower.mlp[0], torch.nn.Linear)


def test_recommendations_are_a_table(recommender):
    table = recommender.recommend(7, k=5)
    assert list(table.columns) == ["rank", "id", "title", "score", "probability"]
    assert list(table["rank"]) == [1, 2, 3, 4, 5]
    assert table["score"].is_monotonic_decreasing
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-table["score"])), rtol=1e-5)
    assert recommender.recommend(7, k=39, exclude=[table["title"][0]], where=["movie_id<=20"])["id"].max() <= 20
    new = recommender.recommend(features={"gender": "F", "shoes": 43}, k=3)
    assert ["shoes" in note for note in new.attrs["notes"]] == [True]
    assert recommender.recommend(liked=[3], k=3)["probability"].isna().all()
    several = recommender.recommend([3, "1"], k=5)
    assert list(several["user"]) == [3] * 5 + [1] * 5
    pd.testing.assert_frame_equal(
        several[several["user"] == 3].drop(columns="user"), recommender.recommend(3, k=5), check_dtype=False
    )


def test_similar_items_and_explanations(recommender):
    similar = recommender.similar(3, k=4)
    assert list(similar.columns) == ["rank", "id", "title", "cosine"]
    assert 3 not in set(similar["id"])
    explanation = recommender.explain(7, 9)
    assert explanation.of.id == 9
    assert set(pd.DataFrame(explanation.effects)["feature"]) == {"user_id", "gender", "movie_id"}
    lines = str(explanation).splitlines()
    assert lines[0].startswith(f"{explanation.of.title}: logit {explanation.score:.3f}, probability")
    assert lines[3].split() == ["side", "feature", "value", "change"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"user": 4_000}, "got the unknown id 4000"),
        ({"user": [1, 4_000]}, "1 of 2 users are unknown: 4000. Leave them out."),
        ({"user": []}, "The list of users is empty."),
        ({"user": [1], "liked": [3]}, "describe one person; leave them out for a list of users"),
        ({"user": 1, "k": 0}, "k must be from 1 to 40"),
    ],
)
def test_requests_that_cannot_be_answered_raise(recommender, request_, message):
    with pytest.raises(tz.RequestError, match=message):
        recommender.recommend(**request_)


WITHOUT_SONGS = pd.DataFrame({"user": [1], "track": [2]})


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    plays = pd.DataFrame({"user": rng.integers(1, 40, 800), "song": rng.integers(1, 30, 800)})
    plays["stars"] = 1 + (plays["user"] + plays["song"]) % 5
    songs = pd.DataFrame({"song": range(1, 30), "genre": pd.Categorical(["rock", "jazz", "folk"] * 9 + ["rock"] * 2)})
    return {"interactions": plays, "items": songs}


TABULAR = TINY | {
    "data": {
        "name": "tabular",
        "interactions": {"user": "user", "item": "song", "feedback": ["stars"]},
        "items": {"id": "song"},
        "label": {"column": "stars", "positive_from": 4},
        "split": {"name": "random", "fractions": [0.8, 0.1, 0.1]},
        "batch_size": 128,
    },
    "user_tower": {"features": {"user": EMBEDDING}},
    "item_tower": {"combine": "sum", "features": {"song": EMBEDDING, "genre": EMBEDDING}},
}


def test_data_may_be_tables(tmp_path, tables):
    run = tz.train(TABULAR, tables=tables, out=tmp_path, device="cpu")
    assert len(list((tmp_path / "tables").iterdir())) == 2
    assert tz.evaluate(run, device="cpu")["test"] == run.metrics["test"]
    assert len(tz.load(run).recommend(1, k=3, where=["genre=rock"], keep_seen=True)) == 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("interactions", WITHOUT_SONGS, r"tables\['interactions'\] must have a column 'song', got no such column\."),
        ("plays", pd.DataFrame(), "tables must be named interactions, valid, test, users, items, got 'plays'"),
        ("items", [1], r"tables\['items'\] must be a pandas.DataFrame or a pyarrow.Table, got \[1\]"),
        ("items", pd.DataFrame({"song": [1, "a"]}), r"tables\['items'\] cannot be written as Parquet: "),
    ],
)
def test_tables_that_are_wrong_raise(tmp_path, tables, name, value, message):
    with pytest.raises((tz.ConfigError, tz.DataError), match=message):
        tz.train(TABULAR, tables=tables | {name: value}, out=tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        ("no_such_config", None, "config must be a readable YAML file, got 'no_such_config'"),
        ({}, None, "data must be"),
        (None, None, "config must be a path, the name of a shipped config or a dict, got None"),
        (TINY, {"trainig.max_epochs": 3}, "trainig.* must be a known key, got 'trainig'"),
        (TINY, "training.max_epoch=3", "must be a known key, got 'max_epoch'"),
        (TINY, {"seed": torch.nn.ReLU}, "seed must be plain values"),
    ],
    ids=["name", "empty dict", "None", "section", "text", "object"],
)
def test_configs_that_are_wrong_raise(tmp_path, config, overrides, message):
    with pytest.raises(tz.ConfigError, match=message):
        tz.train(config, overrides=overrides, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_run_raises(tmp_path):
    for function in (tz.load, tz.evaluate, tz.resume):
        with pytest.raises(tz.RunError, match="must be a run folder, got no such folder"):
            function(tmp_path / "none")
