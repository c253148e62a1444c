"""How fast systems prepare data, train and evaluate, and how soon they reach a validation AUC, all in turn."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

from towerzoo.benchmarks.measure.record import PairedRatio, Record
from towerzoo.benchmarks.peers.systems import Settings, System
from towerzoo.benchmarks.peers.worker_process import WorkerProcess
from towerzoo.registry.errors import PeerError

RATES: Final = "peers"
AUC: Final = "peers_auc"
"""The suites of the records."""
UNITS: Final = {"prepare": "loads/s", "train": "samples/s", "evaluate": "samples/s"}
"""The measurements and their units. `prepare` turns raw files into data that is ready to train on."""

Failed = Callable[[System, PeerError], None]
"""Is called with a system that fails, which is left out from then on."""


def in_turn(
    systems: Sequence[System], run: Callable[[System], float], *, rounds: int, warm_up: bool, failed: Failed
) -> dict[System, list[float]]:
    """Runs each system once a round, A B C A B C, so that drifts of the machine affect all alike.

    Args:
        systems: The systems; only one runs at a time.
        run: Measures a system once.
        rounds: Rounds that count.
        warm_up: Whether a round that does not count goes first.
        failed: Is called with a system that fails.

    Returns:
        The values (rounds,) of each system that did not fail.
    """
    values: dict[System, list[float]] = {system: [] for system in systems}
    for turn in range(rounds + warm_up):
        for system in list(values):
            try:
                value = run(system)
            except PeerError as error:
                del values[system]
                failed(system, error)
                continue
            if turn >= warm_up:
                values[system].append(value)
    return values


def measure_rates(
    systems: Sequence[System], settings: Settings, *, rounds: int, failed: Failed
) -> tuple[list[Record], dict[str, str]]:
    """Starts all systems and measures them in turn.

    Args:
        systems: The systems.
        settings: The settings of the run.
        rounds: Rounds that count, after a warm-up.
        failed: Is called with a system that fails.

    Returns:
        The records, and the versions of all systems' packages, by `package` or, if systems differ, `package of system`.

    Raises:
        PeerError: None of TowerZoo's systems is left, or none of the others.
    """
    workers: dict[System, WorkerProcess] = {}
    records: list[Record] = []
    versions: dict[str, str] = {}

    def drop(system: System, error: PeerError) -> None:
        if system in workers:
            workers.pop(system).close()
        failed(system, error)

    with ExitStack() as stack:
        for system in systems:
            try:
                workers[system] = stack.enter_context(WorkerProcess(system, settings))
            except PeerError as error:
                drop(system, error)
                continue
            for package, version in workers[system].versions.items():
                if versions.setdefault(package, version) != version:
                    versions[f"{package} of {system.name}"] = version
        for measurement in UNITS:
            if len({bool(system.config) for system in workers}) < 2:
                raise PeerError("A comparison needs TowerZoo and a peer that run. The failures are above.")
            run = functools.partial(_rate, workers, measurement)
            values = in_turn(list(workers), run, rounds=rounds, warm_up=True, failed=drop)
            records += rate_records(measurement, values, threads=settings.threads)
    return records, versions


def rate_records(measurement: str, values: Mapping[System, Sequence[float]], *, threads: int) -> Iterator[Record]:
    """Returns a record of each system, and one with ratios of each of TowerZoo's systems to each peer on equal terms.

    Args:
        measurement: A key of `UNITS`.
        values: Rates (rounds,) of each system; those of a round were taken one after the other.
        threads: CPU threads of a system.
    """
    fields = {"suite": RATES, "name": measurement, "unit": UNITS[measurement]}
    for system, rates in values.items():
        yield Record.of(rates, params={**system.params, "threads": threads}, **fields)
    for system, rates in values.items():
        for peer, others in values.items():
            if system.config and not peer.config and system.terms == peer.terms:
                params = {**system.params, "baseline": peer.name, "threads": threads}
                yield Record.of(rates, params=params, **fields, pair=PairedRatio.of(rates, others, target=1.0))


def time_to_auc(systems: Sequence[System], settings: Settings, *, rounds: int, failed: Failed) -> list[Record]:
    """Measures how soon systems reach a validation AUC, from the start of their process on the raw files.

    Args:
        systems: The systems.
        settings: The settings of the run, with the AUC and the bound on the seconds of training.
        rounds: Runs of each system.
        failed: Is called with a system that dies or does not reach the AUC.

    Returns:
        The seconds of each system that reached the AUC, and the best AUC of each that did not.

    Raises:
        PeerError: All systems died.
    """
    best: dict[System, float] = {}

    def seconds(system: System) -> float:
        with WorkerProcess(system, settings, patience=2 * settings.bound + 3600) as worker:
            answer = worker.ask("time-to-auc")
            elapsed = time.perf_counter() - worker.started
        if not answer["reached"]:
            best[system] = answer["auc"]
            raise PeerError(
                f"{system.label} reached a validation AUC of {answer['auc']:.4f} instead of {settings.target_auc} "
                f"in {answer['epochs']} epochs and {answer['seconds']:.0f} s. Raise --bound."
            )
        return elapsed

    values = in_turn(systems, seconds, rounds=rounds, warm_up=False, failed=failed)
    shared: dict[str, Any] = {"auc": settings.target_auc, "threads": settings.threads}
    records = [
        Record.of(times, suite=AUC, name="time to AUC", params={**system.params, **shared}, unit="s")
        for system, times in values.items()
    ]
    shared["bound"] = settings.bound
    records += [
        Record.of([auc], suite=AUC, name="best AUC", params={**system.params, **shared}, unit="AUC")
        for system, auc in best.items()
    ]
    if not records:
        raise PeerError("No system could be measured. The failures are above.")
    return records


def _rate(workers: Mapping[System, WorkerProcess], measurement: str, system: System) -> float:
    answer = workers[system].ask(measurement)
    done = 1 if measurement == "prepare" else answer["samples"]
    return float(done / answer["seconds"])
