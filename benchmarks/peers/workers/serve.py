"""Runs a worker: reads settings and then commands from standard input, and answers each with a line of JSON.

It runs in every system's virtual environment, so it imports only the standard library and the worker's file.

    python serve.py original.py
    {"data": "ml-1m", "scratch": "scratch", "batch_size": 1024, "steps": 200, ...}
    -> {"ready": true, "versions": {"torch": "2.13.0"}}
    prepare
    -> {"seconds": 5.1, "samples": 1000209}
    train
    -> {"seconds": 24.9, "samples": 204800}
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TextIO


class Worker(Protocol):
    """The class `Worker` of a worker's file, made from the settings.

    Returned seconds cover the work alone, without building the model.
    """

    def prepare(self) -> int:
        """Turns the raw files into data that is ready to train on; returns the number of events."""

    def train(self) -> tuple[int, float]:
        """Trains a new model for `steps` of the settings; returns samples and seconds."""

    def evaluate(self) -> tuple[int, float, float]:
        """Tests the last trained model; returns the samples of the test split, seconds and AUC."""

    def fit(self, until: Callable[[float], bool]) -> None:
        """Trains a new model until `until` returns True for the validation AUC of an epoch."""


NEEDS = {"prepare": [], "train": ["prepare"], "evaluate": ["prepare", "train"], "time-to-auc": ["prepare"]}
"""The commands, and those that must have run before each."""


class Desk:
    """Answers commands.

    Args:
        worker: The worker.
        settings: Settings of the run; time-to-auc uses `target_auc` and `bound` (seconds).
    """

    def __init__(self, worker: Worker, settings: dict[str, Any]) -> None:
        self.worker, self.settings = worker, settings
        self.done: set[str] = set()

    def answer(self, command: str) -> dict[str, Any]:
        """Runs a command, after those that it needs, and returns its figures."""
        for needed in NEEDS[command]:
            if needed not in self.done:
                self.answer(needed)
        started = time.perf_counter()
        if command == "prepare":
            figures = {"samples": self.worker.prepare(), "seconds": time.perf_counter() - started}
        elif command == "train":
            figures = dict(zip(("samples", "seconds"), self.worker.train(), strict=True))
        elif command == "evaluate":
            figures = dict(zip(("samples", "seconds", "auc"), self.worker.evaluate(), strict=True))
        else:
            figures = self._time_to_auc(started)
        self.done.add(command)
        return figures

    def _time_to_auc(self, started: float) -> dict[str, Any]:
        """Finishes an epoch that has begun, so the bound may be overrun by less than an epoch."""
        aucs: list[float] = []
        target = self.settings["target_auc"]

        def until(auc: float) -> bool:
            aucs.append(auc)
            return bool(auc >= target) or time.perf_counter() - started >= self.settings["bound"]

        self.worker.fit(until)
        seconds, best = time.perf_counter() - started, max(aucs)
        return {"seconds": seconds, "auc": best, "epochs": len(aucs), "reached": best >= target}


def private_streams() -> tuple[TextIO, TextIO]:
    """Returns the streams of commands and answers; libraries get an empty input and standard error instead.

    What libraries print, C code included, must not mix with the answers.
    """
    commands, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # so that a last message is not lost
    return commands, answers


def load(file: Path) -> Any:
    """Returns the module of a worker's file."""
    # No library should import the files of this folder, such as `original`.
    sys.path = [path for path in sys.path if Path(path or ".").resolve() != file.resolve().parent]
    spec = importlib.util.spec_from_file_location(f"worker_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # DataLoaders and dataclasses look up their module by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main(file: Path) -> None:
    """Serves until the input ends."""
    commands, answers = private_streams()
    settings = json.loads(commands.readline())
    module = load(file)
    desk = Desk(module.Worker(settings), settings)
    versions = {name: importlib.metadata.version(name) for name in module.PACKAGES}
    print(json.dumps({"ready": True, "versions": versions}), file=answers, flush=True)
    for line in commands:
        print(json.dumps(desk.answer(line.strip())), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
