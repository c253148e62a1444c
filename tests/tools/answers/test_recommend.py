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
    """The raw id of a user who has met few items."""
    counts = torch.bincount(recommender.events.user, minlength=len(recommender.users))
    return recommender.users.ids.values[int(counts[1:].argmin())]


def test_table_json_and_csv_tell_the_same_list(invoke, run, recommender):
    user = quiet_user(recommender)
    person = recommender.person(user)
    (expected,) = recommender.answers(recommender.recommend([person], 3), [person])
    results = [
        invoke(recommend_command, run, "--user", user, "--top-k", 3, *form) for form in ((), ("--json",), ("--csv",))
    ]
    assert [result.exit_code for result in results] == [0, 0, 0]
    table, as_json, as_csv = (result.output for result in results)
    told = json.loads(as_json)
    assert [row["id"] for row in told] == [answer.id for answer in expected]
    assert [row["probability"] for row in told] == pytest.approx([answer.probability for answer in expected])
    assert [row["title"] for row in csv.DictReader(io.StringIO(as_csv))] == [answer.title for answer in expected]
    lines = table.splitlines()
    assert lines[0].split() == ["rank", "id", "title", "score", "probability"]
    for line, answer in zip(lines[1:], expected, strict=True):
        assert answer.title in line
        assert f"{answer.score:.4f}" in line


def test_options_narrow_the_list(invoke, run, recommender):
    user = quiet_user(recommender)
    everything = json.loads(invoke(recommend_command, run, "--user", user, "--top-k", 39, "--json").output)
    titles = [row["title"] for row in everything]
    shorter = invoke(
        recommend_command,
        run,
        "--user",
        user,
        "--top-k",
        39,
        "--json",
        "--exclude",
        titles[0],
        "--where",
        "movie_id<=20",
    )
    assert [row["title"] for row in json.loads(shorter.output)] == [
        row["title"] for row in everything[1:] if row["id"] <= 20
    ]
    longer = json.loads(invoke(recommend_command, run, "--user", user, "--top-k", 40, "--json", "--keep-seen").output)
    assert len(longer) == 40


def test_somebody_new_is_answered_with_notes(invoke, run):
    result = invoke(
        recommend_command, run, "--user", "nobody", "--features", "gender=F,height=170", "--liked", "7", "--top-k", 2
    )
    assert result.exit_code == 0
    assert "note: user 'nobody' is not known" in result.output
    assert "note: feature 'height' is not one of the user tower and was left out. Features: gender." in result.output
    assert "note: the user tower has no history" in result.output


def test_filters_that_leave_nothing_say_so(invoke, run):
    result = invoke(recommend_command, run, "--user", 1, "--where", "genres=Opera")
    assert result.exit_code == 0
    assert "note: no item has genres 'Opera'" in result.output
    assert "nothing is left to recommend." in result.output
    assert json.loads(invoke(recommend_command, run, "--user", 1, "--where", "movie_id>=99", "--json").stdout) == []


