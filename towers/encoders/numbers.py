"""The numeric encoder: a number, brought to zero mean and unit variance."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from towerzoo.datasets import UNKNOWN, Column
from towerzoo.registry import ENCODERS, INITIALIZERS, Spec
from towerzoo.registry.errors import ConfigError, DataError, Problem
from towerzoo.registry.ranges import Count, Finite
from towerzoo.towers.encoders import Encoder
from towerzoo.towers.encoders.embedding import fill, wrong_column

KNOTS: Final = 257
"""Evenly spaced quantiles between which `quantile` interpolates."""


@ENCODERS.register("numeric")
class NumericEncoder(Encoder):
    """A number at zero mean and unit variance or, for more outputs than one, a learned linear map of it.

    Mean, deviation or quantiles are those of the table's known numbers and are saved with the weights. An unknown
    number (NaN, or the unknown id) has a learned vector of its own, which starts as zeros: for one output, the mean.

    Args:
        column: The feature: numbers (n,), or ids (n,) of whole numbers.
        dim: Number of outputs.
        transform: What becomes standard: `standard`, the number x itself; `log`, log(1 + x), for counts and prices, a
            negative one of somebody new counting as 0; `quantile`, the share of numbers below x, whatever their
            distribution.

    Raises:
        ConfigError: The feature holds lists or words, or `log` is asked of negative numbers.
        DataError: Some numbers are infinite.

    Example:
        >>> from towerzoo.datasets import encode_column
        >>> years = encode_column("year", [1990, 2000, 2010, None])
        >>> NumericEncoder(years, transform="quantile")(years.values).flatten().tolist()
        [0.0, -1.7320507764816284, 0.0, 1.7320507764816284, 0.0]
    """

    mean: Tensor
    std: Tensor
    knots: Tensor

    def __init__(
        self,
        column: Column,
        *,
        dim: Count = 1,
        transform: Literal["standard", "log", "quantile"] = "standard",
    ) -> None:
        super().__init__(column)
        self.out_features = dim
        self.transform = transform
        self.numbers = ColumnNumbers(column, "numeric")
        known = self.numbers.known(column)
        if transform == "log":
            if negative := int((known < 0).sum()):
                expected = "numbers of at least 0 for transform 'log'"
                found = f"{negative} negative of {len(known)}"
                raise ConfigError([Problem(f"feature {column.name!r}", expected, found, "Take transform: quantile.")])
            known = np.log1p(known)
        if transform == "quantile":
            knots = np.quantile(known, np.linspace(0, 1, KNOTS)) if len(known) else np.zeros(KNOTS)
            self.register_buffer("knots", torch.tensor(knots, dtype=torch.float32))
        else:
            varies = bool(len(known)) and known.min() < known.max()  # the deviation of equal numbers may round above 0
            self.register_buffer("mean", torch.tensor(known.mean() if len(known) else 0.0, dtype=torch.float32))
            self.register_buffer("std", torch.tensor(known.std() if varies else 1.0, dtype=torch.float32))
        self.linear = nn.Linear(1, dim) if dim > 1 else nn.Identity()
        self.unknown = nn.Parameter(torch.zeros(dim))

    def forward(self, values: Tensor) -> Tensor:
        """Maps numbers or ids (B,) to outputs (B, dim)."""
        numbers = self.numbers(values)
        known = ~numbers.isnan()
        numbers = numbers.where(known, 0.0)
        if self.transform == "quantile":
            standard = _ranks(self.knots, numbers)
        else:
            standard = ((numbers.clamp_min(0).log1p() if self.transform == "log" else numbers) - self.mean) / self.std
        outputs: Tensor = self.linear(standard.unsqueeze(1)).where(known.unsqueeze(1), self.unknown)
        return outputs

    def extra_repr(self) -> str:
        """Returns what has been fitted."""
        if self.transform == "quantile":
            return f"quantile, median {self.knots[KNOTS // 2]:.4g}"
        return f"{self.transform}, mean {self.mean:.4g}, std {self.std:.4g}"


def _ranks(knots: Tensor, numbers: Tensor) -> Tensor:
    """Returns the places of numbers (B,) among ascending knots (K,), from -sqrt(3) to sqrt(3).

    A number that several knots equal stands in their middle.
    """
    last = len(knots) - 1
    inner = numbers.detach()
    low = (torch.searchsorted(knots, inner, right=True) - 1).clamp_min(0)
    high = torch.searchsorted(knots, inner).clamp_max(last)
    gap = knots[high] - knots[low]
    share = ((numbers - knots[low]) / gap.where(gap > 0, 1.0)).where(gap > 0, 0.5)
    place = low + share * (high - low)
    return (place / last - 0.5) * math.sqrt(12)


@ENCODERS.register("bucketized")
class BucketizedEncoder(Encoder):
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
        super().__init__(column)
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


class ColumnNumbers(nn.Module):
    """A feature's numbers: its own, or the whole numbers that are the raw values of its ids, such as years.

    Args:
        column: The feature: numbers (n,), NaN where one is unknown, or ids (n,) of whole numbers.
        encoder: Name of the encoder that asks, for messages.

    Raises:
        ConfigError: The feature holds lists, or ids of words.

    Example:
        >>> from towerzoo.datasets import encode_column
        >>> years = encode_column("year", [1995, 1977, None])
        >>> ColumnNumbers(years, "numeric")(years.values)
        tensor([  nan, 1995., 1977.,   nan])
    """

    by_id: Tensor | None

    def __init__(self, column: Column, encoder: str) -> None:
        super().__init__()
        self.name = column.name
        values = () if column.vocabulary is None else column.vocabulary.values
        if column.is_list or any(isinstance(value, str) for value in values):
            expected = f"a feature of numbers, or of whole numbers as ids, for encoder {encoder!r}"
            raise wrong_column(column, expected, "Words take 'embedding', lists 'embedding-bag'.")
        by_id = None if column.vocabulary is None else torch.tensor([float("nan"), *values], dtype=torch.float32)
        self.register_buffer("by_id", by_id, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Maps the column's values (B,) to numbers (B,), NaN where unknown."""
        return values if self.by_id is None else self.by_id.index_select(0, values)

    def known(self, column: Column) -> NDArray[np.float64]:
        """Returns the known numbers of all rows but that of nobody.

        Raises:
            DataError: Some are infinite.
        """
        numbers = self(column.values[1:]).double().numpy()
        if infinite := int(np.isinf(numbers).sum()):
            raise DataError(
                f"feature {self.name!r} must be finite numbers, got {infinite} infinite ones. "
                "Correct them, or leave them empty."
            )
        known: NDArray[np.float64] = numbers[~np.isnan(numbers)]
        return known
