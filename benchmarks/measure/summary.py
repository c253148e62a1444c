"""Records as lines of text, and quantities as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from towerzoo.benchmarks.measure.record import Record

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(value: float, unit: str) -> str:
    """Returns a rate or a time with three or more digits that count.

    Example:
        >>> quantity(26_712.3, "samples/s"), quantity(0.01234, "s"), quantity(2.5, "loads/s")
        ('26,712 samples/s', '0.0123 s', '2.5 loads/s')
    """
    return f"{digits(value)} {unit}"


def digits(value: float) -> str:
    """Returns a number with three digits, or all before the point.

    Example:
        >>> digits(26_712.3), digits(0.01234)
        ('26,712', '0.0123')
    """
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def scaled(value: float, unit: str) -> str:
    """Returns a large number with a prefix.

    Example:
        >>> scaled(177e9, "FLOP/s"), scaled(3_500_000, "B")
        ('177 GFLOP/s', '3.5 MB')
    """
    size, prefix = next(((size, prefix) for size, prefix in PREFIXES if value >= size), (1.0, ""))
    return f"{value / size:.3g} {prefix}{unit}"


def summary_lines(records: Sequence[Record]) -> Iterator[str]:
    """Returns a line for each record, those with a baseline last."""
    for record in sorted(records, key=lambda record: record.pair is not None):
        text = f"{record.suite}: {record.key}: {quantity(record.value, record.unit)}"
        share = f", {record.roofline_share:.0%} of the roofline" if record.roofline_share else ""
        memory = f", {scaled(record.peak_memory, 'B')} more memory" if record.peak_memory is not None else ""
        if record.pair is None:
            spread = f" ({quantity(record.lowest, record.unit)} to {quantity(record.highest, record.unit)})"
            yield f"{text}{spread}{share}{memory}"
            continue
        pair, verdict = record.pair, "reached" if record.pair.reached else "missed"
        yield (
            f"{text} against {quantity(pair.baseline, record.unit)}, ratio {pair.ratio:.2f} "
            f"({pair.lowest:.2f} to {pair.highest:.2f}), target {pair.target:g} {verdict}{share}{memory}"
        )
