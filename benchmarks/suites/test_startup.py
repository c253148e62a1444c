"""Start-up: how long tools/train.py takes to begin."""

from __future__ import annotations

import subprocess
import sys

import pytest

from towerzoo.benchmarks.measure import started_process
from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.suites.options import thorough

TRAIN = ["-m", "towerzoo.tools.train"]
COMMANDS = {
    "help": [*TRAIN, "--help"],
    "import": ["-c", "import towerzoo.towers.recipes.train"],
    "first steps": [*TRAIN, "tanh_bn_dropout_first", "--fast-dev-run", "--device", "cpu"],
}
"""`first steps` loads the data, and trains, validates and tests one batch each."""


@pytest.mark.parametrize("command", ["help", thorough("import"), thorough("first steps")])
def test_startup(measure: Measure, command: str, overrides: list[str]) -> None:
    """A new process each time; after the first, the files are in the system's cache."""
    settings = [argument for override in overrides for argument in ("--set", override)]
    arguments = [sys.executable, *COMMANDS[command], *(settings if command == "first steps" else [])]

    peaks: list[int] = []

    def run() -> float:
        started = [sys.executable, "-S", started_process.__file__, *arguments]
        seconds, peak = subprocess.run(started, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        peaks.append(int(peak))
        return float(seconds)

    measure.rate(run, unit="s", memory=lambda: max(peaks))
