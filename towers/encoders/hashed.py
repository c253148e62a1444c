"""Hashed ids: raw values share a fixed number of vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from towerzoo.datasets import UNKNOWN, Column
from towerzoo.registry import ENCODERS, INITIALIZERS, POOLINGS, Spec
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.registry.ranges import Count, Rate, Seed
from towerzoo.towers.encoders import Encoder
from towerzoo.towers.encoders.embedding import drop_ids, fill, wrong_column
from towerzoo.towers.layers.poolings import built_pooling

MOST_HASHES: Final = 8
"""Independent 64-bit numbers in the longest digest of BLAKE2b."""


@ENCODERS.register("hashed-embedding")
class HashedEmbeddingEncoder(Encoder):
    """A fixed number of learned vectors, chosen by the hash of an id's raw value.

    Memory does not grow with the number of ids, and a raw value has the same vectors in every vocabulary. With
    `hashes: 2` an id is the sum of two vectors, and only ids that share both collide: about 2 n / buckets^2 of n ids,
    compared with n / buckets for one hash. The unknown id has its own vector, which starts as zeros.

    Args:
        column: The feature: ids (n,), or padded id lists (n, L).
        dim: Length of the vectors.
        buckets: Vectors that the known ids share.
        hashes: Vectors summed for an id, from 1 to 8.
        seed: Seed of the hash.
        pooling: A registered pooling op for id lists; None means `mean`.
        init: A registered initializer of the vectors; None uses the tower's.
        sparse: Same as for `embedding`.
        id_dropout: Same as for `embedding` and `embedding-bag`.

    Attributes:
        collision_rate: Share of the known ids, in [0, 1], that share all their vectors with another id.

    Raises:
        ConfigError: The feature holds numbers, or single ids have a pooling.

    Sources: Weinberger et al., ICML 2009, section 2 (one hash); Svenstrup et al., NeurIPS 2017, section 3 (several;
    here without a weight for each id, whose number would grow with the ids).

    Example:
        >>> from towerzoo.datasets import encode_column
        >>> zip_codes = encode_column("zip_code", [f"{number:05}" for number in range(1000)])
        >>> HashedEmbeddingEncoder(zip_codes, dim=8, buckets=200, hashes=2)
        HashedEmbeddingEncoder(
          1000 ids in 200 buckets by 2 hashes, collision rate 5.20%
          (embedding): Embedding(201, 8)
        )
    """

    rows: Tensor

    def __init__(
        self,
        column: Column,
        *,
        dim: Count,
        buckets: Count,
        hashes: Annotated[int, Field(ge=1, le=MOST_HASHES)] = 1,
        seed: Seed = 0,
        pooling: Annotated[Spec, POOLINGS] | None = None,
        init: Annotated[Spec, INITIALIZERS] | None = None,
        sparse: bool = False,
        id_dropout: Rate = 0.0,
    ) -> None:
        super().__init__(column)
        if column.vocabulary is None:
            raise wrong_column(column, "a feature of ids for encoder 'hashed-embedding'", "Numbers take 'numeric'.")
        if pooling is not None and not column.is_list:
            where = f"pooling of encoder 'hashed-embedding' of feature {column.name!r}"
            raise ConfigError([Problem(where, "null for single ids", pooling, "Remove it.")])
        self.out_features = dim
        self.buckets = buckets
        self.id_dropout = id_dropout
        hashed = hashed_rows(column.vocabulary.values, buckets=buckets, hashes=hashes, seed=seed)
        self.collision_rate = _collision_rate(hashed)
        rows = np.vstack([np.full((1, hashes), UNKNOWN), hashed + 1]).astype(np.int32)
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        self.embedding = nn.Embedding(buckets + 1, dim, padding_idx=UNKNOWN if column.is_list else None, sparse=sparse)
        self.pooling = built_pooling(pooling or "mean", dim) if column.is_list else None
        fill(self.embedding, init)

    def forward(self, ids: Tensor) -> Tensor:
        """Maps ids (B,) or id lists (B, L) to vectors (B, dim)."""
        if self.id_dropout and self.training:
            ids = drop_ids(ids, self.id_dropout)
        rows = self.rows.index_select(0, ids.flatten()).view(*ids.shape, -1)
        vectors: Tensor = self.embedding(rows).sum(dim=-2)
        return vectors if self.pooling is None else self.pooling(vectors, ids != UNKNOWN)

    def extra_repr(self) -> str:
        """Returns the numbers of ids and buckets, and the collision rate."""
        n_ids, hashes = len(self.rows) - 1, self.rows.shape[1]
        return f"{n_ids} ids in {self.buckets} buckets by {hashes} hashes, collision rate {self.collision_rate:.2%}"


def hashed_rows(values: Iterable[int | str], *, buckets: int, hashes: int = 1, seed: int = 0) -> NDArray[np.int64]:
    """Hashes raw values, as text, with BLAKE2b to rows (N, hashes) in [0, buckets).

    Example:
        >>> hashed_rows(["94110", "55117"], buckets=1000, hashes=2)
        array([[635,  24],
               [933, 721]])
    """
    key = seed.to_bytes(8, "little")
    digests = b"".join(
        hashlib.blake2b(str(value).encode("utf-8", "surrogatepass"), digest_size=8 * hashes, key=key).digest()
        for value in values
    )
    numbers = np.frombuffer(digests, dtype="<u8").reshape(-1, hashes)
    rows: NDArray[np.int64] = (numbers % np.uint64(buckets)).astype(np.int64)
    return rows


def _collision_rate(hashed: NDArray[np.int64]) -> float:
    if not len(hashed):
        return 0.0
    _, counts = np.unique(np.sort(hashed, axis=1), axis=0, return_counts=True)  # a sum has no order
    return float(counts[counts > 1].sum() / len(hashed))
