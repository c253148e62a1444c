"""Records as lines of text and as curves, and readable quantities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from towerzoo.benchmarks.measure.record import Record, params_text

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(value: float, unit: str) -> str:
    """Returns a rate or a time with three significant digits or more.

    Example:
        >>> quantity(26_712.3, "samples/s"), quantity(0.01234, "s"), quantity(2.5, "loads/s")
        ('26,712 samples/s', '0.0123 s', '2.5 loads/s')
    """
    return f"{digits(value)} {unit}"


def digits(value: float) -> str:
    """Returns a number with three significant digits, or with all digits before the point.

    Example:
        >>> digits(26_712.3), digits(0.01234)
        ('26,712', '0.0123')
    """
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def scaled(value: float, unit: str) -> str:
    """Returns a number with a metric prefix.

    Example:
        >>> scaled(177e9, "FLOP/s"), scaled(3_500_000, "B")
        ('177 GFLOP/s', '3.5 MB')
    """
    size, prefix = next(((size, prefix) for size, prefix in PREFIXES if value >= size), (1.0, ""))
    return f"{value / size:.3g} {prefix}{unit}"


def summary_lines(records: Sequence[Record]) -> Iterator[str]:
    """Returns a line for each record; those with a baseline come last."""
    for record in sorted(records, key=lambda record: record.pair is not None):
        text = f"{record.suite}: {record.key}: {quantity(record.value, record.unit)}"
        share = f", {record.roofline_share:.0%} of the roofline" if record.roofline_share else ""
        memory = f", {scaled(record.peak_memory, 'B')} more memory" if record.peak_memory is not None else ""
        if record.pair is None:
            spread = f" ({quantity(record.lowest, record.unit)} to {quantity(record.highest, record.unit)})"
            yield f"{text}{spread}{share}{memory}"
            continue
        pair = record.pair
        yield (
            f"{text} against {quantity(pair.baseline, record.unit)}, ratio {pair.ratio:.2f} "
            f"({pair.lowest:.2f} to {pair.highest:.2f}), target {pair.target:g} {pair.verdict}{share}{memory}"
        )


AXES = ("rows", "catalogue", "batch_size")
"""Parameters that curves are drawn over."""


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
        """Returns a record's position on the axis."""
        return float(record.params[self.axis])


def curves(records: Sequence[Record]) -> list[Curve]:
    """Returns the curves of records, in the order of their first records.

    Example:
        >>> records = [
        ...     Record.of([1.0], suite="s", name="step", params={"batch_size": size, "bf16": True}, unit="rows/s")
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
    return [
        Curve(axis, name, unit, label or name, sorted(members, key=lambda record: float(record.params[axis])))
        for (axis, name, unit, label), members in grouped.items()
        if len(members) > 1
    ]


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
