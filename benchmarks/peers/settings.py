"""What every system is told alike: data, sizes, batch, threads, steps, seed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from towerzoo.benchmarks.peers.systems import System


@dataclass(frozen=True)
class Settings:
    """The settings of a run. The sizes are those of configs/tanh_bn_dropout_first.yaml.

    Attributes:
        data: Folder with the raw files of MovieLens-1M.
        threads: CPU threads of a system.
        steps: Steps of a timed training.
        target_auc: Validation AUC at which time-to-auc stops, in [0, 1].
        bound: Seconds after which it stops at the end of the epoch.
        seed: Seed of split, weights and batch order.
        batch_size: Events a training batch.
        embedding: Length of every embedding.
        widths: Output width of each layer of both towers.
        dropout: Share of values set to 0 in training, in [0, 1).
        lr: Adam's learning rate.
    """

    data: Path
    threads: int
    steps: int
    target_auc: float = 0.81
    bound: float = 600.0
    seed: int = 42
    batch_size: int = 1024
    embedding: int = 64
    widths: tuple[int, ...] = (256, 256, 256)
    dropout: float = 0.3
    lr: float = 1e-3

    def line(self, system: System, scratch: Path) -> str:
        """Returns the line of JSON that a worker is started with.

        Args:
            system: The worker's system.
            scratch: A folder that the worker has to itself.
        """
        own = {"config": system.config, "overrides": system.overrides, "scratch": str(scratch)}
        return json.dumps({**asdict(self), "data": str(self.data.resolve()), **own})
