"""The numeric encoder: a number, brought to zero mean and unit variance."""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from towerzoo.datasets import Column
from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.registry.ranges import Count
from towerzoo.towers.encoders.column_numbers import ColumnNumbers

KNOTS: Final = 257
"""Evenly spaced quantiles between which `quantile` interpolates."""


@ENCODERS.register("numeric")
class NumericEncoder(nn.Module):
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
        super().__init__()
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
