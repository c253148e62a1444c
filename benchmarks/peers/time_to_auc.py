"""How soon each system reaches a validation AUC, counted from the start of its process on the raw files."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.peers.comparison import SUITE, compare
from towerzoo.benchmarks.peers.settings import Settings
from towerzoo.benchmarks.peers.systems import System
from towerzoo.benchmarks.peers.turns import in_turn
from towerzoo.benchmarks.peers.worker_process import WorkerProcess
from towerzoo.registry.errors import PeerError

MEASURE, SHORTFALL = "time to AUC", "AUC of what was not in time"


def time_to_auc(
    systems: Mapping[str, System],
    ours: Sequence[str],
    settings: Settings,
    *,
    rounds: int,
    failed: Callable[[str, PeerError], None],
) -> list[Record]:
    """Starts each system anew in each round, without a warm-up.

    Args:
        systems: The systems by name.
        ours: The names of TowerZoo's.
        settings: The AUC, and the bound on the training's seconds, among others.
        rounds: Runs of each system.
        failed: Is told of a system that dies or does not reach the AUC.

    Returns:
        The seconds of each system that reached the AUC, the AUC of those that did not, and the ratios of TowerZoo's
        systems to the others, as rates.
    """
    shortfalls: dict[str, float] = {}

    def seconds(system: System) -> float:
        with WorkerProcess(system, settings, patience=2 * settings.bound + 3600) as worker:
            answer = worker.ask("time-to-auc")
            elapsed = time.perf_counter() - worker.started
        if not answer["reached"]:
            shortfalls[system.name] = answer["auc"]
            raise PeerError(
                f"{system.name} must reach a validation AUC of {settings.target_auc} in {settings.bound:g} s, got "
                f"{answer['auc']:.4f} after {answer['epochs']} epochs and {answer['seconds']:.0f} s. Raise --bound."
            )
        return elapsed

    runs = {name: functools.partial(seconds, system) for name, system in systems.items()}
    values = in_turn(runs, rounds=rounds, warm_up=False, failed=failed)
    params: dict[str, Any] = {"auc": settings.target_auc, "threads": settings.threads}
    records = [_record(MEASURE, name, times, "s", **params) for name, times in values.items()] + [
        _record(SHORTFALL, name, [auc], "AUC", **params, bound=settings.bound) for name, auc in shortfalls.items()
    ]
    rates = {name: [3600 / time for time in times] for name, times in values.items()}
    return [*records, *compare(MEASURE, rates, ours, unit="runs/h", **params)]


def _record(measure: str, system: str, values: Sequence[float], unit: str, **params: Any) -> Record:
    return Record.of(values, suite=SUITE, name=measure, params={"system": system, **params}, unit=unit)
