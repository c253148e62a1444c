"""Encoders of ids: a learned vector for each id."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from towerzoo.datasets import UNKNOWN, Column
from towerzoo.registry import ENCODERS, INITIALIZERS, POOLINGS, Spec
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.registry.ranges import Count, NonNegative, Rate
from towerzoo.towers.encoders import Encoder
from towerzoo.towers.layers.initializers import initialize
from towerzoo.towers.layers.poolings import WeightedSum, built_pooling

FEW_IDS = 64
"""Largest number of ids for which sums of vectors are a matrix product, in an eighth of the time of gathering them."""


@ENCODERS.register("embedding")
class EmbeddingEncoder(Encoder):
    """A learned vector for each id of a single-valued feature.

    The vector of the unknown id starts as zeros and is trained by the events whose value is missing.

    Args:
        column: The feature: ids (n,).
        dim: Length of the vectors.
        init: A registered initializer of the vectors; None uses the tower's.
        sparse: Whether a step computes gradients for, and updates, only the vectors of ids in the batch: faster from
            about a hundred thousand ids on. Adam then keeps the momentum of all other vectors.
        penalty: Factor of the squared length of an event's vector, added to its loss, >= 0. It keeps the vectors of
            rare ids near zero; frequent ids are free to leave it.
        id_dropout: Share of the ids, in [0, 1), that training replaces at random by the unknown id, whose vector so
            learns to represent unseen ids.

    Raises:
        ConfigError: The feature holds lists or numbers.
    """

    def __init__(
        self,
        column: Column,
        *,
        dim: Count,
        init: Annotated[Spec, INITIALIZERS] | None = None,
        sparse: bool = False,
        penalty: NonNegative = 0.0,
        id_dropout: Rate = 0.0,
    ) -> None:
        super().__init__(column)
        self.penalty = penalty
        self.id_dropout = id_dropout
        if column.vocabulary is None or column.is_list:
            raise wrong_column(column, "a feature of single ids for encoder 'embedding'", "Lists take 'embedding-bag'.")
        self.out_features = dim
        self.embedding = nn.Embedding(column.cardinality, dim, sparse=sparse)
        fill(self.embedding, init)

    def forward(self, ids: Tensor) -> Tensor:
        """Maps ids (B,) to vectors (B, dim)."""
        if self.id_dropout and self.training:
            ids = drop_ids(ids, self.id_dropout)
        vectors: Tensor = self.embedding(ids)
        if self.penalty and self.training:
            self.cost = self.penalty * vectors.square().sum(dim=1).mean()
        return vectors


@ENCODERS.register("embedding-bag")
class EmbeddingBagEncoder(Encoder):
    """A learned vector for each id of a multi-valued feature, pooled over a row's ids.

    The padding vector is always zero.

    Args:
        column: The feature: padded id lists (n, L).
        dim: Length of the vectors.
        max_length: Slots of a row; longer lists lose their last ids, shorter ones are padded.
        pooling: A registered pooling op.
        init: A registered initializer of the vectors; None uses the tower's.
        sparse: Same as for `embedding`.
        id_dropout: Share of the ids, in [0, 1), that training drops from their lists at random.

    Raises:
        ConfigError: The feature holds single ids or numbers.
    """

    def __init__(
        self,
        column: Column,
        *,
        dim: Count,
        max_length: Count = 6,
        pooling: Annotated[Spec, POOLINGS] = "mean",
        init: Annotated[Spec, INITIALIZERS] | None = None,
        sparse: bool = False,
        id_dropout: Rate = 0.0,
    ) -> None:
        super().__init__(column)
        self.id_dropout = id_dropout
        if column.vocabulary is None or not column.is_list:
            raise wrong_column(column, "a feature of id lists for encoder 'embedding-bag'", "Ids take 'embedding'.")
        self.out_features = dim
        self.max_length = max_length
        self.embedding = nn.Embedding(column.cardinality, dim, padding_idx=UNKNOWN, sparse=sparse)
        self.pooling = built_pooling(pooling, dim)
        self.by_product = column.cardinality <= FEW_IDS and not sparse and isinstance(self.pooling, WeightedSum)
        fill(self.embedding, init)

    def forward(self, ids: Tensor) -> Tensor:
        """Maps id lists (B, L) to vectors (B, dim)."""
        ids = ids[:, : self.max_length]
        if missing := self.max_length - ids.shape[1]:
            ids = functional.pad(ids, (0, missing), value=UNKNOWN)
        if self.id_dropout and self.training:
            ids = drop_ids(ids, self.id_dropout)
        if self.by_product:
            return _product(ids, self.pooling.weights(ids != UNKNOWN), self.embedding.weight)
        pooled: Tensor = self.pooling(self.embedding(ids), ids != UNKNOWN)
        return pooled


def _product(ids: Tensor, weights: Tensor, vectors: Tensor) -> Tensor:
    """Returns the sums (B, D) of vectors (V, D) of ids (B, L) with weights (B, L), as one matrix product."""
    with torch.autocast(ids.device.type, enabled=False):  # sums need float32
        shares = weights.new_zeros((len(ids), len(vectors))).scatter_add_(1, ids.long(), weights)
        return shares.to(vectors.dtype) @ vectors


@torch.no_grad()
def fill(embedding: nn.Embedding, init: Spec | None) -> None:
    """Initialises a matrix of vectors; the vector of the unknown id is zero."""
    initialize(init or "torch-default", embedding.weight)
    embedding.weight[UNKNOWN] = 0.0


def wrong_column(column: Column, expected: str, next_step: str) -> ConfigError:
    """Returns the error for a feature whose kind of values an encoder does not take."""
    actual = "numbers" if column.vocabulary is None else "id lists" if column.is_list else "single ids"
    return ConfigError([Problem(f"feature {column.name!r}", expected, actual, next_step)])


def drop_ids(ids: Tensor, rate: float) -> Tensor:
    """Replaces each of ids, of any shape, by the unknown id with probability `rate`, in [0, 1).

    Example:
        >>> drop_ids(torch.tensor([3, 1, 2]), 0.999999)
        tensor([0, 0, 0])
    """
    return ids.masked_fill(torch.rand(ids.shape, device=ids.device) < rate, UNKNOWN)
