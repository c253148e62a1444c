"""Checks in a separate process that a bundle agrees with its run.

`python -m towerzoo.towers.export.check RUN FOLDER` prints the parity as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from towerzoo.datasets import Table, Vocabulary
from towerzoo.registry.errors import ExportError, TowerZooError, one_line
from towerzoo.towers.encoders.inputs import Input
from towerzoo.towers.export.programs import SIDES
from towerzoo.towers.export.reader import Bundle
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.recommend.recommender import Recommender

TOLERANCE: Final = 1e-5
"""Largest difference between two factors: absolute up to 1, relative beyond."""

CHECKED_ROWS: Final = 8_192
BATCH_SIZE: Final = 1_024


def check_in_fresh_process(run: Path, folder: Path) -> dict[str, Any]:
    """Runs `check` in a fresh process, which shares no state with the export.

    Raises:
        ExportError: The bundle does not agree with the run, or the process failed.
    """
    command = [sys.executable, "-m", "towerzoo.towers.export.check", str(run.resolve()), str(folder.resolve())]
    # Not in the current folder: -m would import modules from there.
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if done.returncode == 1 and last.startswith("error: "):
            raise ExportError(last.removeprefix("error: "))
        raise ExportError(f"The check of the bundle failed with exit status {done.returncode}: {last}")
    parity: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return parity


def check(run: Path, folder: Path) -> dict[str, Any]:
    """Compares the factors that a bundle and its run compute from the same raw values.

    Returns:
        `users` and `items`: rows compared, including the unknown row; `program` and `onnx`: the largest difference.

    Raises:
        ExportError: They differ.
        TowerZooError: A file of the run is missing or damaged.
    """
    recommender = Recommender.open(run)
    bundle = Bundle(folder)
    tables = {"user": recommender.users, "item": recommender.items}
    encode: dict[str, Callable[[Tensor], Tensor]] = {
        "user": partial(recommender.model.user_factors, as_of="test"),
        "item": recommender.model.item_factors,
    }
    rows = {side: evenly_spaced(0, len(tables[side]), CHECKED_ROWS) for side in SIDES}
    differences = {"program": 0.0, "onnx": 0.0}
    for side in SIDES:
        program = torch.export.load(folder / f"{side}_tower.pt2").module()
        specs = [
            Input(**{name: value for name, value in spec.items() if name in Input._fields})
            for spec in bundle.about["towers"][side]["inputs"]
        ]
        tower = getattr(recommender.model, f"{side}_tower")
        for batch in (rows[side][:1], rows[side][-1:], *torch.split(rows[side], BATCH_SIZE)):
            expected = encode[side](batch).numpy()
            raw = _raw_rows(specs, tower, tables[side], recommender.items.ids, batch)
            inputs = bundle.inputs(side, raw)
            actual = {
                "program": program({name: torch.from_numpy(values) for name, values in inputs.items()}).numpy(),
                "onnx": bundle.run(side, inputs),
            }
            for name, factors in actual.items():
                difference = _require_close(f"the {side} tower's {name}", factors, expected)
                differences[name] = max(differences[name], difference)
    _require_close(
        "item_vectors.npy", np.load(folder / "item_vectors.npy"), recommender.item_vectors.factors[1:].numpy()
    )
    return {"users": len(rows["user"]), "items": len(rows["item"]), **differences}


def evenly_spaced(start: int, stop: int, most: int) -> Tensor:
    """Returns the numbers from start to below stop; of more than `most`, as many evenly spaced ones."""
    return torch.linspace(start, stop - 1, min(most, stop - start), dtype=torch.float64).round().long()


def _require_close(where: str, actual: NDArray[Any], expected: NDArray[Any]) -> float:
    if actual.shape != expected.shape:
        raise ExportError(f"{where} must be factors of shape {expected.shape}, got {actual.shape}.")
    difference = float((np.abs(actual - expected) / np.maximum(np.abs(expected), 1)).max(initial=0))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{where} must agree with torch within {TOLERANCE:g}, got a difference of {difference:.2g}. "
            "Try other versions of torch, onnxscript and onnxruntime."
        )
    return difference


def _raw_rows(
    inputs: Sequence[Input], tower: Tower, table: Table, item_ids: Vocabulary, rows: Tensor
) -> list[dict[str, Any]]:
    """Returns the raw features of table rows (B,) by input; `item_ids` are the raw ids of items in histories."""
    values = {spec.name: _raw_values(spec, tower, table, item_ids, rows) for spec in inputs}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _raw_values(spec: Input, tower: Tower, table: Table, item_ids: Vocabulary, rows: Tensor) -> list[Any]:
    if spec.kind == "events":
        values = tower.encoder(spec.name).inputs(rows, as_of="test").tolist()
        lists = [[id for id in ids if id != spec.padding] for ids in values]
        return [[(item_ids.decode([id % spec.items])[0], id // spec.items) for id in ids] for ids in lists]
    return table.column(spec.vocabulary or spec.name).raw(rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        print(json.dumps(check(Path(sys.argv[1]), Path(sys.argv[2]))))  # noqa: T201
    except TowerZooError as error:
        sys.exit(f"error: {one_line(error)}.")
