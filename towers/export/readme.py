"""The README of a bundle, with an example to run, and the summary that the command prints."""

from __future__ import annotations

import math
import pprint
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from towerzoo.datasets import Table, Vocabulary
from towerzoo.towers.encoders.inputs import Input
from towerzoo.towers.export.programs import SIDES, Programs, Side


def render_readme(about: dict[str, Any], programs: dict[Side, Programs], items: Table) -> str:
    """Returns the README as Markdown.

    Args:
        about: Content of bundle.json.
        programs: Both towers.
        items: The items table.
    """
    templates = jinja2.Environment(  # noqa: S701  (Markdown)
        loader=jinja2.PackageLoader("towerzoo.towers.export", "."), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    examples = {
        side: pprint.pformat(_example(programs[side], items.ids), sort_dicts=False, width=100) for side in SIDES
    }
    return templates.get_template("README.md.j2").render(about=about, examples=examples, texts=[*items.texts])


def _example(exported: Programs, item_ids: Vocabulary) -> dict[str, Any]:
    """Returns raw values that the model knows; an item has no id, as if it were new."""
    tower = exported.tower
    values = {spec.name: _example_value(spec, tower.table, item_ids) for spec in tower.inputs}
    if tower.side == "item" and len(values) > 1:
        values.pop(tower.table.key, None)
    return values


def _example_value(spec: Input, table: Table, item_ids: Vocabulary) -> Any:
    if spec.kind == "events":
        return [(item, spec.kinds - 1) if spec.kinds > 1 else item for item in item_ids.values[:3]]
    column = table.column(spec.vocabulary or spec.name)
    if column.vocabulary is None:
        number = float(column.values.nanmedian())
        return None if math.isnan(number) else round(number, 4)
    known = column.vocabulary.values
    return list(known[:2]) if column.is_list else next(iter(known), None)


def summary_lines(about: dict[str, Any], to: Path) -> Iterator[str]:
    """Summarises an export, line by line.

    Args:
        about: Content of bundle.json.
        to: The bundle.
    """
    for side in SIDES:
        names = ", ".join(spec["name"] for spec in about["towers"][side]["inputs"])
        yield f"{side} tower: {names} to {about['factors']} factors"
    parity = about["parity"]
    yield (
        f"largest difference from torch: ONNX {parity['onnx']:.1e}, exported programs {parity['program']:.1e} "
        f"({parity['users']} users, {parity['items']} items; limit {parity['tolerance']:g})"
    )
    recalls = ", ".join(f"{recall:.1%} at {k}" for k, recall in about["int8_recall"].items())
    if recalls:
        yield f"recall of int8 item vectors: {recalls}"
    yield f"bundle: {to} (format {about['version']}, opset {about['opset']}); start with its README.md"
