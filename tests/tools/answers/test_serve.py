from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from towerzoo.benchmarks.load import put_under_load
from towerzoo.registry.extras import EXTRAS
from towerzoo.tools.serve import main
from towerzoo.towers.recommend.recommender import Recommender

TOOLS = Path(__file__).parents[3] / "tools"


def test_reload_by_sighup_and_shutdown_by_sigterm_lose_no_request(finished_run):
    recommender = Recommender.open(finished_run)
    ids = recommender.users.ids.values
    lists = recommender.answers(recommender.top_items([recommender.person(user) for user in ids], 2))
    users = [user for user, items in zip(ids, lists, strict=True) if len(items) == 2]
    command = [sys.executable, "-u", TOOLS / "serve.py", finished_run.parent, "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "TOWERZOO_TOKEN"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    deadline = threading.Timer(90, process.kill)
    deadline.start()
    with ThreadPoolExecutor() as pool:
        try:
            port = int(wait_for(process, r"ready: http://127\.0\.0\.1:(\d+)$")[1])
            requests = put_under_load("127.0.0.1", port, users, clients=8, seconds=30, k=2, most=50_000)
            future = pool.submit(asyncio.run, requests)
            newer = finished_run.with_name("2999-01-01T00-00-00")
            shutil.copytree(finished_run, newer)
            process.send_signal(signal.SIGHUP)
            wait_for(process, rf"tiny: {newer.name} answers now\.")
            time.sleep(0.5)
            process.terminate()
            output, _ = process.communicate(timeout=20)
        finally:
            process.kill()
            deadline.cancel()
    load = future.result()
    assert process.returncode == 0
    assert (load.failed, set(load.statuses)) == (0, {200})
    assert len(load.latencies) > 50
    assert output == "stopped: all requests were answered.\n"


def wait_for(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Reads lines of the output up to one that matches."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if match := re.search(pattern, line):
            return match
    raise AssertionError(lines)


@pytest.fixture
def failed_start(invoke, monkeypatch):
    """Runs a command that must fail before it serves; returns its output."""
    monkeypatch.delenv("TOWERZOO_TOKEN", raising=False)

    def run(*arguments) -> str:
        result = invoke(main, *arguments)
        assert result.exit_code == 1
        return result.output

    return run


def test_a_port_in_use_is_reported_before_the_run_is_loaded(failed_start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = failed_start(tmp_path / "no-run", "--port", port)
    expected = f"error: --port must be a free port of 127.0.0.1, got {port}: Address already in use. Stop the process"
    assert output.startswith(expected)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_of_another_machine_is_rejected(failed_start, finished_run, host, tmp_path):
    (tmp_path / "token").write_text("a-token-of-the-tests")
    output = failed_start(finished_run, "--port", 0, "--host", host, "--token-file", tmp_path / "token")
    assert f"error: --host must be an address of this machine, got '{host}'" in output


def test_other_hosts_than_loopback_require_a_token(failed_start, finished_run, invoke):
    output = failed_start(finished_run, "--host", "0.0.0.0")
    assert "error: --host must be a loopback address without a token, got '0.0.0.0'" in output
    assert "--token " not in invoke(main, "--help").output, "other users of the machine see options"


def test_a_damaged_run_is_reported(failed_start, finished_run):
    (finished_run / "model.safetensors").write_bytes(b"cut off")
    assert re.match(r"error: .*model\.safetensors is damaged: ", failed_start(finished_run, "--port", 0))


def test_a_missing_library_is_reported(failed_start, finished_run, monkeypatch):
    monkeypatch.setitem(EXTRAS, "serve", ("fastapi", "no_such_library"))
    expected = "error: no_such_library must be installed to serve, got none. Run pip install 'towerzoo[serve]'."
    assert expected in failed_start(finished_run)


def test_more_than_two_runs_are_a_usage_error(invoke):
    assert invoke(main, "a", "b", "c").exit_code == 2
