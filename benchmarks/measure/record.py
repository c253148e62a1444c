"""The record of one measurement."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Quantity = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A rate, a time or a ratio: positive and finite, so that ratios of it are."""


class PairedRatio(BaseModel):
    """The ratios to a baseline that was measured in alternation.

    Attributes:
        baseline: Median of the baseline, in the record's unit.
        ratio: Median of value / baseline, pair by pair.
        lowest: Smallest of these ratios.
        highest: Largest of these ratios.
        target: What the ratio should reach.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: Quantity
    ratio: Quantity
    lowest: Quantity
    highest: Quantity
    target: Quantity

    @classmethod
    def of(cls, values: Sequence[float], baseline: Sequence[float], *, target: float) -> PairedRatio:
        """Returns the ratios of values (rounds,) to a baseline's (rounds,), round by round.

        Example:
            >>> PairedRatio.of([10.0, 30.0, 20.0], [5.0, 10.0, 20.0], target=1.0).ratio
            2.0
        """
        ratios = [value / other for value, other in zip(values, baseline, strict=True)]
        return cls(
            baseline=statistics.median(baseline),
            ratio=statistics.median(ratios),
            lowest=min(ratios),
            highest=max(ratios),
            target=target,
        )

    @model_validator(mode="after")
    def _in_order(self) -> PairedRatio:
        _require_order(self.lowest, self.ratio, self.highest)
        return self

    @property
    def verdict(self) -> str:
        """Whether the target was `reached` or `missed`."""
        return "reached" if self.ratio >= self.target else "missed"


class Record(BaseModel):
    """One measurement.

    Attributes:
        suite: The suite that it belongs to.
        name: What was measured.
        params: The parameters, such as `batch_size` and `precision`.
        unit: Unit of the values: `s`, or a rate such as `samples/s`.
        value: Median over the rounds.
        lowest: Smallest value of a round.
        highest: Largest value of a round.
        rounds: Rounds that counted, after a warm-up.
        flops: Floating point operations a sample of the row-by-row model, if they are known.
        roofline_share: Share of the matrix product rate that was measured in the same run, with the same precision and
            number of threads. Above 1 if the work is less than that of the row-by-row model.
        peak_memory: Largest number of bytes in use during the measurement, above those at its start; None if unknown.
        breakdown: Seconds a step by group of operations, if a profile was taken.
        pair: The ratios to a baseline, if there was one.
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

    @classmethod
    def of(cls, values: Sequence[float], **fields: Any) -> Record:
        """Returns the record of the values (rounds,) of all rounds; `fields` are the other attributes."""
        value = statistics.median(values)
        return cls(value=value, lowest=min(values), highest=max(values), rounds=len(values), **fields)

    @model_validator(mode="after")
    def _in_order(self) -> Record:
        _require_order(self.lowest, self.value, self.highest)
        return self

    @property
    def key(self) -> str:
        """The name and the parameters, unique within a suite.

        Example:
            >>> Record.of([1.0], suite="towers", name="tower", params={"batch_size": 1024}, unit="samples/s").key
            'tower (batch_size 1024)'
        """
        return f"{self.name} ({params_text(self.params)})" if self.params else self.name

    @property
    def less_is_better(self) -> bool:
        """Whether the value is a time and not a rate."""
        return self.unit == "s"


def params_text(params: dict[str, Any]) -> str:
    """Returns parameters as readable text.

    Example:
        >>> params_text({"batch_size": 8192, "unique": True, "precision": "bf16"})
        'batch_size 8192, unique, bf16'
        >>> params_text({"unique": False})
        'not unique'
    """
    return ", ".join(
        (name if value else f"not {name}")
        if isinstance(value, bool)
        else value
        if isinstance(value, str)
        else f"{name} {value}"
        for name, value in params.items()
    )


def _require_order(lowest: float, median: float, highest: float) -> None:
    if not lowest <= median <= highest:
        raise ValueError(f"the median must lie between lowest and highest, got {median} with {lowest} and {highest}")
