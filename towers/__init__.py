"""Turns a star schema and a checked config into a DSSM, its metrics and saved runs.

Importing this package registers TowerZoo's own parts.
"""

from towerzoo.towers import (
    activations,
    blocks,
    candidate_losses,
    encoders,
    history_encoder,
    initializers,
    losses,
    optimizers,
    poolings,
    samplers,
    scores,
)
from towerzoo.towers.dssm import DSSM
from towerzoo.towers.tower import Tower

__all__ = [
    "DSSM",
    "Tower",
    "activations",
    "blocks",
    "candidate_losses",
    "encoders",
    "history_encoder",
    "initializers",
    "losses",
    "optimizers",
    "poolings",
    "samplers",
    "scores",
]
