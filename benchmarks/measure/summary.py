"""Records as lines of text and as curves, and readable quantities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


System = tuple[str, int, int]
"""Name, batch size and layers of a system."""


def is_side_by_side(record: Record) -> bool:
    """Returns whether a record belongs to one of several systems that were measured in turn."""
    return "system" in record.params


def side_by_side(records: Sequence[Record]) -> dict[tuple[str, str], dict[System, float]]:
    """Returns the medians of systems: by name and unit of the measurement, then by system, TowerZoo's last.

    A ratio holds the median of its baseline, whose batch size and layers are those of the system itself.

    Example:
        >>> from towerzoo.benchmarks.measure.record import PairedRatio
        >>> params = {"system": "TowerZoo", "baseline": "RecBole", "batch_size": 1024, "layers": 3}
        >>> pair = PairedRatio.of([30.0], [10.0], target=1.0)
        >>> side_by_side([Record.of([30.0], suite="s", name="train", params=params, unit="rows/s", pair=pair)])
        {('train', 'rows/s'): {('RecBole', 1024, 3): 10.0, ('TowerZoo', 1024, 3): 30.0}}
    """
    medians: dict[tuple[str, str], dict[System, float]] = {}
    for record in filter(is_side_by_side, records):
        rates = medians.setdefault((record.name, record.unit), {})
        batch_size, layers = int(record.params["batch_size"]), int(record.params["layers"])
        rates[str(record.params["system"]), batch_size, layers] = record.value
        if record.pair is not None:
            rates.setdefault((str(record.params["baseline"]), batch_size, layers), record.pair.baseline)
    return {
        key: dict(sorted(rates.items(), key=lambda item: item[0][0].startswith("TowerZoo")))
        for key, rates in medians.items()
    }
