"""The report of results: one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

import jinja2

from towerzoo.benchmarks.measure.result_file import Result
from towerzoo.benchmarks.measure.summary import curves, is_side_by_side, quantity, scaled, side_by_side
from towerzoo.benchmarks.report.plots import breakdown_bars, ratio_bars, scaling_curves, system_bars, throughput_bars

Picture = dict[str, str]
"""The title and the source of a plot."""


def render_report(results: Sequence[Result]) -> str:
    """Returns the page.

    Args:
        results: Runs of suites.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("towerzoo.benchmarks.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters |= {"quantity": quantity, "scaled": scaled}
    labelled = [(_label(result), result) for result in results]
    by_label = {f"{label}: {record.key}": record for label, result in labelled for record in result.records}
    pairs = {label: record for label, record in by_label.items() if record.pair}
    breakdowns = {label: record.breakdown for label, record in by_label.items() if record.breakdown}
    return templates.get_template("page.html.j2").render(
        results=labelled,
        systems=[
            _picture(f"{label}: {name}", system_bars(medians, unit))
            for label, result in labelled
            for (name, unit), medians in side_by_side(result.records).items()
        ],
        pairs=pairs,
        ratios=_picture("Paired ratios", ratio_bars(pairs)) if pairs else None,
        throughput=[picture for label, result in labelled for picture in _throughput(label, result)],
        scaling=[picture for label, result in labelled for picture in _scaling(label, result)],
        breakdown=_picture("Time of a step", breakdown_bars(breakdowns)) if breakdowns else None,
    )


def _label(result: Result) -> str:
    return f"{result.file_name.removesuffix('.json')} of {result.origin.commit or result.origin.date}"


def _throughput(label: str, result: Result) -> list[Picture]:
    rates = [record for record in result.records if not (record.less_is_better or is_side_by_side(record))]
    measurement = attrgetter("name", "unit")
    return [
        _picture(f"{label}: {name}", throughput_bars(list(members), result.origin.roofline))
        for (name, _), members in groupby(sorted(rates, key=measurement), measurement)
    ]


def _scaling(label: str, result: Result) -> list[Picture]:
    grouped = groupby(curves(result.records), lambda curve: (curve.axis, curve.name, curve.unit))
    return [
        _picture(f"{label}: {name} over {axis.replace('_', ' ')}", scaling_curves(list(members)))
        for (axis, name, _), members in grouped
    ]


def _picture(title: str, svg: str) -> Picture:
    # A data URI, so that the ids of pictures cannot clash.
    return {"title": title, "source": f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"}
