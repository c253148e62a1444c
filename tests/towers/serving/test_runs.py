from __future__ import annotations

import asyncio
import re
import shutil
import threading
import time

import pyarrow as pa
import pytest

from towerzoo.benchmarks.load.clients import put_under_load
from towerzoo.registry.errors import RunError
from towerzoo.towers.recommend import recommender
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.recommend.saved_index import RunIndex
from towerzoo.towers.runs.events import load_events
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.serving.runs import ServedRun

OLD, NEW = "2026-01-01T00-00-00", "2026-01-01T00-00-00-2"
TOKEN = "a-token-of-the-tests"


def save_index(path, added=None):
    run, recommender = RunFolder.open(path), Recommender.open(path)
    index = RunIndex.build(run, recommender, "exact")
    if added is not None:
        index = index.with_added(recommender, added)
    index.save(index.recall(recommender, 5))


def until(done, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert done()


def test_a_swap_changes_the_answer_and_keeps_what_is_held(runs, add_newer):
    run = ServedRun("tiny", runs)
    held = run.current
    assert run.reload() is False
    add_newer()
    assert run.reload() is True
    assert (held.path.name, run.current.path.name) == (OLD, NEW)
    assert held.anyone()["run"] == OLD


def test_a_reload_wants_the_token_and_lets_a_newer_run_answer(start, runs, add_newer):
    service = start(runs, token=TOKEN)
    assert service.recommend(user=1)["run"] == OLD
    add_newer()
    assert service.call("POST", "/reload", headers={"authorization": "Bearer other"})[0] == 401
    assert service.recommend(user=1)["run"] == OLD
    assert service.call("POST", "/reload") == (200, {"runs": {"tiny": NEW}})
    assert service.recommend(user=1)["run"] == NEW
    metrics = service.call("GET", "/metrics")[1]
    assert f'towerzoo_run{{name="tiny",run="{NEW}"}} 1.0' in metrics
    assert f'run="{OLD}"' not in metrics
    assert 'towerzoo_reloads_total{name="tiny",outcome="loaded"} 1.0' in metrics


def test_without_a_token_nobody_reloads_by_request(service):
    assert "a reload by request must be asked with a token" in service.refused("POST", "/reload", status=403)


@pytest.mark.parametrize(
    "missing", ["model.safetensors", "users.parquet", "events.parquet", "metrics.json", "schema.json"]
)
def test_a_broken_run_is_told_and_the_one_before_goes_on(start, runs, add_newer, missing):
    told = []
    service = start(runs, token=TOKEN, tell=told.append)
    (add_newer() / missing).unlink()
    assert missing in service.refused("POST", "/reload", status=409)
    assert service.recommend(user=1)["run"] == OLD
    assert re.match(rf"tiny: {OLD} goes on\. .*{missing}", told[0])
    assert 'outcome="failed"} 1.0' in service.call("GET", "/metrics")[1]


def test_a_run_that_fails_to_open_as_nobody_foresaw_is_told_and_watched_on(start, runs, add_newer, monkeypatch):
    told = []
    broken = add_newer().rename(runs.parent / "broken")

    def read(run, *arguments, **options):
        if run.path.name == NEW:
            raise AttributeError("nobody foresaw this")
        return load_events(run, *arguments, **options)

    monkeypatch.setattr(recommender, "load_events", read)
    service = start(runs, token=TOKEN, watch=0.05, tell=told.append)
    broken.rename(runs / NEW)
    expected = f"{runs} must be a run that can be opened, got AttributeError: "
    assert expected in service.refused("POST", "/reload", status=409)
    until(lambda: len(told) == 2)  # by the one who asked, and by who watches
    assert all(line.startswith(f"tiny: {OLD} goes on. {expected}") for line in told)
    assert service.recommend(user=1)["run"] == OLD
    shutil.copytree(runs / OLD, runs.parent / "whole").rename(runs / "2026-03-01T00-00-00")
    until(lambda: service.recommend(user=1)["run"] == "2026-03-01T00-00-00")


def test_a_newer_run_is_found_by_itself(start, runs, add_newer):
    told = []
    service = start(runs, watch=0.05, tell=told.append)
    broken = add_newer()
    broken = broken.rename(broken.with_name("2026-01-01T00-00-00-3"))
    (broken / "model.safetensors").unlink(missing_ok=True)
    until(lambda: told)
    add_newer().rename(runs / "2026-03-01T00-00-00")
    until(lambda: service.recommend(user=1)["run"] == "2026-03-01T00-00-00")
    assert "2026-03-01T00-00-00 answers now" in told[-1]


def test_a_run_that_is_copied_file_by_file_answers_once_it_is_whole(start, runs, trained):
    told = []
    service = start(runs, watch=0.05, tell=told.append)
    late = ("model.safetensors", "users.parquet")
    part = shutil.copytree(trained, runs.parent / "part", ignore=shutil.ignore_patterns(*late))
    part.rename(runs / NEW)
    until(lambda: told)
    time.sleep(0.3)
    assert len(told) == 1, "what does not change is told once"
    assert "has no users.parquet." in told[0]
    for name in late:
        shutil.copy(trained / name, runs / NEW)
    until(lambda: service.recommend(user=1)["run"] == NEW)


def test_with_an_index_a_newer_run_answers_once_it_has_one(start, runs, add_newer):
    with pytest.raises(RunError, match=r"has no index\. Build it with tools/index\.py"):
        ServedRun("tiny", runs, with_index=True)
    save_index(runs / OLD)
    told = []
    service = start(runs, with_index=True, watch=0.05, token=TOKEN, tell=told.append)
    newest = add_newer()
    assert "has no index" in service.refused("POST", "/reload", status=409)
    assert service.recommend(user=1, k=90, keep_seen=True)["run"] == OLD
    new = pa.table({"movie_id": [901], "genres": [["Drama"]]})
    save_index(newest, new)
    until(lambda: service.recommend(user=1)["run"] == NEW)
    assert len(told) == 2
    items = service.recommend(user=1, k=91, keep_seen=True)["items"]
    assert 901 in [item["id"] for item in items]
    status, answer = service.call("GET", "/explain?user=1&item=901")
    assert (status, answer["of"]["id"]) == (200, 901)


def test_swaps_under_load_lose_no_request(start, runs, add_newer):
    service = start(runs, token=TOKEN)
    answered = []

    def load():
        answered.append(
            asyncio.run(
                put_under_load(
                    "127.0.0.1", service.port, range(1, 81), clients=8, seconds=2.0, k=2, token=TOKEN, most=20_000
                )
            )
        )

    thread = threading.Thread(target=load)
    thread.start()
    add_newer()
    statuses = []
    while thread.is_alive():
        statuses.append(service.call("POST", "/reload")[0])
    thread.join()
    (result,) = answered
    assert set(statuses) == {200}
    assert len(statuses) >= 2
    assert result.failed == 0
    assert set(result.statuses) == {200}
    assert len(result.latencies) > 50
