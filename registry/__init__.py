"""Turns names into objects and YAML into a checked experiment. Imports no torch and no sibling.

Here is the catalogue: every registry with the contract of its parts.
"""

from __future__ import annotations

from typing import Final

from towerzoo.registry.registry import Registry as Registry
from towerzoo.registry.registry import Spec as Spec

BLOCKS: Final = Registry(
    "block",
    "called with in_features and out_features, and returns an nn.Module or the list of nn.Module that make up one "
    "layer of a tower, mapping (B, in_features) to (B, out_features)",
    context=("in_features", "out_features"),
    homes=("towerzoo.towers.layers.blocks",),
)
ACTIVATIONS: Final = Registry(
    "activation",
    "called without context, and returns an elementwise nn.Module",
    homes=("towerzoo.towers.layers.activations",),
)
POOLINGS: Final = Registry(
    "pooling",
    "called with dim, and returns a callable that takes vectors (B, L, dim) and mask (B, L), true where a vector "
    "counts, and returns (B, dim)",
    context=("dim",),
    homes=("towerzoo.towers.layers.poolings",),
)
ENCODERS: Final = Registry(
    "encoder",
    "called with the feature's column (a datasets.Column), and returns an nn.Module with an out_features attribute "
    "that maps the column's values (B,) or (B, L) to (B, out_features)",
    context=("column",),
    key="encoder",
    homes=("towerzoo.towers.encoders",),
)
INITIALIZERS: Final = Registry(
    "initializer",
    "called with weight, a parameter of at least two dimensions, which it fills in place",
    context=("weight",),
    homes=("towerzoo.towers.layers.initializers",),
)
SCORES: Final = Registry(
    "score",
    "called with n_users and n_items (rows of the star schema), and returns an nn.Module with the methods user_factors "
    "and item_factors, which map vectors (B, D) and their rows (B,) to factors (B, F); their dot product is the logit. "
    "Its method pairs(users, items, user, item) of vectors and rows, if any, is a faster way to the logits (B,)",
    context=("n_users", "n_items"),
    homes=("towerzoo.towers.model.scores",),
)
LOSSES: Final = Registry(
    "loss",
    "called without context, and returns an nn.Module. One of pairs maps logits (B,), labels (B,) and, where the data "
    "has them, weights (B,) to a mean loss (); one of candidates is a towers.losses.candidates.CandidateLoss",
    homes=("towerzoo.towers.losses.pairs", "towerzoo.towers.losses.sampled"),
)
OPTIMIZERS: Final = Registry(
    "optimizer",
    "called with parameters (an iterable of nn.Parameter), and returns a torch.optim.Optimizer",
    context=("parameters",),
    homes=("towerzoo.towers.training.optimizers",),
)
SAMPLERS: Final = Registry(
    "sampler",
    "called with item_counts (n_items,), the training events of each item, and returns an object with draw() and "
    "expected(), see towers.losses.candidates.Sampler",
    context=("item_counts",),
    homes=("towerzoo.towers.losses.samplers",),
)
SPLITS: Final = Registry(
    "split",
    "called with user (N,) and timestamp (N,) or None, and returns a datasets.Split of row numbers",
    context=("user", "timestamp"),
    homes=("towerzoo.datasets.splits",),
)
DATASETS: Final = Registry(
    "dataset",
    "called without context and without reading anything, and returns an object with columns() and load(), "
    "see datasets.Dataset",
    homes=("towerzoo.datasets.movielens", "towerzoo.datasets.synthetic", "towerzoo.datasets.tabular"),
)
INDEXES: Final = Registry(
    "index",
    "called with item_vectors (I, F), the factors of the rows of the items table, and returns an object that finds the "
    "items of the largest dot product with user vectors, see towers.retrieval.exact_index.Index",
    context=("item_vectors",),
    homes=("towerzoo.towers.retrieval",),
)

CATALOGUE: Final[dict[str, Registry]] = {
    "blocks": BLOCKS,
    "activations": ACTIVATIONS,
    "poolings": POOLINGS,
    "encoders": ENCODERS,
    "initializers": INITIALIZERS,
    "scores": SCORES,
    "losses": LOSSES,
    "optimizers": OPTIMIZERS,
    "samplers": SAMPLERS,
    "splits": SPLITS,
    "datasets": DATASETS,
    "indexes": INDEXES,
}
"""Every registry by the plural of its kind."""
