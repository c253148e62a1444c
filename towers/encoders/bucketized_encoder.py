"""The bucketized encoder: a number becomes the learned vector of its bucket."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from towerzoo.datasets import UNKNOWN, Column
from towerzoo.registry import ENCODERS, INITIALIZERS, Spec
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.registry.ranges import Count, Finite
from towerzoo.towers.encoders.column_numbers import ColumnNumbers
from towerzoo.towers.encoders.embedding import fill


@ENCODERS.register("bucketized")
class BucketizedEncoder(nn.Module):
    """A learned vector for each bucket of a number, so that the towers may treat ranges of it quite differently.

    Boundaries are saved with the weights. An unknown number (NaN, or the unknown id) has a row of its own, which starts
    as zeros.

    Args:
        column: The feature: numbers (n,), or ids (n,) of whole numbers.
        dim: Length of the vectors.
        buckets: Buckets of about equally many of the table's known numbers; fewer where many numbers are equal.
        boundaries: Where buckets begin, ascending, in place of quantiles: [18, 30] makes three, below 18, from 18 to
            below 30, and from 30 on.
        init: A registered initializer for the matrix of vectors; none takes that of the tower.

    Raises:
        ConfigError: The feature holds lists or words, or the boundaries do not ascend.
        DataError: Some numbers are infinite.

    Example:
        >>> from towerzoo.datasets import encode_column
        >>> ages = encode_column("age", [17, 18, 29, 30, 70, None])
        >>> encoder = BucketizedEncoder(ages, dim=4, boundaries=[18, 30])
        >>> encoder
        BucketizedEncoder(
          boundaries 18, 30
          (numbers): ColumnNumbers()
          (embedding): Embedding(4, 4)
        )
        >>> encoder.buckets_of(ages.values)
        tensor([0, 1, 2, 2, 3, 3, 0])
    """

    boundaries: Tensor

    def __init__(
        self,
        column: Column,
        *,
        dim: Count,
        buckets: Count = 10,
        boundaries: Annotated[list[Finite], Field(min_length=1)] | None = None,
        init: Annotated[Spec, INITIALIZERS] | None = None,
    ) -> None:
        super().__init__()
        if boundaries and any(one >= other for one, other in pairwise(boundaries)):
            where = "boundaries of encoder 'bucketized'"
            raise ConfigError([Problem(where, "ascending numbers", boundaries, "Sort them, each once.")])
        self.out_features = dim
        self.numbers = ColumnNumbers(column, "bucketized")
        known = self.numbers.known(column)
        begins = np.array(boundaries or (), dtype=np.float32)
        if not boundaries and len(known):
            begins = np.unique(np.quantile(known, np.arange(1, buckets) / buckets).astype(np.float32))
            begins = begins[begins > known.min()]  # nothing is below it
        self.register_buffer("boundaries", torch.from_numpy(begins))
        self.embedding = nn.Embedding(len(begins) + 2, dim)
        fill(self.embedding, init)

    def buckets_of(self, values: Tensor) -> Tensor:
        """Maps numbers or ids (B,) to buckets from 1 (B,); 0 where the number is unknown."""
        numbers = self.numbers(values)
        found = torch.searchsorted(self.boundaries, numbers.contiguous(), right=True) + 1
        return found.masked_fill(numbers.isnan(), UNKNOWN)

    def forward(self, values: Tensor) -> Tensor:
        """Maps numbers or ids (B,) to vectors (B, dim)."""
        vectors: Tensor = self.embedding(self.buckets_of(values))
        return vectors

    def extra_repr(self) -> str:
        """Returns where the buckets begin."""
        return "boundaries " + (", ".join(f"{begin:.6g}" for begin in self.boundaries.tolist()) or "none")
