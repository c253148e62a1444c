"""epochs.csv: one row an epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from towerzoo.towers.runs.folder import RunFolder

Row = dict[str, float | int]

NAME: Final = "epochs.csv"
FIRST, LAST = ("epoch",), ("seconds", "samples_per_second")
"""The columns before and after the figures, `train/...` and `valid/...`."""


def write_epochs(run: RunFolder, rows: Sequence[Row]) -> None:
    """Writes the rows of all epochs, at least one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    run.write(NAME, text.getvalue())


def read_epochs(run: RunFolder) -> list[Row]:
    """Returns the rows of all epochs.

    Raises:
        RunError: The file is missing or damaged.
    """
    with run.reading(NAME, csv.Error) as path, path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        names = tuple(reader.fieldnames or ())
        figures = names[len(FIRST) : -len(LAST)]
        if names != (*FIRST, *figures, *LAST) or not all(name.startswith(("train/", "valid/")) for name in figures):
            raise ValueError(f"its columns are {', '.join(names) or 'missing'}")
        return [{key: int(value) if key == "epoch" else float(value) for key, value in row.items()} for row in reader]
