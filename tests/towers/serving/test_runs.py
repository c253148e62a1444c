from __future__ import annotations

import asyncio
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from towerzoo.benchmarks.load import put_under_load
from towerzoo.registry.errors import RunError
from towerzoo.towers.recommend import recommender
from towerzoo.towers.recommend.saved_index import build_index
from towerzoo.towers.runs.events import load_events
from towerzoo.towers.serving.runs import ServedRun

OLD, NEW = "2026-01-01T00-00-00", "2026-01-01T00-00-00-2"
TOKEN = "a-token-of-the-tests"


def until(done, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert done()


def test_a_reload_replaces_the_run_and_the_previous_one_still_answers(runs, add_newer):
    run = ServedRun("tiny", runs)
    previous = run.current
    add_newer()
    run.reload()
    assert (previous.path.name, run.current.path.name) == (OLD, NEW)
    assert previous.random_user()["run"] == OLD


def test_a_reload_requires_the_token_and_loads_a_newer_run(start, runs, add_newer):
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


def test_a_service_without_a_token_does_not_reload_by_request(service):
    assert "without a token reloads only on a signal. Send SIGHUP." in service.rejected("POST", "/reload", status=403)


@pytest.mark.parametrize("missing", ["model.safetensors", "users.parquet", "metrics.json"])
def test_a_broken_run_is_reported_and_the_previous_one_continues(start, runs, add_newer, missing):
    reports = []
    service = start(runs, token=TOKEN, report=reports.append)
    (add_newer() / missing).unlink()
    assert missing in service.rejected("POST", "/reload", status=409)
    assert service.recommend(user=1)["run"] == OLD
    assert re.match(rf"tiny: {OLD} continues to answer\. .*{missing}", reports[0])
    assert 'outcome="failed"} 1.0' in service.call("GET", "/metrics")[1]


def test_an_unexpected_error_of_a_run_is_reported_and_watching_continues(start, runs, add_newer, monkeypatch):
    reports = []
    broken = add_newer().rename(runs.parent / "broken")

    def read(run, *arguments, **options):
        if run.path.name == NEW:
            raise AttributeError("unexpected")
        return load_events(run, *arguments, **options)

    monkeypatch.setattr(recommender, "load_events", read)
    service = start(runs, token=TOKEN, watch=0.05, report=reports.append)
    broken.rename(runs / NEW)
    expected = f"{runs} cannot be opened: AttributeError: unexpected"
    assert expected in service.rejected("POST", "/reload", status=409)
    until(lambda: len(reports) == 2)  # of the request and of the watch
    assert all(line.startswith(f"tiny: {OLD} continues to answer. {expected}") for line in reports)
    assert service.recommend(user=1)["run"] == OLD
    shutil.copytree(runs / OLD, runs.parent / "whole").rename(runs / "2026-03-01T00-00-00")
    until(lambda: service.recommend(user=1)["run"] == "2026-03-01T00-00-00")


def test_a_run_that_is_still_being_copied_answers_once_it_is_complete(start, runs, trained):
    reports = []
    service = start(runs, watch=0.05, report=reports.append)
    late = ("model.safetensors", "users.parquet")
    part = shutil.copytree(trained, runs.parent / "part", ignore=shutil.ignore_patterns(*late))
    part.rename(runs / NEW)
    until(lambda: reports)
    time.sleep(0.3)
    assert len(reports) == 1, "the problem is reported once"
    assert "has no users.parquet." in reports[0]
    for name in late:
        shutil.copy(trained / name, runs / NEW)
    until(lambda: service.recommend(user=1)["run"] == NEW)


def test_with_an_index_a_newer_run_answers_once_it_has_one(start, runs, add_newer):
    with pytest.raises(RunError, match=r"has no index\. Build it with tools/index\.py"):
        ServedRun("tiny", runs, with_index=True)
    build_index(runs / OLD)
    reports = []
    service = start(runs, with_index=True, watch=0.05, token=TOKEN, report=reports.append)
    newest = add_newer()
    assert "has no index" in service.rejected("POST", "/reload", status=409)
    assert service.recommend(user=1, k=90, keep_seen=True)["run"] == OLD
    new = newest / "new.csv"
    new.write_text("movie_id,genres\n901,Drama\n")
    build_index(newest, add=new)
    until(lambda: service.recommend(user=1)["run"] == NEW)
    assert len(reports) == 2
    items = service.recommend(user=1, k=91, keep_seen=True)["items"]
    assert 901 in [item["id"] for item in items]
    status, answer = service.call("GET", "/explain?user=1&item=901")
    assert (status, answer["of"]["id"]) == (200, 901)


def test_reloads_under_load_lose_no_request(start, runs, add_newer):
    service = start(runs, token=TOKEN)
    arguments = {"clients": 8, "seconds": 2.0, "k": 2, "token": TOKEN, "most": 20_000}
    with ThreadPoolExecutor() as pool:
        future = pool.submit(asyncio.run, put_under_load("127.0.0.1", service.port, range(1, 81), **arguments))
        add_newer()
        statuses = []
        while not future.done():
            statuses.append(service.call("POST", "/reload")[0])
    load = future.result()
    assert set(statuses) == {200}
    assert len(statuses) >= 2
    assert (load.failed, set(load.statuses)) == (0, {200})
    assert len(load.latencies) > 50
