"""Systems that were measured side by side, each with its own rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from towerzoo.benchmarks.measure.record import Record


@dataclass(frozen=True)
class SideBySide:
    """One measure of several systems.

    Attributes:
        name: What was measured.
        unit: Unit of the rates.
        ours: Median rate of each of TowerZoo's systems.
        others: Median rate of each other system.
    """

    name: str
    unit: str
    ours: dict[str, float] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict)

    @property
    def rates(self) -> dict[str, float]:
        """The median rate of each system, TowerZoo's first."""
        return self.ours | self.others


def is_side_by_side(record: Record) -> bool:
    """Returns whether a record is of one of TowerZoo's systems against another system."""
    return record.pair is not None and {"system", "baseline"} <= record.params.keys()


def side_by_side(records: Sequence[Record]) -> list[SideBySide]:
    """Returns each measure that records have of systems side by side, in the order of their first records.

    Example:
        >>> from towerzoo.benchmarks.peers.comparison import compare
        >>> values = {"fast": [30.0], "tanh": [20.0], "recbole": [10.0]}
        >>> side_by_side(list(compare("train", values, ["fast", "tanh"], unit="samples/s")))[0].rates
        {'fast': 30.0, 'tanh': 20.0, 'recbole': 10.0}
    """
    measures: dict[tuple[str, str], SideBySide] = {}
    for record in filter(is_side_by_side, records):
        assert record.pair is not None
        measure = measures.setdefault((record.name, record.unit), SideBySide(record.name, record.unit))
        measure.ours[str(record.params["system"])] = record.value
        measure.others[str(record.params["baseline"]).removeprefix("against ")] = record.pair.baseline
    return list(measures.values())
