"""Encoders of numbers: standardised, or in buckets."""

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


class NumberEncoder(Encoder):
    """An encoder of numbers: of a column of numbers, or of ids whose raw values are whole numbers, such as years.

    Args:
        column: The feature: numbers (n,), NaN if unknown, or ids (n,) of whole numbers.
        encoder: Name of the encoder, for messages.

    Raises:
        ConfigError: The feature holds lists, or ids of words.

    Example:
        >>> from towerzoo.datasets import encode_column
        >>> years = encode_column("year", [1995, 1977, None])
        >>> NumberEncoder(years, "numeric").numbers(years.values)
        tensor([  nan, 1995., 1977.,   nan])
    """

    by_id: Tensor | None

    def __init__(self, column: Column, encoder: str) -> None:
        super().__init__(column)
        raw = () if column.vocabulary is None else column.vocabulary.values
        if column.is_list or any(isinstance(value, str) for value in raw):
            expected = f"a feature of numbers, or of whole numbers as ids, for encoder {encoder!r}"
            raise wrong_column(column, expected, "Words take 'embedding', lists 'embedding-bag'.")
        by_id = None if column.vocabulary is None else torch.tensor([math.nan, *raw], dtype=torch.float32)
        self.register_buffer("by_id", by_id, persistent=False)

    def numbers(self, values: Tensor) -> Tensor:
        """Maps the column's values (B,) to numbers (B,), NaN if unknown."""
        return values if self.by_id is None else self.by_id.index_select(0, values)

    def known(self) -> NDArray[np.float64]:
        """Returns the known numbers of the table, without those of the unknown row 0.

        Raises:
            DataError: A number is infinite.
        """
        numbers = self.numbers(self.column.values[1:]).double().numpy()
        if infinite := int(np.isinf(numbers).sum()):
            raise DataError(
                f"feature {self.column.name!r} must be finite numbers, got {infinite} infinite ones. "
                "Correct them, or leave them empty."
            )
        known: NDArray[np.float64] = numbers[~np.isnan(numbers)]
        return known


@ENCODERS.register("numeric")
class NumericEncoder(NumberEncoder):
    """A number at zero mean and unit variance or, for more outputs than one, a learned linear map of it.

    Mean and deviation, or quantiles, are computed over the table's known numbers and saved with the weights. Unknown
    numbers (NaN, or the unknown id) share a learned vector, which starts as zeros: for one output, the mean.

    Args:
        column: The feature: numbers (n,), or ids (n,) of whole numbers.
        dim: Number of outputs.
        transform: What is standardised: `standard`, the number x; `log`, log(1 + x), for counts and prices, where new
            negative numbers count as 0; `quantile`, the share of numbers below x, for any distribution.

    Raises:
        ConfigError: The feature holds lists or words, or negative numbers with `log`.
        DataError: A number is infinite.

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
        super().__init__(column, "numeric")
        self.out_features = dim
        self.transform = transform
        known = self.known()
        if transform == "log":
            if negative := int((known < 0).sum()):
                expected = "numbers of at least 0 for transform 'log'"
                actual = f"{negative} negative of {len(known)}"
                raise ConfigError([Problem(f"feature {column.name!r}", expected, actual, "Use transform: quantile.")])
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
        """Returns the fitted statistics."""
        if self.transform == "quantile":
            return f"quantile, median {self.knots[KNOTS // 2]:.4g}"
        return f"{self.transform}, mean {self.mean:.4g}, std {self.std:.4g}"


def _ranks(knots: Tensor, numbers: Tensor) -> Tensor:
    """Returns the positions of numbers (B,) among ascending knots (K,), from -sqrt(3) to sqrt(3).

    A number that equals several knots gets the middle of their positions.
    """
    last = len(knots) - 1
    inner = numbers.detach()
    low = (torch.searchsorted(knots, inner, right=True) - 1).clamp_min(0)
    high = torch.searchsorted(knots, inner).clamp_max(last)
    gap = knots[high] - knots[low]
    share = ((numbers - knots[low]) / gap.where(gap > 0, 1.0)).where(gap > 0, 0.5)
    return ((low + share * (high - low)) / last - 0.5) * math.sqrt(12)


@ENCODERS.register("bucketized")
class BucketizedEncoder(NumberEncoder):
    """A learned vector for each bucket of a number, so that the towers can treat each range differently.

    Boundaries are saved with the weights. Unknown numbers (NaN, or the unknown id) share a vector, which starts as
    zeros.

    Args:
        column: The feature: numbers (n,), or ids (n,) of whole numbers.
        dim: Length of the vectors.
        buckets: Number of buckets, each with about equally many of the table's known numbers; fewer if many are equal.
        boundaries: Ascending lower limits of buckets, instead of quantiles: [18, 30] makes three buckets, below 18,
            from 18 to below 30, and from 30 on.
        init: A registered initializer of the vectors; None uses the tower's.

    Raises:
        ConfigError: The feature holds lists or words, or the boundaries do not ascend.
        DataError: A number is infinite.

    Example:
        >>> from towerzoo.datasets import encode_column
        >>> ages = encode_column("age", [17, 18, 29, 30, 70, None])
        >>> encoder = BucketizedEncoder(ages, dim=4, boundaries=[18, 30])
        >>> encoder
        BucketizedEncoder(
          boundaries 18, 30
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
        super().__init__(column, "bucketized")
        if boundaries and any(one >= other for one, other in pairwise(boundaries)):
            where = "boundaries of encoder 'bucketized'"
            raise ConfigError([Problem(where, "ascending numbers", boundaries, "Sort them, each once.")])
        self.out_features = dim
        known = self.known()
        begins = np.array(boundaries or (), dtype=np.float32)
        if not boundaries and len(known):
            begins = np.unique(np.quantile(known, np.arange(1, buckets) / buckets).astype(np.float32))
            begins = begins[begins > known.min()]  # a bucket below the minimum would be empty
        self.register_buffer("boundaries", torch.from_numpy(begins))
        self.embedding = nn.Embedding(len(begins) + 2, dim)
        fill(self.embedding, init)

    def buckets_of(self, values: Tensor) -> Tensor:
        """Maps numbers or ids (B,) to buckets (B,) from 1; 0 if the number is unknown."""
        numbers = self.numbers(values)
        buckets = torch.searchsorted(self.boundaries, numbers.contiguous(), right=True) + 1
        return buckets.masked_fill(numbers.isnan(), UNKNOWN)

    def forward(self, values: Tensor) -> Tensor:
        """Maps numbers or ids (B,) to vectors (B, dim)."""
        vectors: Tensor = self.embedding(self.buckets_of(values))
        return vectors

    def extra_repr(self) -> str:
        """Returns the boundaries."""
        return "boundaries " + (", ".join(f"{begin:.6g}" for begin in self.boundaries.tolist()) or "none")
