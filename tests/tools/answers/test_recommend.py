from __future__ import annotations

import csv
import io
import json

import pyarrow.parquet as pq
import pytest
import torch

from towerzoo.tools.explain import main as explain_command
from towerzoo.tools.recommend import main as recommend_command
from towerzoo.tools.similar import main as similar_command
from towerzoo.towers.recommend.recommender import Recommender


@pytest.fixture
def run(trained_once):
    return trained_once


@pytest.fixture
def recommender(run) -> Recommender:
    return Recommender.open(run)


def quiet_user(recommender: Recommender) -> int:
    """The raw id of a user who has seen few items."""
    counts = torch.bincount(recommender.events.user, minlength=len(recommender.users))
    return recommender.users.ids.values[int(counts[1:].argmin())]


def test_table_json_and_csv_show_the_same_list(invoke, run, recommender):
    user = quiet_user(recommender)
    expected = recommender.recommend(user, k=3).to_dict("records")
    results = [
        invoke(recommend_command, run, "--user", user, "--top-k", 3, *form) for form in ((), ("--json",), ("--csv",))
    ]
    assert [result.exit_code for result in results] == [0, 0, 0]
    table, as_json, as_csv = (result.output for result in results)
    assert json.loads(as_json) == expected
    assert [row["title"] for row in csv.DictReader(io.StringIO(as_csv))] == [row["title"] for row in expected]
    lines = table.splitlines()
    assert lines[0].split() == ["rank", "id", "title", "score", "probability"]
    for line, row in zip(lines[1:], expected, strict=True):
        assert row["title"] in line
        assert f"{row['score']:.4f}" in line


def test_options_restrict_the_list(invoke, run, recommender):
    options = (run, "--user", quiet_user(recommender), "--json", "--top-k")
    everything = json.loads(invoke(recommend_command, *options, 39).output)
    filters = ("--exclude", everything[0]["title"], "--where", "movie_id<=20")
    shorter = json.loads(invoke(recommend_command, *options, 39, *filters).output)
    assert [row["title"] for row in shorter] == [row["title"] for row in everything[1:] if row["id"] <= 20]
    assert len(json.loads(invoke(recommend_command, *options, 40, "--keep-seen").output)) == 40


def test_unknown_values_are_noted(invoke, run):
    result = invoke(
        recommend_command, run, "--user", "nobody", "--features", "gender=F,height=170", "--liked", "7", "--top-k", 2
    )
    assert result.exit_code == 0
    assert "note: user 'nobody' is not known" in result.output
    assert "note: feature 'height' is not one of the user tower and was left out. Features: gender." in result.output
    assert "note: the user tower has no history" in result.output
    result = invoke(recommend_command, run, "--user", 1, "--where", "genres=Opera")
    assert result.exit_code == 0
    assert "note: no item has genres 'Opera'" in result.output
    assert "No item is left to recommend." in result.output
    assert json.loads(invoke(recommend_command, run, "--user", 1, "--where", "movie_id>=99", "--json").stdout) == []


