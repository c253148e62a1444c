"""Runs a worker: settings, then commands a line on standard input; one JSON line of answer to each on standard output.

It runs in any system's virtual environment, so it imports the standard library alone, and the worker's file.

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
    """What a worker's file defines: a class `Worker` of the settings.

    Seconds that a method returns are its own account of the work alone, without making the model.
    """

    def prepare(self) -> int:
        """Turns the raw files into data that is ready to train on, from the start; returns the number of events."""

    def train(self) -> tuple[int, float]:
        """Trains a new model for the settings' steps; returns samples and seconds."""

    def evaluate(self) -> tuple[int, float, float]:
        """Tests the last model that was trained; returns the test split's samples, seconds and AUC."""

    def fit(self, until: Callable[[float], bool]) -> None:
        """Trains a new model, and asks after each epoch, with its validation AUC, whether to stop."""


class Desk:
    """Answers commands.

    Args:
        worker: Who does the work.
        settings: `target_auc` and `bound`, in seconds, of time-to-auc.
    """

    def __init__(self, worker: Worker, settings: dict[str, Any]) -> None:
        self.worker, self.settings = worker, settings
        self.done: set[str] = set()

    def answer(self, command: str) -> dict[str, Any]:
        """Carries out a command, after those that it needs, and returns its figures.

        Raises:
            ValueError: There is no such command.
        """
        needs = {"prepare": [], "train": ["prepare"], "evaluate": ["prepare", "train"], "time-to-auc": ["prepare"]}
        if command not in needs:
            raise ValueError(f"a command must be one of {', '.join(needs)}, got {command!r}")
        for needed in needs[command]:
            if needed not in self.done:
                self.answer(needed)
        figures: dict[str, Any] = getattr(self, f"_{command.replace('-', '_')}")()
        self.done.add(command)
        return figures

    def _prepare(self) -> dict[str, Any]:
        started = time.perf_counter()
        samples = self.worker.prepare()
        return {"seconds": time.perf_counter() - started, "samples": samples}

    def _train(self) -> dict[str, Any]:
        samples, seconds = self.worker.train()
        return {"seconds": seconds, "samples": samples}

    def _evaluate(self) -> dict[str, Any]:
        samples, seconds, auc = self.worker.evaluate()
        return {"seconds": seconds, "samples": samples, "auc": auc}

    def _time_to_auc(self) -> dict[str, Any]:
        """An epoch that has begun is finished, so that the bound can be overrun by less than one."""
        aucs: list[float] = []
        started = time.perf_counter()

        def until(auc: float) -> bool:
            aucs.append(auc)
            out_of_time = time.perf_counter() - started >= self.settings["bound"]
            return out_of_time or bool(auc >= self.settings["target_auc"])

        self.worker.fit(until)
        seconds = time.perf_counter() - started
        best = max(aucs)
        return {
            "seconds": seconds,
            "auc": best,
            "epochs": len(aucs),
            "reached": best >= self.settings["target_auc"],
        }


def private_streams() -> tuple[TextIO, TextIO]:
    """Returns the streams of commands and answers, and leaves to libraries an empty input and standard error.

    Libraries print as they please, C code among them, and what they print must not come between the answers.
    """
    commands, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # so that last words are not lost
    return commands, answers


def load(file: Path) -> Any:
    """Returns the module of a worker's file."""
    # The folder of this file holds names of its own, such as `original`, that no library should find.
    sys.path = [place for place in sys.path if Path(place or ".").resolve() != file.resolve().parent]
    spec = importlib.util.spec_from_file_location(f"worker_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # DataLoaders and dataclasses look their module up by its name.
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
