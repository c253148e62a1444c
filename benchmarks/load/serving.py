"""Serves a run in a process of its own, puts it under load, and prints what came of it.

python -m towerzoo.benchmarks.load.serving runs/tanh_bn
python -m towerzoo.benchmarks.load.serving runs/tanh_bn --seconds 20 --swaps 5
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import click
import pyarrow.parquet as pq

from towerzoo.benchmarks.load.clients import put_under_load, run_load
from towerzoo.registry.errors import RunError, TowerZooError
from towerzoo.towers.runs.folder import RunFolder


def resident(pid: int) -> float:
    """Returns the megabytes that a process has resident; Linux alone tells."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


@click.command()
@click.argument("run")
@click.option("--clients", type=click.IntRange(1, 256), default=32, show_default=True, help="Clients at one time.")
@click.option("--seconds", type=click.FloatRange(1, 600), default=60.0, show_default=True, help="How long they ask.")
@click.option("--top-k", "k", type=click.IntRange(1, 100), default=10, show_default=True, help="Items of an answer.")
@click.option("--swaps", type=click.IntRange(0, 100), default=0, show_default=True, help="Reloads meanwhile.")
def main(run: str, clients: int, seconds: float, k: int, swaps: int) -> None:
    """Put a service on RUN under load on loopback, and print rate, latencies, errors and memory."""
    try:
        sys.exit(_measure(run, clients, seconds, k, swaps))
    except TowerZooError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _measure(run: str, clients: int, seconds: float, k: int, swaps: int) -> int:
    folder = RunFolder.open(run)
    users = pq.read_table(folder.path / "users.parquet").column(0).to_pylist()[1:]
    token = secrets.token_urlsafe()
    command = [sys.executable, "-u", "-m", "towerzoo.tools.serve", str(folder.path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TOWERZOO_TOKEN": token})
    try:
        port = _port_of(process)
        ask = {"clients": clients, "k": k, "token": token}
        run_load(put_under_load("127.0.0.1", port, users, seconds=min(3.0, seconds), **ask))  # type: ignore[arg-type]
        before = resident(process.pid)
        swapped: list[int] = []
        swapping = threading.Thread(target=_swap, args=(port, token, swaps, seconds, swapped))
        swapping.start()
        load = run_load(put_under_load("127.0.0.1", port, users, seconds=seconds, **ask))  # type: ignore[arg-type]
        swapping.join()
        growth = resident(process.pid) / before - 1
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
    click.echo(
        f"{len(load.latencies):,} answers in {load.seconds:.0f} s: {load.rate:,.0f} requests/s, {load.failed} failed; "
        f"p50 {load.percentile(50):.1f} ms, p99 {load.percentile(99):.1f} ms, longest {load.percentile(100):.0f} ms; "
        f"memory {before:.0f} MB {growth:+.1%}; {len(swapped)} swaps; exit status {status}"
    )
    for what, count in load.errors.items():
        click.echo(f"{count} x {what}")
    return 1 if load.failed or status else 0


def _port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"ready: http://127\.0\.0\.1:(\d+)", line):
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return int(found[1])
    raise RunError(f"the service must start, got exit status {process.wait()}. Its message is above.")


def _swap(port: int, token: str, swaps: int, seconds: float, swapped: list[int]) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/reload", b"", {"authorization": f"Bearer {token}"})
    for _ in range(swaps):
        time.sleep(seconds / (swaps + 1))
        with urllib.request.urlopen(request, timeout=120) as answer:
            swapped.append(answer.status)


if __name__ == "__main__":
    main()
