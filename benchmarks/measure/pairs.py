"""Paired timing: two things in alternation, and their ratio pair by pair.

A machine's speed drifts while it is measured; the ratio within a pair does not, so that is what gets claimed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Pair:
    """The outcome of a paired timing.

    Attributes:
        name: What was measured.
        unit: Unit of the values; larger is better.
        value: Median of the thing itself.
        baseline: Median of what it is compared with.
        ratio: Median of value / baseline, pair by pair.
        lowest: Smallest of these ratios.
        highest: Largest of them.
        target: What the ratio should reach.
    """

    name: str
    unit: str
    value: float
    baseline: float
    ratio: float
    lowest: float
    highest: float
    target: float

    def as_dict(self) -> dict[str, str | float]:
        """Returns the fields, for a benchmark's record."""
        return asdict(self)

    def __str__(self) -> str:
        verdict = "reached" if self.ratio >= self.target else "missed"
        return (
            f"{self.name}: {self.value:,.4g} against {self.baseline:,.4g} {self.unit}, "
            f"ratio {self.ratio:.2f} ({self.lowest:.2f} to {self.highest:.2f}), target {self.target:g} {verdict}"
        )


def alternate(
    name: str, measure: Callable[[], float], baseline: Callable[[], float], *, unit: str, target: float, rounds: int = 5
) -> Pair:
    """Runs both `rounds` times in turn, after one warm-up each.

    Args:
        name: What is measured.
        measure: Runs the thing itself once and returns its rate.
        baseline: Runs what it is compared with once and returns its rate.
        unit: Unit of both rates; larger is better.
        target: What the median ratio should reach.
        rounds: Pairs that count.

    Example:
        >>> alternate("sum", lambda: 6.0, lambda: 2.0, unit="rows/s", target=2.5, rounds=3).ratio
        3.0
    """
    measure(), baseline()
    pairs = [(measure(), baseline()) for _ in range(rounds)]
    ratios = [ours / theirs for ours, theirs in pairs]
    return Pair(
        name=name,
        unit=unit,
        value=statistics.median(ours for ours, _ in pairs),
        baseline=statistics.median(theirs for _, theirs in pairs),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        target=target,
    )
