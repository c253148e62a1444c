"""epochs.csv: one row an epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from towerzoo.towers.runs.folder import RunFolder

Row = dict[str, float | int]

NAME: Final = "epochs.csv"


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
        if missing := {"epoch", "seconds", "samples_per_second"}.difference(reader.fieldnames or ()):
            raise ValueError(f"it has no column {', '.join(sorted(missing))}")
        return [{key: int(value) if key == "epoch" else float(value) for key, value in row.items()} for row in reader]