@pytest.mark.parametrize("given", ["all", "file"])
def test_lists_of_many_users_are_a_parquet_file(invoke, run, recommender, tmp_path, given):
    users = [3, 1] if given == "file" else list(recommender.users.ids.values)
    file, out = tmp_path / "users.txt", tmp_path / "lists.parquet"
    file.write_text("\ufeff" + "".join(f"{user}\n\n" for user in users), encoding="utf-8")
    best = recommender.recommend(users[0], k=1)["id"][0]
    where = "all" if given == "all" else file
    result = invoke(recommend_command, run, "--users", where, "--out", out, "--top-k", 4, "--exclude", best)
    assert result.exit_code == 0, result.output
    assert f"lists of {len(users)} users: {out}" in result.output
    table = pq.read_table(out)
    assert table.column_names == ["user", "rank", "item", "title", "score", "probability"]
    expected = [
        {"user": user, **row}
        for user in users
        for row in recommender.recommend(user, k=4, exclude=[best]).rename(columns={"id": "item"}).to_dict("records")
    ]
    for row, other in zip(table.to_pylist(), expected, strict=True):
        for figure in ("score", "probability"):  # several users are scored by one matrix product
            assert row.pop(figure) == pytest.approx(other.pop(figure), abs=1e-5)
        assert row == other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--user", 4_000),
            "or somebody new with features or liked items, got the unknown id '4000'. Features: gender.",
        ),
        ((), "or somebody new with features or liked items, got nobody"),
        (("--user", 1, "--top-k", 0), "k must be from 1 to 40, the number of items, got 0"),
        (("--user", 1, "--top-k", 41), "k must be from 1 to 40, the number of items, got 41"),
        (("--user", 1, "--exclude", "No Such Film"), "an item must be a known raw id or title, got 'No Such Film'"),
        (("--user", 1, "--where", "genre=War"), "must name a column of the items, got 'genre'. Did you mean 'genres'?"),
        (
            ("--users", "no/file", "--out", "missing/x.parquet"),
            "missing/x.parquet cannot be written: No such file or directory",
        ),
        (
            ("--users", "no/file", "--out", "x.parquet"),
            "--users must be a file of raw ids, one per line, got 'no/file'",
        ),
    ],
    ids=str,
)
def test_requests_that_cannot_be_answered_are_refused(invoke, run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    result = invoke(recommend_command, run, *options)
    assert result.exit_code == 1
    assert f"error: {message}" in result.output or message in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--users", "all"), "--users and --out must be given together."),
        (("--out", "x"), "--users and --out must be given together."),
        (("--users", "all", "--out", "x", "--json"), "--user, --features, --json and --csv are for one."),
        (("--users", "all", "--out", "x", "--user", 1), "--user, --features, --json and --csv are for one."),
        (("--user", 1, "--json", "--csv"), "Give either --json or --csv."),
        (("--features", "gender"), "--features must be NAME=VALUE,..., got 'gender'."),
        (
            ("--features", "gender=F,age=25", "--features", "gender=M"),
            "--features must name each feature once, got gender 2 times.",
        ),
    ],
    ids=str,
)
def test_options_that_contradict_each_other_are_refused(invoke, run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    result = invoke(recommend_command, run, *options)
    assert (result.exit_code, message in result.output) == (2, True), result.output
    assert list(tmp_path.iterdir()) == []


def test_unknown_users_of_a_file_are_counted(invoke, run, tmp_path):
    file = tmp_path / "users.txt"
    options = (run, "--users", file, "--out", tmp_path / "lists.parquet")
    file.write_text("\n".join(map(str, range(75, 90))))
    result = invoke(recommend_command, *options)
    assert result.exit_code == 1
    assert "9 of 15 users are unknown: '81', '82', '83', '84', '85' and more. Leave them out." in result.output
    file.write_text("\n")
    assert "users.txt is empty. Give at least one raw id." in invoke(recommend_command, *options).output
    file.write_text("1")
    assert "describe one person" in invoke(recommend_command, *options, "--liked", 3).output


def test_similar_items_are_the_nearest_vectors(invoke, run, recommender):
    answer = json.loads(
        invoke(similar_command, run, "--item", recommender.names.title(3), "--top-k", 39, "--json").output
    )
    cosines = recommender.item_vectors.directions @ recommender.item_vectors.directions[3]
    order = [row for row in cosines.argsort(descending=True, stable=True).tolist() if row not in (0, 3)]
    assert [row["id"] for row in answer] == [recommender.names.id(row) for row in order]
    assert answer[0]["cosine"] == pytest.approx(cosines[order[0]].item())
    assert "cosine" in invoke(similar_command, run, "--item", 3).output
    assert invoke(similar_command, run, "--item", 99).exit_code == 1


def test_an_explanation_re_scores_without_each_feature(invoke, run, recommender):
    answer = json.loads(invoke(explain_command, run, "--user", 5, "--item", 7, "--json").output)
    model = recommender.model
    user, item = torch.tensor([5]), torch.tensor([7])
    score = model(user, item).item()
    assert answer["score"] == pytest.approx(score, abs=1e-5)
    assert {(effect["side"], effect["feature"]) for effect in answer["effects"]} == {
        ("user", "user_id"),
        ("user", "gender"),
        ("item", "movie_id"),
        ("item", "genres"),
    }
    for effect in answer["effects"]:
        tower = model.user_tower if effect["side"] == "user" else model.item_tower
        column = tower.encoder(effect["feature"]).values
        before = column.clone()
        column.zero_()
        assert effect["change"] == pytest.approx(score - model(user, item).item(), abs=1e-5)
        column.copy_(before)
    changes = [abs(effect["change"]) for effect in answer["effects"]]
    assert changes == sorted(changes, reverse=True)


def test_an_explanation_ranks_the_item_and_names_those_near_it(invoke, run, recommender):
    seen = {
        int(item): bool(label > 0.5) for user, item, label in zip(*recommender.events[:3], strict=True) if user == 5
    }
    scores = recommender.factors([recommender.person(5)])[0] @ recommender.item_vectors.factors.T
    for item in (min(seen), next(row for row in range(1, 41) if row not in seen)):
        answer = json.loads(invoke(explain_command, run, "--user", 5, "--item", item, "--json").output)
        others = [row for row in range(1, 41) if row not in seen and row != item]
        assert answer["candidates"] == len(others) + 1
        assert answer["rank"] == 1 + sum(bool(scores[row] > scores[item]) for row in others)
        cosines = recommender.item_vectors.directions @ recommender.item_vectors.directions[item]
        near = sorted((row for row in seen if row != item), key=lambda row: -cosines[row])[:5]
        assert [entry["id"] for entry in answer["nearest"]] == near
        assert [entry["liked"] for entry in answer["nearest"]] == [seen[row] for row in near]


def test_an_explanation_reads_well(invoke, run):
    text = invoke(explain_command, run, "--user", 5, "--item", 7).output
    assert "rank" in text
    assert "what each feature adds to the logit, compared with an unknown value:" in text
    assert "the closest items that the user has seen:" in text
    new = invoke(explain_command, run, "--liked", 3, "--item", 7).output
    assert "probability" not in new.splitlines()[1]
    assert "user " not in new.split("compared with an unknown value:")[1].split("the closest items")[0]
