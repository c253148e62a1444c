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
from collections.abc import Sequence
from pathlib import Path

import pytest

from towerzoo.benchmarks.load.clients import Load, put_under_load
from towerzoo.registry.extras import EXTRAS
from towerzoo.tools.serve import main
from towerzoo.towers.recommend.recommender import Recommender

TOOLS = Path(__file__).parents[3] / "tools"


class Served:
    """tools/serve.py in its own process."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-u", TOOLS / "serve.py", *map(str, arguments), "--port", "0"]
        environment = {name: value for name, value in os.environ.items() if name != "TOWERZOO_TOKEN"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.port = int(self.wait_for(r"ready: http://127\.0\.0\.1:(\d+)$")[1])

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip() for line in iter(self.process.stdout.readline, ""))

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if found := next(filter(None, (re.search(pattern, line) for line in list(self.lines))), None):
                return found
            assert self.process.poll() is None or self.reader.is_alive(), self.lines
            time.sleep(0.02)
        raise AssertionError(self.lines)

    def under_load(self, users: Sequence[int], seconds: float) -> tuple[threading.Thread, list[Load]]:
        loads: list[Load] = []
        load = put_under_load("127.0.0.1", self.port, users, clients=8, seconds=seconds, k=2, most=50_000)
        thread = threading.Thread(target=lambda: loads.append(asyncio.run(load)))
        thread.start()
        return thread, loads


def test_reload_by_sighup_and_shutdown_by_sigterm_lose_no_request(finished_run):
    recommender = Recommender.open(finished_run)
    ids = recommender.users.ids.values
    lists = recommender.answers(recommender.recommend([recommender.person(user) for user in ids], 2))
    users = [user for user, items in zip(ids, lists, strict=True) if len(items) == 2]
    served = Served(finished_run.parent)
    try:
        thread, loads = served.under_load(users, 30)
        newer = finished_run.with_name("2999-01-01T00-00-00")
        shutil.copytree(finished_run, newer)
        served.process.send_signal(signal.SIGHUP)
        served.wait_for(rf"tiny: {newer.name} answers now\.")
        time.sleep(0.5)
        served.process.terminate()
        assert served.process.wait(20) == 0
        thread.join(20)
    finally:
        served.process.kill()
    (load,) = loads
    assert load.failed == 0
    assert set(load.statuses) == {200}
    assert len(load.latencies) > 50
    served.reader.join(5)
    assert served.lines[-1] == "stopped: all requests were answered."
    assert "Traceback" not in "\n".join(served.lines)


def test_a_port_in_use_is_reported_before_the_run_is_loaded(invoke, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke(main, tmp_path / "no-run", "--port", port)
    assert result.exit_code == 1
    assert re.match(
        rf"error: --port must be a free port of 127\.0\.0\.1, got {port}: Address already in use\. Stop the process",
        result.output,
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_of_another_machine_is_rejected(invoke, finished_run, host, tmp_path):
    (tmp_path / "token").write_text("a-token-of-the-tests")
    result = invoke(main, finished_run, "--port", 0, "--host", host, "--token-file", tmp_path / "token")
    assert result.exit_code == 1
    assert f"error: --host must be an address of this machine, got '{host}'" in result.output


def test_a_broken_run_is_reported(invoke, finished_run, tmp_path):
    result = invoke(main, tmp_path / "no-run", "--port", 0)
    assert result.exit_code == 1
    assert re.match(r"error: .*no-run must be a run folder, got no such folder", result.output)
    (finished_run / "model.safetensors").write_bytes(b"cut off")
    result = invoke(main, finished_run, "--port", 0)
    assert result.exit_code == 1
    assert re.match(r"error: .*model\.safetensors is damaged: ", result.output)


def test_other_hosts_than_loopback_require_a_token(invoke, finished_run, monkeypatch):
    monkeypatch.delenv("TOWERZOO_TOKEN", raising=False)
    result = invoke(main, finished_run, "--host", "0.0.0.0")
    assert result.exit_code == 1
    assert "error: --host must be a loopback address without a token, got '0.0.0.0'" in result.output


def test_the_token_is_not_an_option(invoke):
    assert "--token " not in invoke(main, "--help").output


def test_a_missing_library_is_reported(invoke, finished_run, monkeypatch):
    monkeypatch.setitem(EXTRAS, "serve", ("fastapi", "no_such_library"))
    result = invoke(main, finished_run)
    assert result.exit_code == 1
    assert (
        "error: no_such_library must be installed to serve, got none. Run pip install 'towerzoo[serve]'."
        in result.output
    )


def test_more_than_two_runs_are_a_usage_error(invoke):
    assert invoke(main, "a", "b", "c").exit_code == 2
