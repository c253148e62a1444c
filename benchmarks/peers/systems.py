"""The systems of the comparison, and the settings that all of them share."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from towerzoo.registry.errors import PeerError, name_hint
from towerzoo.towers.model.build import read_experiment

WORKERS: Final = Path(__file__).parent / "workers"
PEERS: Final = {
    "LibRecommender": "librecommender_two_tower.py",
    "RecBole": "recbole_dssm.py",
    "torch-rechub": "torch_rechub_dssm.py",
    "original script": "original.py",
}
"""The systems that TowerZoo is compared with, and their workers. The original script runs in TowerZoo's environment."""
SAME_MODEL: Final = "tanh_bn_dropout_first"
"""The config whose sizes, batch and precision the peers have."""
BFLOAT16, DISTINCT, LARGE = "trainer.precision=bf16-mixed", "training.unique=true", "data.batch_size=16384"
TOWERZOO: Final = (
    ("TowerZoo, same model", SAME_MODEL),
    ("TowerZoo + bfloat16", f"{SAME_MODEL} {BFLOAT16}"),
    ("TowerZoo + bfloat16 + distinct rows", f"{SAME_MODEL} {BFLOAT16} {DISTINCT}"),
    ("TowerZoo + bfloat16 + distinct rows", f"{SAME_MODEL} {BFLOAT16} {DISTINCT} {LARGE}"),
    ("TowerZoo, fast.yaml", "fast"),
    ("TowerZoo, same model", f"{SAME_MODEL} {LARGE}"),
)
"""TowerZoo's rows of the comparison: name, and config with overrides."""
BATCH_SIZES: Final = (1_024, 4_096, 16_384)
"""The first is the common one; the best of the three counts in time to AUC."""


@dataclass(frozen=True)
class System:
    """One system under measurement.

    Attributes:
        name: Its name in tables.
        worker: File of its worker.
        python: The interpreter of its virtual environment.
        batch_size: Events per training batch.
        layers: Layers of each tower.
        precision: Lightning's name of the precision that it trains in.
        unique: Whether it encodes each distinct user and item of a batch once.
        config: TowerZoo's config; empty for other systems.
        overrides: Overrides of the config.
    """

    name: str
    worker: Path
    python: Path
    batch_size: int
    layers: int
    precision: str = "32-true"
    unique: bool = False
    config: str = ""
    overrides: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its name and batch size, unique within a run."""
        return f"{self.name}, batch {self.batch_size:,}"

    @property
    def terms(self) -> tuple[int, int, str, bool]:
        """What two systems must share for a ratio of their rates to be fair."""
        return self.batch_size, self.layers, self.precision, self.unique

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of its records."""
        return {"system": self.name, "batch_size": self.batch_size, "layers": self.layers, "precision": self.precision}


@dataclass(frozen=True)
class Settings:
    """The settings of a run. The sizes are those of configs/tanh_bn_dropout_first.yaml.

    Attributes:
        data: Folder with the raw files of MovieLens-1M.
        threads: CPU threads of a system.
        samples: About how many samples a timed training takes.
        target_auc: Validation AUC at which time-to-auc stops, in [0, 1]; None measures rates.
        bound: Seconds after which it stops at the end of the epoch.
        seed: Seed of split, weights and batch order.
        embedding: Length of every embedding.
        widths: Output width of each layer of both towers.
        dropout: Share of values set to 0 in training, in [0, 1).
        lr: Adam's learning rate.
    """

    data: Path
    threads: int
    samples: int = 409_600
    target_auc: float | None = None
    bound: float = 600.0
    seed: int = 42
    embedding: int = 64
    widths: tuple[int, ...] = (256, 256, 256)
    dropout: float = 0.3
    lr: float = 1e-3

    def line(self, system: System, scratch: Path) -> str:
        """Returns the line of JSON that starts a system's worker; `scratch` is a folder for that worker alone."""
        more = {
            "data": str(self.data.resolve()),
            "scratch": str(scratch),
            "batch_size": system.batch_size,
            "steps": max(1, self.samples // system.batch_size),
            "config": system.config,
            "overrides": system.overrides,
        }
        return json.dumps({**asdict(self), **more})


def peer_systems(names: Iterable[str], batch_size: int) -> list[System]:
    """Returns peers at a batch size; the original script, which takes a row at a time, only at the common one.

    Their interpreter is that of $PEERS_VENV, by default of .venv-peers in the checkout.

    Raises:
        PeerError: There is no such peer.
    """
    names = list(names)
    for name in names:
        if name not in PEERS:
            raise PeerError(f"--peer must name a peer, got {name!r}. {name_hint(name, PEERS, 'Peers')}")
    # Not resolved: the link to Python belongs to the environment.
    environment = Path(os.environ.get("PEERS_VENV") or Path(__file__).parents[2] / ".venv-peers").absolute()
    theirs = environment / "bin" / "python"
    pythons = {name: Path(sys.executable) if name == "original script" else theirs for name in names}
    return [
        System(name, WORKERS / PEERS[name], pythons[name], batch_size=batch_size, layers=len(Settings.widths))
        for name in names
        if name != "original script" or batch_size == BATCH_SIZES[0]
    ]


def towerzoo_system(name: str, text: str) -> System:
    """Returns the system of a config with overrides, separated as in a shell.

    Raises:
        ConfigError: The config or an override is invalid.

    Example:
        >>> towerzoo_system("TowerZoo", "fast data.batch_size=4096").terms
        (4096, 2, 'auto', True)
    """
    config, *overrides = shlex.split(text)
    experiment, _ = read_experiment(config, overrides)
    return System(
        name,
        WORKERS / "towerzoo_lightning.py",
        Path(sys.executable),
        batch_size=experiment.data.batch_size,
        layers=len(experiment.user_tower.widths),
        precision=experiment.trainer.precision,
        unique=experiment.training.unique,
        config=config,
        overrides=tuple(overrides),
    )
