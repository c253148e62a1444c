"""The second rank of `test_ranks.py`: trains the runs beside the one that it is given, then dies with a word."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from pytorch_lightning import seed_everything

from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.fit import fit
from towerzoo.towers.training.module import build_module
from towerzoo.towers.training.rank_processes import HOST, LONGEST_WAIT, join, ready_key

if __name__ == "__main__":
    run, rank, size, port, device = sys.argv[1:]
    seed_everything(99, verbose=False)  # nothing may hang on what was drawn before
    store = torch.distributed.TCPStore(HOST, int(port), int(size), is_master=False, timeout=LONGEST_WAIT)
    store.set(ready_key(int(rank)), "")
    ranks = join(store, int(rank), int(size), torch.device(device))
    for path in sorted(Path(run).parent.iterdir()):
        experiment, _ = read_experiment(path / "config.yaml")
        data = load_data(experiment)
        fit(experiment, data, build_module(experiment, data.schema), RunFolder(path), device, ranks)
    print("out of breath", flush=True)
    os._exit(3)
