"""Start-up: how long tools/train.py takes to begin."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.suites.options import thorough

COMMANDS = {
    "help": ["-m", "towerzoo.tools.train", "--help"],
    "import": ["-c", "import towerzoo.towers.recipes.train"],
    "first steps": ["-m", "towerzoo.tools.train", "tanh_bn_dropout_first", "--fast-dev-run", "--device", "cpu"],
}
"""`first steps` loads the data, and trains, validates and tests one batch each."""


@pytest.mark.parametrize("command", ["help", thorough("import"), thorough("first steps")])
def test_startup(measure: Measure, command: str, overrides: list[str]) -> None:
    """A new process each time; after the first, the files are in the system's cache."""
    settings = [argument for override in overrides for argument in ("--set", override)]
    arguments = [sys.executable, *COMMANDS[command], *(settings if command == "first steps" else [])]

    def run() -> float:
        started = time.perf_counter()
        subprocess.run(arguments, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - started

    measure.rate(run, unit="s", memory=False)
