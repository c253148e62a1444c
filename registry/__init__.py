"""Turns names into objects and YAML into a checked experiment. Imports no torch and no sibling."""

from towerzoo.registry.catalogue import (
    ACTIVATIONS,
    BLOCKS,
    CATALOGUE,
    DATASETS,
    ENCODERS,
    INDEXES,
    INITIALIZERS,
    LOSSES,
    OPTIMIZERS,
    POOLINGS,
    SAMPLERS,
    SCORES,
    SPLITS,
)
from towerzoo.registry.registry import Registry, Spec

__all__ = [
    "ACTIVATIONS",
    "BLOCKS",
    "CATALOGUE",
    "DATASETS",
    "ENCODERS",
    "INDEXES",
    "INITIALIZERS",
    "LOSSES",
    "OPTIMIZERS",
    "POOLINGS",
    "SAMPLERS",
    "SCORES",
    "SPLITS",
    "Registry",
    "Spec",
]
