"""The program of every rank but the first: it trains on its share of every batch, and writes nothing.

Its arguments are RUN RANK SIZE PORT DEVICE.
"""

from __future__ import annotations

import os
import sys
import threading

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from towerzoo.registry.errors import TowerZooError
from towerzoo.towers.device import settle_process
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.runs.tables import require_same_data
from towerzoo.towers.training.fit import fit
from towerzoo.towers.training.module import build_module
from towerzoo.towers.training.rank_processes import HOST, LONGEST_WAIT, join, ready_key


def follow(run: RunFolder, rank: int, size: int, port: int, device: torch.device) -> None:
    """Trains a run together with the first rank.

    Args:
        run: The run, with its config and tables.
        rank: Index of this process, from 1.
        size: Number of ranks.
        port: Port of the first rank's store.
        device: The device that computes.

    Raises:
        TowerZooError: The data is not the run's, or training failed.
    """
    experiment, _ = read_experiment(run.config)
    settle_process(device)
    data = load_data(experiment)
    require_same_data(run, data, experiment)
    module = build_module(experiment, data.schema, trained=run.last.exists())
    store = TCPStore(HOST, port, size, is_master=False, timeout=LONGEST_WAIT)
    store.set(ready_key(rank), "")
    fit(experiment, data, module, run, device.type, join(store, rank, size, device))
    distributed.destroy_process_group()


def _end_with_the_first() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main(run: str, rank: str, size: str, port: str, device: str) -> None:
    """Trains, and prints an error as one line."""
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        follow(RunFolder.open(run), int(rank), int(size), int(port), torch.device(device))
    except TowerZooError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
