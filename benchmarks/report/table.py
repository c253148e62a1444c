"""Results as the Markdown tables of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from towerzoo.benchmarks.measure.record import Record, params_text
from towerzoo.benchmarks.measure.result_file import Result
from towerzoo.benchmarks.measure.summary import digits, is_side_by_side, quantity, scaled, side_by_side

Item = TypeVar("Item")
Key = TypeVar("Key")


def markdown_tables(results: Sequence[Result]) -> dict[str, str]:
    """Returns the tables of results by name, without empty ones: `peers`, and `benchmarks` for all other suites."""
    peers = [result for result in results if is_side_by_side(result.records[0])]
    others = [result for result in results if result not in peers]
    tables = {}
    if peers:
        texts = [_time_to_auc(result) if "auc" in result.records[0].params else _rates(result) for result in peers]
        tables["peers"] = "".join(texts) + _origins(peers)
    if others:
        tables["benchmarks"] = _pairs(others) + _best(others) + _origins(others)
    return tables


def _rates(result: Result) -> str:
    """Returns a line per system with its median of each measurement, and one per ratio on equal terms."""
    medians = side_by_side(result.records)
    columns = ["", "batch", "layers", *(f"{name}, {unit}" for name, unit in medians)]
    systems = dict.fromkeys(system for rates in medians.values() for system in rates)
    rows = []
    for name, batch_size, layers in systems:
        values = (rates.get((name, batch_size, layers)) for rates in medians.values())
        cells = (digits(value) if value else "-" for value in values)
        rows.append([name, f"{batch_size:,}", str(layers), *cells])
    ratios = [
        [record.name, f"{record.params['batch_size']:,}", str(record.params["baseline"]), *_pair_cells(record)[:3]]
        for record in result.records
        if record.pair
    ]
    headings = ["on equal terms", "batch", "against", "TowerZoo", "peer", "ratio (lowest to highest)"]
    return _table(columns, rows) + _table(headings, ratios)


def _time_to_auc(result: Result) -> str:
    """Returns a line per system with its time at each batch size, or its best AUC if that is too low, and the best."""
    sizes = sorted({int(record.params["batch_size"]) for record in result.records})
    rows = []
    for name, records in _grouped(result.records, lambda record: str(record.params["system"])).items():
        cells = {
            record.params["batch_size"]: quantity(record.value, "s")
            if record.less_is_better
            else f"(AUC {record.value:.4f} in {record.params['bound']:g} s)"
            for record in records
        }
        times = [record.value for record in records if record.less_is_better]
        best = quantity(min(times), "s") if times else "-"
        rows.append([name, *(cells.get(size, "-") for size in sizes), best])
    auc = result.records[0].params["auc"]
    return _table([f"time to a validation AUC of {auc:g}", *(f"batch {size:,}" for size in sizes), "best"], rows)


def _pairs(results: Sequence[Result]) -> str:
    rows = [
        [f"{_suite(result)}: {record.key}", *_pair_cells(record)]
        for result in results
        for record in result.records
        if record.pair
    ]
    return _table(["measurement", "TowerZoo", "baseline", "ratio (lowest to highest)", "target"], rows)


def _pair_cells(record: Record) -> list[str]:
    pair = record.pair
    assert pair is not None
    return [
        quantity(record.value, record.unit),
        quantity(pair.baseline, record.unit),
        f"{pair.ratio:.2f} ({pair.lowest:.2f} to {pair.highest:.2f})",
        f"{pair.target:g} {pair.verdict}",
    ]


def _best(results: Sequence[Result]) -> str:
    """Returns a line per measurement with its best record; all are in the result files and in the report."""
    rows = []
    for result in results:
        groups = _grouped(
            (record for record in result.records if record.pair is None), lambda record: (record.name, record.unit)
        )
        for (name, unit), records in groups.items():
            best = min(records, key=lambda record: record.value if record.less_is_better else -record.value)
            share = f"{best.roofline_share:.0%}" if best.roofline_share else "-"
            memory = scaled(best.peak_memory, "B") if best.peak_memory is not None else "-"
            at = params_text(best.params) or "-"
            rows.append([f"{_suite(result)}: {name}", str(len(records)), quantity(best.value, unit), at, share, memory])
    return _table(["measurement", "best of", "median", "at", "of the roofline", "peak memory"], rows)


def _origins(results: Sequence[Result]) -> str:
    # Two spaces break a line in Markdown.
    return "".join(
        f"{', '.join(dict.fromkeys(map(_suite, members)))}: {text}.  \n"
        for text, members in _grouped(results, _origin_text).items()
    )


def _origin_text(result: Result) -> str:
    origin = result.origin
    quick = ", quick" if origin.quick else ""
    return (
        f"{origin.device}, {origin.cores} cores, {origin.threads} threads; torch {origin.packages.get('torch')}, "
        f"Python {origin.python}; {origin.data}; commit {origin.commit or '-'}; {origin.date}{quick}"
    )


def _suite(result: Result) -> str:
    return result.suite if result.origin.device_type == "cpu" else f"{result.suite} ({result.origin.device_type})"


def _grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table, or nothing without rows."""
    lines = [headings, ["---"] * len(headings), *rows]
    escaped = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    return "".join(f"| {line} |\n" for line in escaped) + "\n" if rows else ""
