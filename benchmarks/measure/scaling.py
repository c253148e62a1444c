"""Which records make up a curve: those that differ in rows, catalogue or batch size alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from towerzoo.benchmarks.measure.record import Record, params_text

AXES = ("rows", "catalogue", "batch_size")
"""Parameters that growth is shown over."""


@dataclass(frozen=True)
class Curve:
    """A measurement over one of its parameters.

    Attributes:
        axis: The parameter.
        name: What was measured.
        unit: Unit of the values.
        label: The other parameters.
        records: Two or more records, by ascending axis.
    """

    axis: str
    name: str
    unit: str
    label: str
    records: list[Record]

    def at(self, record: Record) -> float:
        """Returns where on the axis a record is."""
        return float(record.params[self.axis])


def curves(records: Sequence[Record]) -> list[Curve]:
    """Returns all curves that records make up, in the order of their first records.

    Example:
        >>> records = [
        ...     Record(suite="s", name="step", params={"batch_size": size, "precision": "bf16"}, unit="samples/s",
        ...            value=1.0, lowest=1.0, highest=1.0, rounds=3)
        ...     for size in (8192, 1024)
        ... ]
        >>> [(curve.axis, curve.label, [curve.at(record) for record in curve.records]) for curve in curves(records)]
        [('batch_size', 'bf16', [1024.0, 8192.0])]
    """
    grouped: dict[tuple[str, str, str, str], list[Record]] = {}
    for axis in AXES:
        for record in records:
            if isinstance(record.params.get(axis), int | float):
                others = {name: value for name, value in record.params.items() if name != axis}
                grouped.setdefault((axis, record.name, record.unit, params_text(others)), []).append(record)
    found = []
    for (axis, name, unit, label), members in grouped.items():
        by_place = {float(record.params[axis]): record for record in members}
        if len(by_place) > 1:
            found.append(Curve(axis, name, unit, label or name, [by_place[place] for place in sorted(by_place)]))
    return found
