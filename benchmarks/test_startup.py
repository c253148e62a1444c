"""Start-up: how long a person waits for tools/train.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from towerzoo.benchmarks.measuring import Measure
from towerzoo.benchmarks.thorough import thorough

TRAIN = ["-m", "towerzoo.tools.train"]
COMMANDS = {
    "help": [*TRAIN, "--help"],
    "import": ["-c", "import towerzoo.towers.training"],
    "first steps": [*TRAIN, "tanh_bn_dropout_first", "--fast-dev-run", "--device", "cpu"],
}
"""The last one loads the data, and trains, validates and tests a batch each."""

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes; what a process's largest resident memory is told in."""


@pytest.mark.parametrize("command", ["help", thorough("import"), thorough("first steps")])
def test_startup(measure: Measure, command: str, overrides: list[str]) -> None:
    """A process of its own each time; the files are in the system's cache after the first."""
    settings = [argument for override in overrides for argument in ("--set", override)]
    arguments = [sys.executable, *COMMANDS[command], *(settings if command == "first steps" else [])]

    peaks: list[int] = []

    def run() -> float:
        started = time.perf_counter()
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(usage.ru_maxrss * MAXRSS_UNIT)
        return time.perf_counter() - started

    measure.rate(run, unit="s", memory=lambda: max(peaks))
