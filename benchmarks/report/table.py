"""Results as the Markdown table that README holds."""

from __future__ import annotations

from collections.abc import Sequence

from towerzoo.benchmarks.measure.record import Record, params_text
from towerzoo.benchmarks.measure.result_file import Result
from towerzoo.benchmarks.measure.summary import digits, is_side_by_side, quantity, scaled, side_by_side


def markdown_table(results: Sequence[Result]) -> str:
    """Returns the paired ratios, what systems measured side by side did, and of all else the best record.

    Of systems side by side only those ratios are shown of which more is asked than not to be slower. All records are in
    the result files and in the report; the table is what fits a page.
    """
    pairs = [
        (result, record)
        for result in results
        for record in result.records
        if record.pair and not (is_side_by_side(record) and record.pair.target == 1)
    ]
    lines = []
    if pairs:
        lines += ["| measure | TowerZoo | baseline | ratio (lowest to highest) | target |", "|---|---|---|---|---|"]
        lines += [_pair_line(result, record) for result, record in pairs]
        lines.append("")
    for result in results:
        lines += _side_by_side_lines(result)
    best = [_best_line(result, records) for result in results for records in _by_name(result)]
    if best:
        lines += ["| measure | best of | median | at | of the roofline | peak memory |", "|---|---|---|---|---|---|"]
        lines += [*best, ""]
    origins: dict[str, list[str]] = {}
    for result in results:
        origins.setdefault(_origin_text(result), []).append(_suite(result))
    # Two spaces break a line in Markdown.
    lines += [f"{', '.join(dict.fromkeys(suites))}: {origin}.  " for origin, suites in origins.items()]
    return "\n".join(lines) + "\n"


def _pair_line(result: Result, record: Record) -> str:
    assert record.pair is not None
    pair = record.pair
    values = quantity(record.value, record.unit), quantity(pair.baseline, record.unit)
    ratio = f"{pair.ratio:.2f} ({pair.lowest:.2f} to {pair.highest:.2f})"
    target = f"{pair.target:g} {pair.verdict}"
    return _row(f"{_suite(result)}: {record.key}", *values, ratio, target)


def _side_by_side_lines(result: Result) -> list[str]:
    """Returns a line a system, with its median of each measure; none where nothing was measured side by side."""
    measures = side_by_side(result.records)
    systems = dict.fromkeys([name for one in measures for name in one.ours])
    systems |= dict.fromkeys([name for one in measures for name in one.others])
    rows = [
        _row(name, *(digits(one.rates[name]) if name in one.rates else "-" for one in measures)) for name in systems
    ]
    heading = [
        _row("side by side", *(f"{one.name}, {one.unit}" for one in measures)),
        f"|{'---|' * (1 + len(measures))}",
    ]
    return [*heading, *rows, ""] if rows else []


def _best_line(result: Result, records: list[Record]) -> str:
    best = min(records, key=lambda record: record.value if record.less_is_better else -record.value)
    share = f"{best.roofline_share:.0%}" if best.roofline_share else "-"
    memory = scaled(best.peak_memory, "B") if best.peak_memory is not None else "-"
    value = quantity(best.value, best.unit)
    name = f"{_suite(result)}: {best.name}"
    return _row(name, str(len(records)), value, params_text(best.params) or "-", share, memory)


def _by_name(result: Result) -> list[list[Record]]:
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in result.records:
        if record.pair is None:
            groups.setdefault((record.name, record.unit), []).append(record)
    return list(groups.values())


def _suite(result: Result) -> str:
    return result.suite if result.origin.device_type == "cpu" else f"{result.suite} ({result.origin.device_type})"


def _origin_text(result: Result) -> str:
    origin = result.origin
    quick = ", quick" if origin.quick else ""
    return (
        f"{origin.device}, {origin.cores} cores, {origin.threads} threads; torch {origin.packages.get('torch')}, "
        f"Python {origin.python}; {origin.data}; commit {origin.commit or '-'}; {origin.date}{quick}"
    )


def _row(*cells: str) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
