from __future__ import annotations

import json
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from towerzoo.tools.explain import main as explain_command
from towerzoo.tools.index import main as index_command
from towerzoo.tools.recommend import main as recommend_command
from towerzoo.tools.similar import main as similar_command
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.retrieval.best_items import best_items

FLAT = "{name: faiss, factory: Flat}"
NEW = "movie_id,title,genres\n901,Fresh Air,War|Drama\n902,Later,\n"


def files(run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "index").glob("*")}


@pytest.mark.parametrize(
    "spec", ["exact", FLAT, "{name: faiss, factory: 'HNSW16,Flat', parameters: 'efSearch=64'}", "qdrant"]
)
def test_an_index_is_saved_beside_its_recall_and_answers_like_the_run(invoke, finished_run, spec):
    result = invoke(index_command, finished_run, "--index", spec, "--top-k", 10)
    assert result.exit_code == 0, result.output
    answer = re.search(
        r"recall@10 against exact: ([\d.]+) over 80 users; .* users/s, exact .* times as fast", result.output
    )
    assert float(answer[1]) == 1.0
    about = json.loads((finished_run / "index" / "index.json").read_text())
    assert about["recall"] == {"recall@10": 1.0, "users": 80}
    options = (finished_run, "--user", 5, "--top-k", 8, "--where", "movie_id<=30", "--json")
    with_index, without = (json.loads(invoke(recommend_command, *options, *some).output) for some in (["--index"], []))
    assert [row["id"] for row in with_index] == [row["id"] for row in without]
    assert [row["score"] for row in with_index] == pytest.approx([row["score"] for row in without])


@pytest.mark.parametrize("spec", [None, FLAT])
def test_new_items_are_found_without_training(invoke, finished_run, tmp_path, spec):
    if spec is not None:
        invoke(index_command, finished_run, "--index", spec)
    file = tmp_path / "new.csv"
    file.write_text(NEW)
    before = (finished_run / "model.safetensors").read_bytes()
    result = invoke(index_command, finished_run, "--add", file)
    assert result.exit_code == 0, result.output
    assert "added 2 items" in result.output
    assert "index of 42 items" in result.output
    again = tmp_path / "more.parquet"
    pq.write_table(pa.table({"movie_id": [903], "genres": [["Drama", "War"]]}), again)
    result = invoke(index_command, finished_run, "--add", again)
    assert "note: title is not in" in result.output
    assert len(files(finished_run)) == (3 if spec else 2)
    assert (finished_run / "model.safetensors").read_bytes() == before

    recommender = Recommender.open(finished_run, index=True)
    assert [recommender.names.id(row) for row in (41, 42, 43)] == [901, 902, 903]
    assert recommender.names.row("fresh air") == 41
    answer = json.loads(
        invoke(
            recommend_command, finished_run, "--user", 5, "--index", "--where", "genres=War", "--json", "--top-k", 40
        ).output
    )
    assert {901, 903} <= {row["id"] for row in answer}
    assert 902 not in {row["id"] for row in answer}
    assert next(row["title"] for row in answer if row["id"] == 901) == "Fresh Air"
    # The vectors are those of an item with the same genres and an unknown id.
    model = recommender.model
    genres = recommender.items.columns["genres"].values
    columns = {"movie_id": torch.zeros(1, dtype=torch.int32), "genres": genres[41:42]}
    vectors = torch.nn.functional.normalize(model.item_tower.encode(columns), dim=1)
    torch.testing.assert_close(recommender.item_vectors.factors[41:42], vectors)
    people = [recommender.person(user) for user in (5, 9)]
    exact = best_items(recommender.factors(people), recommender.item_vectors.factors, 12)
    assert torch.equal(recommender.top_items(people, 12, keep_seen=True).items, exact.items)
    assert torch.equal(recommender.index.item_vectors, recommender.item_vectors.factors)


def test_new_items_are_explained_and_similar_to_others(invoke, finished_run, tmp_path):
    for name, row in (("one", "901,Fresh Air,War|Drama"), ("two", "902,Later,Drama\n903,Stale Air,War|Drama")):
        file = tmp_path / f"{name}.csv"
        file.write_text(f"movie_id,title,genres\n{row}\n")
        assert invoke(index_command, finished_run, "--add", file).exit_code == 0
    arguments = (finished_run, "--item", "stale air", "--json")
    answer = json.loads(invoke(explain_command, *arguments, "--user", 5, "--index").output)
    recommender = Recommender.open(finished_run, index=True)
    factors = recommender.factors([recommender.person(5)])
    assert answer["of"]["id"] == 903
    assert answer["score"] == pytest.approx((factors @ recommender.item_vectors.factors[43]).item(), abs=1e-5)
    effects = {(effect["side"], effect["feature"]): effect for effect in answer["effects"]}
    assert effects["item", "movie_id"]["value"] == "unknown"
    assert effects["item", "movie_id"]["change"] == pytest.approx(0, abs=1e-6)
    assert effects["item", "genres"]["value"] in ("War|Drama", "Drama|War")
    assert effects["item", "genres"]["change"] != pytest.approx(0, abs=1e-4)
    near = json.loads(invoke(similar_command, *arguments, "--index").output)
    assert (near[0]["id"], near[0]["cosine"]) == (901, pytest.approx(1, abs=1e-5))
    for command, options in ((explain_command, ("--user", 5)), (similar_command, ())):
        result = invoke(command, *arguments, *options)
        assert (result.exit_code, "stale air" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "title\nx\n",
            "must have a column 'movie_id', got no such column. Did you mean 'title'?|must have a column",
        ),
        ("movie_id\n7\n50\n", "movie_id must be new, got 7 in row 1. 1 row is like that, of 2. Leave out items that"),
        ("movie_id\n50\n50\n", "movie_id must be unique, got 50 in row 2"),
        ("movie_id\nabc\n", "movie_id must be whole numbers, as in the run, got text. Convert the column."),
        ("movie_id,genres\n,War\n", "movie_id must be given, got nothing in row 1"),
        ("movie_id\n", "has no rows"),
    ],
)
def test_new_items_that_cannot_be_read_change_nothing(invoke, finished_run, tmp_path, text, message):
    invoke(index_command, finished_run, "--index", FLAT)
    before = files(finished_run)
    file = tmp_path / "new.csv"
    file.write_text(text)
    result = invoke(index_command, finished_run, "--add", file)
    assert result.exit_code == 1
    assert re.search(message, result.output), result.output
    assert files(finished_run) == before


