"""The data of a run: MovieLens-1M's files, or generated ones of the same layout and size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from towerzoo.datasets import StarSchema, Synthetic
from towerzoo.datasets.movielens.release import ML_1M
from towerzoo.datasets.synthetic import OCCUPATIONS
from towerzoo.registry.errors import DataError

EVENTS: Final = 1_000_209
"""Ratings in MovieLens-1M."""


def find_or_generate(data: Path | None, scratch: Path, *, events: int = EVENTS) -> tuple[Path, str]:
    """Returns a folder with the three files, and what the data is called.

    Args:
        data: The folder; without it, $TOWERZOO_DATA/ml-1m where that is there, else generated data.
        scratch: Where to write generated data.
        events: How many events to generate; by default as many as MovieLens-1M has.

    Raises:
        DataError: The folder that was named lacks files.
    """
    folder = data or Path(os.environ.get("TOWERZOO_DATA") or scratch) / "ml-1m"
    missing = [name for name in ML_1M.files if not (folder / name).is_file()]
    if not missing:
        found = (folder / "ratings.dat").read_bytes().count(b"\n")
        return folder, "movielens-1m" if found == EVENTS else f"{found} events in the layout of movielens-1m"
    if data is not None:
        raise DataError(
            f"--data must be a folder with {', '.join(ML_1M.files)}, got {str(data)!r} without {', '.join(missing)}. "
            "Unpack ml-1m.zip there, or leave --data out to have data generated."
        )
    users, movies = min(6040, max(20, events // 10)), min(3706, max(40, events // 20))
    write_files(Synthetic(users=users, items=movies, interactions=events).load(), scratch)
    return scratch, f"synthetic, {events} events"


def write_files(world: StarSchema, folder: Path) -> None:
    """Writes a synthetic world as MovieLens-1M's files."""
    occupations = OCCUPATIONS.split(",")
    columns = {name: _values(world, "users", name) for name in ("user_id", "gender", "age", "occupation")}
    users = [
        f"{user}::{gender}::{age}::{occupations.index(str(occupation))}::00000\n"
        for user, gender, age, occupation in zip(*columns.values(), strict=True)
    ]
    vocabulary = world.items.columns["genres"].vocabulary
    assert vocabulary is not None
    movies = [
        f"{movie}::{title}::{'|'.join(str(genre) for genre in vocabulary.decode(row) if genre)}\n"
        for movie, title, row in zip(
            _values(world, "items", "movie_id"),
            world.items.texts["title"][1:],
            world.items.columns["genres"].values[1:].tolist(),
            strict=True,
        )
    ]
    events = world.interactions
    assert events.timestamp is not None
    # The ids of the synthetic world are its rows.
    ratings = [
        f"{user}::{item}::{rating:.0f}::{time}\n"
        for user, item, rating, time in zip(
            events.user.tolist(),
            events.item.tolist(),
            events.feedback["rating"].tolist(),
            events.timestamp.tolist(),
            strict=True,
        )
    ]
    for name, lines in (("users", users), ("movies", movies), ("ratings", ratings)):
        (folder / f"{name}.dat").write_text("".join(lines), encoding="latin-1")


def _values(world: StarSchema, table: str, name: str) -> list[int | str | None]:
    column = getattr(world, table).columns[name]
    values: list[int | str | None] = column.vocabulary.decode(column.values[1:].tolist())
    return values
