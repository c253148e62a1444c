"""Turns a star schema and a checked config into a DSSM, its metrics and saved runs.

Importing this package registers TowerZoo's own parts.
"""

from towerzoo.towers import (
    activations,
    blocks,
    bucketized_encoder,
    candidate_losses,
    encoders,
    faiss_index,
    hashed_embedding,
    history_encoder,
    indexes,
    initializers,
    letter_trigrams,
    losses,
    numeric_encoder,
    optimizers,
    poolings,
    pretrained,
    qdrant_index,
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
    "bucketized_encoder",
    "candidate_losses",
    "encoders",
    "faiss_index",
    "hashed_embedding",
    "history_encoder",
    "indexes",
    "initializers",
    "letter_trigrams",
    "losses",
    "numeric_encoder",
    "optimizers",
    "poolings",
    "pretrained",
    "qdrant_index",
    "samplers",
    "scores",
]
