"""The rates of preparing data, training and evaluation, each measured on all systems in turn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.peers.comparison import compare
from towerzoo.benchmarks.peers.settings import Settings
from towerzoo.benchmarks.peers.systems import System
from towerzoo.benchmarks.peers.turns import in_turn
from towerzoo.benchmarks.peers.worker_process import WorkerProcess
from towerzoo.registry.errors import PeerError

UNITS: Final = {"prepare": "loads/s", "train": "samples/s", "evaluate": "samples/s"}
"""What is measured, in which unit. `prepare` is raw files to data that is ready to train on."""


def measure_rates(
    systems: Mapping[str, System],
    ours: Sequence[str],
    settings: Settings,
    *,
    rounds: int,
    failed: Callable[[str, PeerError], None],
) -> tuple[list[Record], dict[str, str]]:
    """Starts all systems, and asks one after the other.

    Args:
        systems: The systems by name.
        ours: The names of TowerZoo's.
        settings: What all are told.
        rounds: Rounds that count, after a warm-up.
        failed: Is told of a system that fails, which is left out from then on.

    Returns:
        The records, and the versions of all systems' packages, by `package` or, where systems differ, `package of
        system`.

    Raises:
        PeerError: None of TowerZoo's systems is left, or none of the others.
    """
    workers: dict[str, WorkerProcess] = {}
    records: list[Record] = []
    versions: dict[str, str] = {}
    with ExitStack() as stack:

        def drop(name: str, error: PeerError) -> None:
            if name in workers:
                workers.pop(name).close()
            failed(name, error)

        for name, system in systems.items():
            try:
                workers[name] = stack.enter_context(WorkerProcess(system, settings))
            except PeerError as error:
                drop(name, error)
                continue
            for package, version in workers[name].versions.items():
                if versions.setdefault(package, version) != version:
                    versions[f"{package} of {name}"] = version
        for measure, unit in UNITS.items():
            _require_both(workers, ours)
            runs = {name: functools.partial(_rate, worker, measure) for name, worker in workers.items()}
            values = in_turn(runs, rounds=rounds, failed=drop)
            records += compare(measure, values, ours, unit=unit, threads=settings.threads)
    return records, versions


def _rate(worker: WorkerProcess, measure: str) -> float:
    answer = worker.ask(measure)
    done = 1 if measure == "prepare" else answer["samples"]
    return float(done / answer["seconds"])


def _require_both(workers: Mapping[str, WorkerProcess], ours: Sequence[str]) -> None:
    for what, found in (("TowerZoo", set(workers) & set(ours)), ("--peers", set(workers) - set(ours))):
        if not found:
            raise PeerError(
                f"{what} must have a system that runs, got none. What became of each is told above; mend one of them."
            )
