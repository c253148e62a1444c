"""The record of one measurement."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Quantity = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A rate, a time or a ratio: above 0 and finite, so that it can be divided by."""
SECONDS = "s"
"""The one unit of which less is better; all others are rates."""


class PairedRatio(BaseModel):
    """What a measurement's alternation with a baseline gave.

    Attributes:
        baseline: Median of the baseline, in the record's unit.
        ratio: Median of value / baseline, pair by pair.
        lowest: Smallest of these ratios.
        highest: Largest of them.
        target: What the ratio should reach.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: Quantity
    ratio: Quantity
    lowest: Quantity
    highest: Quantity
    target: Quantity

    @model_validator(mode="after")
    def _in_order(self) -> PairedRatio:
        _require_order(self.lowest, self.ratio, self.highest)
        return self

    @property
    def reached(self) -> bool:
        """Whether the target was reached."""
        return self.ratio >= self.target


class Record(BaseModel):
    """One measurement.

    Attributes:
        suite: The suite that it is of.
        name: What was measured.
        params: With which parameters, such as `batch_size` and `precision`.
        unit: Unit of the values: `s`, or a rate such as `samples/s`.
        value: Median over the rounds.
        lowest: Smallest value of a round.
        highest: Largest value of a round.
        rounds: Rounds that counted, after a warm-up.
        flops: Floating point operations a sample, where they are known: those of the row-by-row model.
        roofline_share: Share of the matrix product rate that was measured in the same run in this precision and with as
            many threads. Above 1 where the work is less than that of the row-by-row model.
        peak_memory: Most bytes in use while it was measured, above those at its start; None where that is not known.
        breakdown: Seconds a step by group of operations, where a profile was taken.
        pair: The alternation with a baseline, where there was one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    name: str
    params: dict[str, bool | int | float | str] = Field(default_factory=dict)
    unit: str
    value: Quantity
    lowest: Quantity
    highest: Quantity
    rounds: int = Field(ge=1)
    flops: Quantity | None = None
    roofline_share: Quantity | None = None
    peak_memory: int | None = Field(default=None, ge=0)
    breakdown: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = None
    pair: PairedRatio | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Record:
        _require_order(self.lowest, self.value, self.highest)
        return self

    @property
    def key(self) -> str:
        """What tells it from the other records of its suite.

        Example:
            >>> Record(suite="towers", name="tower", params={"batch_size": 1024}, unit="samples/s", value=1.0,
            ...        lowest=1.0, highest=1.0, rounds=1).key
            'tower (batch_size 1024)'
        """
        return f"{self.name} ({params_text(self.params)})" if self.params else self.name

    @property
    def less_is_better(self) -> bool:
        """Whether the value is a time and not a rate."""
        return self.unit == SECONDS


def _require_order(lowest: float, median: float, highest: float) -> None:
    if not lowest <= median <= highest:
        raise ValueError(f"the median must lie from lowest to highest, got {median} with {lowest} and {highest}")


def params_text(params: dict[str, Any]) -> str:
    """Returns parameters as people read them.

    Example:
        >>> params_text({"batch_size": 8192, "unique": True, "precision": "bf16"})
        'batch_size 8192, unique, bf16'
        >>> params_text({"unique": False})
        'not unique'
    """
    texts = []
    for name, value in params.items():
        if isinstance(value, bool):
            texts.append(name if value else f"not {name}")
        else:
            texts.append(value if isinstance(value, str) else f"{name} {value}")
    return ", ".join(texts)


def paired_ratio(pair: Pair) -> PairedRatio:
    """Returns what a pair says beside the value itself."""
    return PairedRatio(
        baseline=pair.baseline, ratio=pair.ratio, lowest=pair.lowest, highest=pair.highest, target=pair.target
    )


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
