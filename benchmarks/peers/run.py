"""Measures TowerZoo, its peers and the original script in turn on MovieLens-1M."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from towerzoo.benchmarks.measure.origin import here
from towerzoo.benchmarks.measure.result_file import Result
from towerzoo.benchmarks.peers.rates import measure_rates, time_to_auc
from towerzoo.benchmarks.peers.systems import (
    BATCH_SIZES,
    PEERS,
    SAME_MODEL,
    TOWERZOO,
    Settings,
    System,
    peer_systems,
    towerzoo_system,
)
from towerzoo.benchmarks.suites.run import raised_signals
from towerzoo.registry.errors import PeerError


@raised_signals()
def measure_peers(
    settings: Settings,
    *,
    peers: Sequence[str] = (),
    configs: Sequence[str] = (),
    rounds: int,
    report: Callable[[str], None],
) -> Result:
    """Measures how fast each system prepares data, trains and evaluates; with an AUC, how soon each reaches it.

    Peers are measured at the smallest and the largest of `BATCH_SIZES`, the time to an AUC of all systems at all three.

    Args:
        settings: The settings of the run, with or without an AUC.
        peers: Names of peers; by default all.
        configs: Configs of TowerZoo with overrides; by default the rows of the published table.
        rounds: Rounds that count.
        report: Receives a line for each system that fails.

    Raises:
        PeerError: Too many systems fail.
    """

    def failed(system: System, error: PeerError) -> None:
        report(f"left out: {system.label}: {error}")

    rows = [(f"TowerZoo, {text}", text) for text in configs]
    by_size = {size: peer_systems(peers or PEERS, size) for size in BATCH_SIZES}
    if settings.target_auc is None:
        ours = [towerzoo_system(*row) for row in rows or TOWERZOO]
        systems = [*by_size[BATCH_SIZES[0]], *ours, *by_size[BATCH_SIZES[-1]]]
        records, versions = measure_rates(systems, settings, rounds=rounds, failed=failed)
    else:
        rows = rows or [("TowerZoo, same model", SAME_MODEL), ("TowerZoo, fast.yaml", "fast")]
        systems = []
        for size, others in by_size.items():
            systems += [*others, *(towerzoo_system(name, f"{text} data.batch_size={size}") for name, text in rows)]
        records, versions = time_to_auc(systems, settings, rounds=rounds, failed=failed), {}
    origin = here("cpu", data="movielens-1m", quick=settings.samples < Settings.samples)
    changes = {"packages": {**versions, **origin.packages}, "threads": settings.threads}
    return Result(suite=records[0].suite, origin=origin.model_copy(update=changes), records=records)
