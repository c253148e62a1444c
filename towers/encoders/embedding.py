"""Encoders: a feature's column becomes a dense vector."""

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
"""Ids up to which a sum of vectors is a product of matrices, which takes an eighth of the time of gathering them."""


@ENCODERS.register("embedding")
class EmbeddingEncoder(Encoder):
    """A learned vector for each id of a single-valued feature.

    The unknown id starts as the zero vector and is trained by the events whose value is missing.

    Args:
        column: The feature: ids (n,).
        dim: Length of the vectors.
        init: A registered initializer for the matrix of vectors; none takes that of the tower.
        sparse: Whether a step computes the gradients of, and an Adam or SGD optimizer updates, those vectors alone that
            the batch holds: faster from some hundred thousand ids on. Adam then leaves the others' momentum alone.
        penalty: What the squared length of an event's vector adds to its loss, so that rare ids stay near the mean of
            all and frequent ones are free to leave it.
        id_dropout: Share of the ids that training replaces by the unknown one, at random, so that its vector learns to
            stand for ids that were never seen.

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

    The padding vector is zero and stays zero.

    Args:
        column: The feature: padded id lists (n, L).
        dim: Length of the vectors.
        max_length: Slots a row; longer lists lose their last ids, shorter ones are padded.
        pooling: A registered pooling op.
        init: A registered initializer for the matrix of vectors; none takes that of the tower.
        sparse: As of `embedding`.
        id_dropout: Share of the ids that training leaves out of their lists, at random.

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
    """Returns weighted sums (B, D) of vectors (V, D) by ids (B, L), as a product with how much of each id a row has."""
    with torch.autocast(ids.device.type, enabled=False):  # sums of ids are sums in float32
        shares = weights.new_zeros((len(ids), len(vectors))).scatter_add_(1, ids.long(), weights)
        return shares.to(vectors.dtype) @ vectors


@torch.no_grad()
def fill(embedding: nn.Embedding, init: Spec | None) -> None:
    """Initialises a matrix of vectors; that of the unknown id is zero."""
    initialize(init or "torch-default", embedding.weight)
    embedding.weight[UNKNOWN] = 0.0


def wrong_column(column: Column, expected: str, next_step: str) -> ConfigError:
    """Returns what to raise for a feature whose values are not of the kind that an encoder takes."""
    found = "numbers" if column.vocabulary is None else "id lists" if column.is_list else "single ids"
    return ConfigError([Problem(f"feature {column.name!r}", expected, found, next_step)])


def drop_ids(ids: Tensor, rate: float) -> Tensor:
    """Returns ids of any shape, each replaced by the unknown one with a chance; torch's generator draws.

    Args:
        ids: Ids.
        rate: The chance, in [0, 1).

    Example:
        >>> drop_ids(torch.tensor([3, 1, 2]), 0.999999)
        tensor([0, 0, 0])
    """
    return ids.masked_fill(torch.rand(ids.shape, device=ids.device) < rate, UNKNOWN)