@pytest.mark.parametrize("given", ["all", "file"])
def test_lists_of_many_users_are_a_parquet_file(invoke, run, recommender, tmp_path, given):
    users = [3, 1] if given == "file" else list(recommender.users.ids.values)
    file = tmp_path / "users.txt"
    file.write_text("\ufeff" + "".join(f"{user}\n\n" for user in users), encoding="utf-8")
    out = tmp_path / "lists.parquet"
    where = "all" if given == "all" else file
    first = [recommender.person(user) for user in users[:1]]
    best = str(recommender.answers(recommender.recommend(first, 1), first)[0][0].id)
    result = invoke(recommend_command, run, "--users", where, "--out", out, "--top-k", 4, "--exclude", best)
    assert result.exit_code == 0, result.output
    assert f"lists of {len(users)} users: {out}" in result.output
    rows = pq.read_table(out).to_pylist()
    people = [recommender.person(user, exclude=[best]) for user in users]
    assert best not in {str(row["item"]) for row in rows}
    expected = recommender.answers(recommender.recommend(people, 4), people)
    assert [(row["user"], row["rank"], row["item"], row["title"]) for row in rows] == [
        (user, rank, answer.id, answer.title)
        for user, answers in zip(users, expected, strict=True)
        for rank, answer in enumerate(answers, start=1)
    ]
    assert [row["probability"] for row in rows] == pytest.approx([a.probability for some in expected for a in some])


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
        (("--users", "no/file", "--out", "x.parquet"), "--users must be a file of raw ids, one a line, got 'no/file'"),
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_told(invoke, run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    result = invoke(recommend_command, run, *options)
    assert result.exit_code == 1
    assert f"error: {message}" in result.output or message in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--users", "all"), "--users and --out come together."),
        (("--users", "ids", "--out", "./ids"), "--out must be another file than that of --users, which it would"),
        (("--users", "all", "--out", "x", "--json"), "it cannot be given with --json or --csv."),
        (("--users", "all", "--out", "x", "--user", 1), "it cannot be given with --user, --features, --liked"),
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
    file.write_text("\n".join(map(str, range(75, 90))))
    result = invoke(recommend_command, run, "--users", file, "--out", tmp_path / "lists.parquet")
    assert result.exit_code == 1
    assert "must name known users, got 9 of 15 that are not: '81', '82', '83', '84', '85' and more." in result.output
    file.write_text("\n")
    assert (
        "must name known users, got none. Name some."
        in invoke(recommend_command, run, "--users", file, "--out", "x").output
    )


@pytest.mark.parametrize(
    "options",
    [
        ("--users", "all"),
        ("--out", "x"),
        ("--users", "all", "--out", "x", "--user", 1),
        ("--users", "all", "--out", "x", "--json"),
        ("--users", "all", "--out", "x", "--csv"),
        ("--user", 1, "--json", "--csv"),
        ("--features", "F"),
    ],
)
def test_options_that_do_not_go_together_are_refused(invoke, run, options):
    assert invoke(recommend_command, run, *options).exit_code == 2


def test_similar_items_are_the_nearest_vectors(invoke, run, recommender):
    told = json.loads(
        invoke(similar_command, run, "--item", recommender.names.title(3), "--top-k", 39, "--json").output
    )
    cosines = recommender.item_vectors.directions @ recommender.item_vectors.directions[3]
    order = [row for row in cosines.argsort(descending=True, stable=True).tolist() if row not in (0, 3)]
    assert [row["id"] for row in told] == [recommender.names.id(row) for row in order]
    assert told[0]["cosine"] == pytest.approx(cosines[order[0]].item())
    assert "cosine" in invoke(similar_command, run, "--item", 3).output
    assert invoke(similar_command, run, "--item", 99).exit_code == 1


def test_an_explanation_re_scores_without_each_feature(invoke, run, recommender):
    told = json.loads(invoke(explain_command, run, "--user", 5, "--item", 7, "--json").output)
    model = recommender.model
    user, item = torch.tensor([5]), torch.tensor([7])
    own = model(user, item).item()
    assert told["score"] == pytest.approx(own, abs=1e-5)
    assert {(effect["side"], effect["feature"]) for effect in told["effects"]} == {
        ("user", "user_id"),
        ("user", "gender"),
        ("item", "movie_id"),
        ("item", "genres"),
    }
    for effect in told["effects"]:
        tower = model.user_tower if effect["side"] == "user" else model.item_tower
        column = tower.encoder(effect["feature"]).values
        before = column.clone()
        column.zero_()
        assert effect["change"] == pytest.approx(own - model(user, item).item(), abs=1e-5)
        column.copy_(before)
    changes = [abs(effect["change"]) for effect in told["effects"]]
    assert changes == sorted(changes, reverse=True)


def test_an_explanation_ranks_the_item_and_names_those_near_it(invoke, run, recommender):
    met = {int(item): bool(label > 0.5) for user, item, label in zip(*recommender.events[:3], strict=True) if user == 5}
    scores = recommender.factors([recommender.person(5)])[0] @ recommender.item_vectors.factors.T
    for item in (min(met), next(row for row in range(1, 41) if row not in met)):
        told = json.loads(invoke(explain_command, run, "--user", 5, "--item", item, "--json").output)
        others = [row for row in range(1, 41) if row not in met and row != item]
        assert told["candidates"] == len(others) + 1
        assert told["rank"] == 1 + sum(bool(scores[row] > scores[item]) for row in others)
        cosines = recommender.item_vectors.directions @ recommender.item_vectors.directions[item]
        near = sorted((row for row in met if row != item), key=lambda row: -cosines[row])[:5]
        assert [entry["id"] for entry in told["nearest"]] == near
        assert [entry["liked"] for entry in told["nearest"]] == [met[row] for row in near]


def test_an_explanation_reads_well(invoke, run):
    text = invoke(explain_command, run, "--user", 5, "--item", 7).output
    assert "rank" in text
    assert "what each feature adds to the logit, compared with an unknown value:" in text
    assert "the closest items that the user has seen:" in text
    new = invoke(explain_command, run, "--liked", 3, "--item", 7).output
    assert "probability" not in new.splitlines()[1]
    assert "user " not in new.split("compared with an unknown value:")[1].split("the closest items")[0]


def test_a_missing_run_is_told(invoke, tmp_path):
    for command, options in ((recommend_command, ("--user", 1)), (similar_command, ("--item", 1))):
        result = invoke(command, tmp_path / "none", *options)
        assert result.exit_code == 1
        assert "must be a run folder, got no such folder" in result.output
