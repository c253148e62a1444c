"""Checks a bundle against the run that it was made from, as a process of its own.

`python -m towerzoo.towers.export.check RUN FOLDER` prints what was found as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from towerzoo.datasets import Table, Vocabulary
from towerzoo.registry.errors import ExportError, TowerZooError
from towerzoo.towers.encoders.history import NO_EVENT, HistoryEncoder
from towerzoo.towers.export.reader import Bundle
from towerzoo.towers.export.tower import SIDES, Input, Side
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.recommend.recommender import Recommender

TOLERANCE: Final = 1e-5
"""The largest difference between two factors; of factors beyond 1, as a share of them."""

MOST_ROWS: Final = 8_192
AT_ONCE: Final = 1_024


class Parity(NamedTuple):
    """How near a bundle comes to its run.

    Attributes:
        users: Users that were compared, the unknown one among them.
        items: Items that were compared, the unknown one among them.
        program: Largest difference of the torch.export programs' factors from those of torch.
        onnx: Largest difference of the ONNX models' factors from those of torch.
    """

    users: int
    items: int
    program: float
    onnx: float


def check_in_fresh_process(run: Path, folder: Path) -> Parity:
    """Checks a bundle in a process that has not made it.

    Raises:
        ExportError: The bundle does not agree with the run, or the process failed.
    """
    command = [sys.executable, "-m", "towerzoo.towers.export.check", str(run.resolve()), str(folder.resolve())]
    # In the bundle's folder, not in that of the caller, from which -m would import modules of any name.
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        if done.returncode == 1 and last.startswith("error: "):
            raise ExportError(last.removeprefix("error: "))
        raise ExportError(f"the check of the bundle must end, got exit status {done.returncode}: {last}")
    return Parity(**json.loads(done.stdout.splitlines()[-1]))


def check(run: Path, folder: Path) -> Parity:
    """Compares the factors of a bundle with those of its run, from raw values on.

    Raises:
        ExportError: They differ.
        TowerZooError: A file of the run is missing or damaged.
    """
    recommender = Recommender.open(run)
    bundle = Bundle(folder)
    rows = {side: _some_rows(len(_table(recommender, side))) for side in SIDES}
    differences = {"program": 0.0, "onnx": 0.0}
    for side in SIDES:
        program = torch.export.load(folder / f"{side}_tower.pt2").module()
        for some in (rows[side][:1], rows[side][-1:], *torch.split(rows[side], AT_ONCE)):
            expected = getattr(recommender.model, f"{side}_factors")(some).numpy()
            inputs = getattr(bundle, f"{side}_inputs")(_raw(recommender, bundle, side, some))
            found = {
                "program": program({name: torch.from_numpy(values) for name, values in inputs.items()}).numpy(),
                "onnx": bundle.run(side, inputs),
            }
            for name, factors in found.items():
                difference = _require_near(f"the {side} tower's {name}", factors, expected)
                differences[name] = max(differences[name], difference)
    _require_near(
        "item_vectors.npy", np.load(folder / "item_vectors.npy"), recommender.item_vectors.factors[1:].numpy()
    )
    return Parity(len(rows["user"]), len(rows["item"]), **differences)


def _some_rows(n: int) -> Tensor:
    """Returns all rows of a table or, of a large one, evenly many: the unknown, the first and the last among them."""
    return torch.arange(n) if n <= MOST_ROWS else torch.linspace(0, n - 1, MOST_ROWS, dtype=torch.float64).long()


def _table(recommender: Recommender, side: Side) -> Any:
    return recommender.users if side == "user" else recommender.items


def _raw(recommender: Recommender, bundle: Bundle, side: Side, rows: Tensor) -> list[dict[str, Any]]:
    described = bundle.about["towers"][side]["inputs"]
    inputs = [Input(**{name: value for name, value in some.items() if name in Input._fields}) for some in described]
    tower = getattr(recommender.model, f"{side}_tower")
    return raw_rows(inputs, tower, _table(recommender, side), recommender.items.ids, rows)


def _require_near(where: str, found: NDArray[Any], expected: NDArray[Any]) -> float:
    if found.shape != expected.shape:
        raise ExportError(f"{where} must be factors of shape {expected.shape}, got {found.shape}.")
    difference = float((np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max(initial=0))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{where} must agree with torch within {TOLERANCE:g}, got a difference of {difference:.2g}. "
            "Try other versions of torch, onnxscript and onnxruntime."
        )
    return difference


def raw_rows(
    inputs: Sequence[Input], tower: Tower, table: Table, item_ids: Vocabulary, rows: Tensor
) -> list[dict[str, Any]]:
    """Returns the raw features of table rows (B,), by the names of inputs.

    Args:
        inputs: The inputs of the exported tower.
        tower: The tower.
        table: Its table.
        item_ids: The raw ids of items, of which histories are made.
        rows: The rows.
    """
    values = {some.name: _raw_values(some, tower, table, item_ids, rows) for some in inputs}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _raw_values(some: Input, tower: Tower, table: Table, item_ids: Vocabulary, rows: Tensor) -> list[Any]:
    if some.kind == "events":
        encoder = tower.encoder(some.name)
        assert isinstance(encoder, HistoryEncoder)
        lists = [[id for id in ids if id != NO_EVENT] for ids in encoder.lists(rows).tolist()]
        return [[(item_ids.decode([id % some.items])[0], id // some.items) for id in ids] for ids in lists]
    return table.column(some.vocabulary or some.name).raw(rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        print(json.dumps(check(Path(sys.argv[1]), Path(sys.argv[2]))._asdict()))  # noqa: T201
    except TowerZooError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
