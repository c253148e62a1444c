"""Plots of records: systems side by side, throughput against the roofline, scaling, a step's time, paired ratios."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from towerzoo.benchmarks.measure.record import Record, params_text
from towerzoo.benchmarks.measure.roofline import Roofline
from towerzoo.benchmarks.measure.summary import Curve, System, digits

BAR = 0.28
"""Height of a bar in inches."""
LETTER = 0.07
"""Approximate width of a letter of a bar's label in inches."""
NUMBERS = FuncFormatter(lambda value, _: f"{value:,.10g}")
"""Plain numbers, without powers of ten."""


def system_bars(medians: Mapping[System, float], unit: str) -> str:
    """Returns an SVG with a bar and the median of each system, TowerZoo's in a color of their own."""
    figure, axes = _bars([f"{name}, batch {batch_size:,}, {layers} layers" for name, batch_size, layers in medians])
    for row, ((name, *_), value) in enumerate(medians.items()):
        bars = axes.barh(row, value, color="C0" if name.startswith("TowerZoo") else "C7")
        axes.bar_label(bars, [digits(value)], padding=3, fontsize="small")
    axes.set_xlabel(f"{_plain(unit)}: median")
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.margins(x=0.15)
    return _svg(figure)


def throughput_bars(records: Sequence[Record], roofline: Roofline | None) -> str:
    """Returns an SVG with a bar for each record, and a mark at the roofline.

    Args:
        records: Records of one unit.
        roofline: The device's best rates; without them there are no marks.
    """
    figure, axes = _bars([params_text(record.params) or record.name for record in records])
    for row, record in enumerate(records):
        spread = [[record.value - record.lowest], [record.highest - record.value]]
        axes.barh(row, record.value, xerr=spread, color="C0", ecolor="#444")
        if record.flops and record.roofline_share:
            # From the share, since the record's number of threads may differ from the roofline's.
            bound = record.value / record.roofline_share
            axes.plot([bound, bound], [row - 0.4, row + 0.4], color="C3")
            text, point = f"{record.roofline_share:.0%} of the roofline", (max(bound, record.highest), row)
            axes.annotate(text, point, (4, 0), textcoords="offset points", va="center", fontsize="small")
    if roofline is not None and any(record.flops for record in records):
        axes.plot([], [], color="C3", label="matrix products alone")
        figure.legend(loc="outside lower center", fontsize="small")
    axes.set_xlabel(f"{_plain(records[0].unit)}: median, lowest to highest")
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.margins(x=0.3)
    axes.set_xlim(left=0)
    return _svg(figure)


def scaling_curves(curves: Sequence[Curve]) -> str:
    """Returns an SVG with a line for each curve over one axis, and a panel of peak memory if it is known."""
    memory = any(point.peak_memory is not None for curve in curves for point in curve.records)
    figure = Figure(figsize=(11 if memory else 6.5, 4.2), layout="constrained")
    panels = figure.subplots(1, 2 if memory else 1, squeeze=False)[0]
    for index, curve in enumerate(curves):
        color, label = f"C{index % 10}", _plain(curve.label)
        values = [(curve.at(record), record.value) for record in curve.records]
        panels[0].plot(*zip(*values, strict=True), color=color, marker=".", label=label)
        grown = [(curve.at(point), point.peak_memory / 1e6) for point in curve.records if point.peak_memory is not None]
        if grown:
            panels[1].plot(*zip(*grown, strict=True), color=color, marker=".")
    for axes, text in zip(panels, (curves[0].unit, "peak memory above the start (MB)"), strict=False):
        axes.set_xscale("log")
        ticks = sorted({curve.at(record) for curve in curves for record in curve.records})
        axes.set_xticks(ticks, [f"{tick:,.10g}" for tick in ticks])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(NUMBERS)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(_plain(curves[0].axis.replace("_", " ")))
        axes.set_ylabel(_plain(text))
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
    return _svg(figure)


def breakdown_bars(breakdowns: Mapping[str, Mapping[str, float]]) -> str:
    """Returns an SVG with a stacked bar for each step, in milliseconds by group of operations."""
    figure, axes = _bars(list(breakdowns))
    groups = list(dict.fromkeys(group for breakdown in breakdowns.values() for group in breakdown))
    for index, group in enumerate(groups):
        for row, breakdown in enumerate(breakdowns.values()):
            names = list(breakdown)
            before = sum(breakdown[name] for name in names[: names.index(group)]) if group in breakdown else 0.0
            axes.barh(row, 1e3 * breakdown.get(group, 0.0), left=1e3 * before, color=f"C{index % 10}")
        axes.barh(0, 0, color=f"C{index % 10}", label=_plain(group))
    axes.set_xlabel("milliseconds a step")
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    return _svg(figure)


def ratio_bars(records: Mapping[str, Record]) -> str:
    """Returns an SVG with a bar for each paired ratio, and a mark at its target."""
    figure, axes = _bars(list(records))
    for row, record in enumerate(records.values()):
        assert record.pair is not None
        pair = record.pair
        spread = [[pair.ratio - pair.lowest], [pair.highest - pair.ratio]]
        color = "C2" if pair.verdict == "reached" else "C1"
        # Bars start at 1, where nothing is gained: a logarithmic axis has no 0.
        axes.barh(row, pair.ratio - 1, left=1, xerr=spread, color=color, ecolor="#444")
        axes.plot([pair.target, pair.target], [row - 0.4, row + 0.4], color="C3")
    axes.plot([], [], color="C3", label="target")
    axes.set_xscale("log")
    axes.axvline(1, color="#444", linewidth=0.8)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.set_xlabel("ratio to the baseline: median, lowest to highest")
    figure.legend(loc="outside lower center", fontsize="small")
    return _svg(figure)


def _bars(labels: Sequence[str]) -> tuple[Figure, Axes]:
    # Bars keep room for the numbers below them, however long the labels.
    width = max(11.0, 6.0 + LETTER * max(map(len, labels)))
    figure = Figure(figsize=(width, 1.2 + BAR * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.margins(y=0.5 / len(labels))
    axes.set_yticks(range(len(labels)), [_plain(label) for label in labels], fontsize="small")
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    axes.locator_params(axis="x", nbins=6)
    return figure, axes


def _plain(text: str) -> str:
    # In matplotlib, dollars enclose a formula and a leading underscore hides a label from the legend.
    return f"{' ' if text.startswith('_') else ''}{text}".replace("$", r"\$")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Text is kept as text, which is small. Without a date and with a salt, equal records give equal pages.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "towerzoo"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
