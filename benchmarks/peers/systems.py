"""The systems that can be measured: TowerZoo's configs, the peers, and the original script."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from towerzoo.registry.errors import RunError, name_hint

WORKERS: Final = Path(__file__).parent / "workers"
BASELINES: Final = {
    "recbole": "recbole_dssm.py",
    "torch-rechub": "torch_rechub_dssm.py",
    "librecommender": "librecommender_two_tower.py",
    "original": "original.py",
}
"""What TowerZoo is compared with, and the file of its worker. The original needs no environment of its own."""


@dataclass(frozen=True)
class System:
    """One system under measurement.

    Attributes:
        name: What tables call it.
        worker: File of its worker.
        python: The interpreter of its virtual environment.
        config: TowerZoo's config; empty for others.
        overrides: Overrides of the config.
    """

    name: str
    worker: Path
    python: Path
    config: str = ""
    overrides: tuple[str, ...] = ()


def peers_python() -> Path:
    """Returns the interpreter of the peers' environment: under $PEERS_VENV, else in .venv-peers of the checkout."""
    given = os.environ.get("PEERS_VENV")
    # Not resolved: the link is what makes it the environment's.
    return (Path(given) if given else Path(__file__).parents[2] / ".venv-peers").absolute() / "bin" / "python"


def towerzoo_system(text: str) -> System:
    """Returns the system of a config with overrides.

    Args:
        text: The config's name and overrides, separated as a shell does.

    Raises:
        RunError: The text is empty or its quotes are not closed.

    Example:
        >>> towerzoo_system("fast trainer.precision=bf16-mixed").overrides
        ('trainer.precision=bf16-mixed',)
    """
    try:
        config, *overrides = shlex.split(text)
    except ValueError:
        raise RunError(
            f"--towerzoo must be a config and KEY.PATH=VALUE overrides, got {text!r}. Try tanh_bn_dropout_first."
        ) from None
    return System(text, WORKERS / "towerzoo_lightning.py", Path(sys.executable), config, tuple(overrides))


def baseline_systems(names: Sequence[str]) -> list[System]:
    """Returns the systems that TowerZoo is compared with.

    Raises:
        RunError: There is no such system, or none is named.
    """
    if not names:
        raise RunError(f"--peers must name at least one system, got none. {name_hint('', BASELINES, 'Peers')}")
    for name in names:
        if name not in BASELINES:
            raise RunError(
                f"--peers must be systems with a worker, got {name!r}. {name_hint(name, BASELINES, 'Peers')}"
            )
    own = Path(sys.executable)
    return [
        System(name, WORKERS / BASELINES[name], own if name == "original" else peers_python())
        for name in dict.fromkeys(names)
    ]
