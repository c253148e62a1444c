"""Lists for many users at once: a file of ids in, a Parquet file out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from towerzoo.datasets import UNKNOWN
from towerzoo.registry.errors import RequestError
from towerzoo.towers.recommend.people import Person
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.retrieval.best_items import TopItems
from towerzoo.towers.runs.files import write_whole_with

EVERYONE = "all"
SHOWN = 5
"""Unknown ids that an error names at most."""


def read_users(recommender: Recommender, path: Path, *, exclude: Sequence[str] = ()) -> list[Person]:
    """Returns the known users whose raw ids a file names, one a line; every user, where the path is `all`.

    Raises:
        RequestError: The file cannot be read, names nobody, or names users or excluded items that are not known.
    """
    left_out = tuple(recommender.names.row(item) for item in exclude)
    if str(path) == EVERYONE:
        return [Person(row, exclude=left_out) for row in range(1, len(recommender.users))]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise RequestError(f"--users must be a file of raw ids, one a line, got {str(path)!r}: {reason}.") from None
    rows = {line.strip(): recommender.users.ids.row(line.strip()) for line in lines if line.strip()}
    unknown = [name for name, row in rows.items() if row == UNKNOWN]
    if unknown or not rows:
        some = ", ".join(map(repr, unknown[:SHOWN])) + (" and more" if len(unknown) > SHOWN else "")
        found = f"{len(unknown)} of {len(rows)} that are not: {some}" if rows else "none"
        raise RequestError(f"{path} must name known users, got {found}. {'Leave them out' if rows else 'Name some'}.")
    return [Person(row, exclude=left_out) for row in rows.values()]


def write_lists(recommender: Recommender, people: Sequence[Person], top: TopItems, out: Path) -> None:
    """Writes one row a recommended item: user, rank from 1, item, title, score and probability, best first.

    Raises:
        RunError: The file cannot be written.
    """
    places, columns = torch.nonzero(top.items.cpu() != UNKNOWN, as_tuple=True)
    items = top.items.cpu()[places, columns]
    scores = top.scores.cpu()[places, columns]
    users = torch.tensor([person.row for person in people])[places]
    probable = np.array([recommender.is_probability(person) for person in people], dtype=bool)[places.numpy()]
    titles = pa.array([recommender.names.title(row) for row in range(len(recommender.items))])
    table = pa.table(
        {
            "user": pa.array(recommender.users.ids.values).take(pa.array(users.numpy() - 1)),
            "rank": columns.numpy() + 1,
            "item": pa.array(recommender.items.ids.values).take(pa.array(items.numpy() - 1)),
            "title": titles.take(pa.array(items.numpy())),
            "score": scores.numpy(),
            "probability": pa.array(scores.double().sigmoid().numpy(), mask=~probable),
        }
    )
    write_whole_with(out, lambda path: pq.write_table(table, path))