def test_values_of_new_items_that_the_run_does_not_know_are_noted(invoke, finished_run, tmp_path):
    file = tmp_path / "new.csv"
    file.write_text("movie_id,genres,budget\n50,Kaiju|War|Opera,3\n")
    output = invoke(index_command, finished_run, "--add", file).output
    assert "note: genres 'Kaiju' and 1 more is not known to the run" in output
    assert "note: budget of " in output
    assert "note: title is not in " in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--index", "fais"),
            "error: --index:1: name must be a registered index, got 'fais'|error: --index.*got 'fais'",
        ),
        (("--index", "{name: faiss"), r"\Aerror: --index must be valid YAML, got '{name: faiss'.*\n.* near it.\n\Z"),
        (("--index", ""), "--index.* must be the name of a registered index, or a mapping with 'name', got None"),
        (("--index", "{name: faiss, factor: Flat}"), "must be a parameter of index 'faiss', got 'factor'"),
        (("--index", "{name: faiss, factory: 7}"), "factory must be text, got 7"),
        (("--index", "{name: faiss, factory: Flt}"), "FAISS says: could not parse index string Flt"),
        (("--index", "{name: faiss, factory: 'IVF64,Flat'}"), r"FAISS cannot train 'IVF64,Flat' on 40 items: .*\(64\)"),
    ],
)
def test_an_index_that_cannot_be_built_leaves_nothing(invoke, finished_run, tmp_path, options, message):
    result = invoke(index_command, finished_run, *options)
    assert result.exit_code == 1
    assert re.search(message, result.output), result.output
    assert not (finished_run / "index").exists()
    assert invoke(index_command, finished_run, "--index", "exact", "--add", "x").exit_code == 2


def test_an_index_of_other_weights_is_refused(invoke, finished_run, trained_once):
    invoke(index_command, finished_run, "--index", FLAT)
    weights = finished_run / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    result = invoke(recommend_command, finished_run, "--user", 5, "--index")
    assert result.exit_code == 1
    assert "was built from other weights than the run's. Build it with tools/index.py" in result.output
    assert invoke(index_command, finished_run, "--add", "x.csv").exit_code == 1
    assert invoke(index_command, finished_run, "--index", FLAT).exit_code == 0
    assert invoke(recommend_command, finished_run, "--user", 5, "--index").exit_code == 0


@pytest.mark.parametrize("damage", ["cut", "missing", "version", "json", "none"])
def test_a_damaged_index_is_reported(invoke, finished_run, damage):
    invoke(index_command, finished_run, "--index", FLAT)
    about = finished_run / "index" / "index.json"
    (vectors,) = (finished_run / "index").glob("*.vectors")
    if damage == "cut":
        vectors.write_bytes(vectors.read_bytes()[:-9])
    elif damage == "missing":
        vectors.unlink()
    elif damage == "version":
        about.write_text(about.read_text().replace('"version": 1', '"version": 9'))
    elif damage == "json":
        about.write_text("{")
    else:
        shutil.rmtree(about.parent)
    expected = {
        "cut": "changed since it was saved. Build it with tools/index.py",
        "missing": "cannot be read: No such file or directory",
        "version": "was written in format towerzoo-index 9, and this version of TowerZoo reads",
        "json": "is damaged: ",
        "none": "has no index. Build it with tools/index.py",
    }
    result = invoke(recommend_command, finished_run, "--user", 5, "--index")
    assert result.exit_code == 1
    assert expected[damage] in result.output


@pytest.mark.parametrize("edit", [{"added": 5}, {"index": {"name": "exact", "m": 1}}, "ids", "kinds"])
def test_an_edited_index_is_reported(invoke, finished_run, tmp_path, edit):
    (tmp_path / "new.csv").write_text(NEW)
    assert invoke(index_command, finished_run, "--add", tmp_path / "new.csv").exit_code == 0
    about = finished_run / "index" / "index.json"
    (added,) = about.parent.glob("*.parquet")
    if edit == "ids":
        pq.write_table(pa.table({"movie_id": [901, 901]}), added)
    elif edit == "kinds":
        pq.write_table(pa.table({"title": ["Fresh Air"]}), added)
    else:
        about.write_text(json.dumps(json.loads(about.read_text()) | edit))
    result = invoke(recommend_command, finished_run, "--user", 5, "--index")
    assert result.exit_code == 1
    assert re.search(
        r"index.* is damaged: .+\. (Build it with tools/index\.py|Copy the run folder again)", result.output
    )


def test_a_full_disk_leaves_the_index_that_was_there(invoke, finished_run, room_for):
    with room_for(600):
        result = invoke(index_command, finished_run, "--index", FLAT)
    assert result.exit_code == 1
    assert "cannot be written: " in result.output
    assert not (finished_run / "index").exists()
    invoke(index_command, finished_run, "--index", FLAT)
    before = files(finished_run)
    with room_for(600):
        assert invoke(index_command, finished_run, "--index", "{name: faiss, factory: 'HNSW16,Flat'}").exit_code == 1
    assert files(finished_run) == before
