from __future__ import annotations

import asyncio
import re
import threading
import time

import pytest

from towerzoo.benchmarks.serving_load import put_under_load
from towerzoo.towers.serving.served_run import ServedRun

OLD, NEW = "2026-01-01T00-00-00", "2026-01-01T00-00-00-2"
TOKEN = "a-token-of-the-tests"


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
