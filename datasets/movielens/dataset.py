"""MovieLens 1M and 100K (F. M. Harper and J. A. Konstan, 2015, The MovieLens Datasets, ACM TiiS 5(4):19)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch

from towerzoo.datasets.movielens.release import ML_1M, ML_100K, Release, find
from towerzoo.datasets.schema.cache import cached
from towerzoo.datasets.schema.encoding import Raw, RawLists, encode_table
from towerzoo.datasets.schema.star_schema import ColumnNames, Interactions, StarSchema, Table
from towerzoo.registry import DATASETS
from towerzoo.registry.errors import DataError

GENRE_SLOTS: Final = 6
"""Length of the genre lists: the most genres that a movie of either release has."""
ENCODING_VERSION: Final = 1
"""Raise it when equal files give another star schema, so that caches are rebuilt."""
RATINGS: Final = (1, 5)
_EVENTS: Final = {"user_id": pa.int64(), "movie_id": pa.int64(), "rating": pa.int64(), "timestamp": pa.int64()}


class MovieLens:
    """A release: ratings, users with the features `users`, and all movies of the catalogue with genres and year.

    `year` is the last one in parentheses in the title; `genres` has six slots. The files are searched in `root` or,
    without one, in `$TOWERZOO_DATA/<folder>`, then among earlier downloads; then they are downloaded and their digest
    is checked.
    """

    def __init__(
        self,
        release: Release,
        encode: Callable[[dict[Path, bytes]], tuple[Table, Table, Interactions]],
        users: tuple[str, ...],
        *,
        root: str | None,
        offline: bool,
    ) -> None:
        self._release, self._encode, self._users, self._root, self._offline = release, encode, users, root, offline

    def columns(self) -> ColumnNames:
        """Returns the names of all features and feedback columns without reading the data."""
        return ColumnNames(self._users, ("movie_id", "genres", "year"), feedback=("rating",), item_texts=("title",))

    def load(self) -> StarSchema:
        """Reads and encodes the files.

        Raises:
            DataError: The files are missing or malformed, or cannot be downloaded.
        """
        folder = find(self._release, self._root, offline=self._offline)
        try:
            files = {folder / name: (folder / name).read_bytes() for name in self._release.files}
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read ({error.strerror}). Check its permissions.") from None
        contents = b"".join(hashlib.sha256(content).digest() for content in files.values())
        digest = hashlib.sha256(f"{self._release.name} {ENCODING_VERSION}".encode() + contents).hexdigest()
        return cached(self._release.name, digest, lambda: StarSchema(*self._encode(files), digest=digest))


@DATASETS.register("movielens-1m")
def movielens_1m(*, root: str | None = None, offline: bool = False) -> MovieLens:
    """MovieLens 1M: 1,000,209 ratings of 3,706 movies by 6,040 users, with gender, age, occupation and zip code.

    All 3,883 movies of the catalogue are items. `age` and `occupation` keep the codes of the release.

    Args:
        root: A folder with users.dat, movies.dat and ratings.dat. Nothing is ever downloaded into it.
        offline: Whether to fail instead of downloading.

    Example:
        >>> movielens_1m(offline=True).columns().items
        ('movie_id', 'genres', 'year')
    """
    users = ("user_id", "gender", "age", "occupation", "zip_code")
    return MovieLens(ML_1M, _encode_1m, users, root=root, offline=offline)


@DATASETS.register("movielens-100k")
def movielens_100k(*, root: str | None = None, offline: bool = False) -> MovieLens:
    """MovieLens 100K: 100,000 ratings of 1,682 movies by 943 users, with age, gender, occupation and zip code.

    `age` is in years and `occupation` is a word. A movie of the genre `unknown` has no genres.

    Args:
        root: A folder with u.user, u.item, u.genre and u.data. Nothing is ever downloaded into it.
        offline: Whether to fail instead of downloading.

    Example:
        >>> movielens_100k(offline=True).columns().users
        ('user_id', 'age', 'gender', 'occupation', 'zip_code')
    """
    users = ("user_id", "age", "gender", "occupation", "zip_code")
    return MovieLens(ML_100K, _encode_100k, users, root=root, offline=offline)


def _encode_1m(files: dict[Path, bytes]) -> tuple[Table, Table, Interactions]:
    users, movies, ratings = files.items()
    whole, text = pa.int64(), pa.string()
    people = {"user_id": whole, "gender": text, "age": whole, "occupation": whole, "zip_code": text}
    catalogue = _read(*movies, "::", {"movie_id": whole, "title": text, "genres": text})
    genres = [[genre for genre in names.split("|") if genre] for names in catalogue["genres"].to_pylist()]
    return _encode(_read(*users, "::", people), catalogue, genres, ratings[0], _read(*ratings, "::", _EVENTS))


def _encode_100k(files: dict[Path, bytes]) -> tuple[Table, Table, Interactions]:
    users, movies, kinds, ratings = files.items()
    whole, text = pa.int64(), pa.string()
    people = {"user_id": whole, "age": whole, "gender": text, "occupation": text, "zip_code": text}
    flags = _read(*kinds, "|", {"genre": text, "number": whole}).sort_by("number")["genre"].to_pylist()
    others = {"movie_id": whole, "title": text, "released": text, "video_released": text, "url": text}
    catalogue = _read(*movies, "|", others | {f"genre {name}": pa.bool_() for name in flags})
    names = [name for name in flags if name != "unknown"]
    rows = zip(*(catalogue[f"genre {name}"].to_pylist() for name in names), strict=True)
    genres = [[name for name, flag in zip(names, row, strict=True) if flag] for row in rows]
    return _encode(_read(*users, "|", people), catalogue, genres, ratings[0], _read(*ratings, "\t", _EVENTS))


def _read(path: Path, content: bytes, separator: str, columns: dict[str, pa.DataType]) -> pa.Table:
    """Returns the rows of a Latin-1 file; of users or movies, in ascending order of their ids."""
    if content and not content.endswith(b"\n"):
        raise DataError(f"{path} seems to be cut off: its last row has no line break. Download the file again.")
    if separator == "::":  # pyarrow splits at a single byte
        content, separator = content.replace(b"::", b"\x1f"), "\x1f"
    encoding = "utf8" if columns is _EVENTS else "latin-1"  # events are digits, and UTF-8 reads twice as fast
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(content),
            read_options=pa.csv.ReadOptions(column_names=list(columns), encoding=encoding),
            parse_options=pa.csv.ParseOptions(delimiter=separator, quote_char=False),
            convert_options=pa.csv.ConvertOptions(column_types=columns, null_values=[], strings_can_be_null=False),
        )
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read ({error}). Download the file again.") from None
    if columns is _EVENTS:
        return table
    key = next(iter(columns))
    if len(table[key].unique()) < len(table):
        raise DataError(f"{path} has a {key} twice. Download the file again.")
    return table.sort_by(key)


def _encode(
    users: pa.Table, movies: pa.Table, genres: Sequence[Sequence[str]], ratings: Path, events: pa.Table
) -> tuple[Table, Table, Interactions]:
    titles = movies["title"].to_pylist()
    # The last year in parentheses: a title may hold another, and "(V)" may follow.
    years = [[int(year) for year in re.findall(r"\((\d{4})\)", title)][-1:] for title in titles]
    features: dict[str, Raw | RawLists] = {
        "movie_id": movies["movie_id"].to_pylist(),
        "genres": genres,
        "year": [year[0] if year else None for year in years],
    }
    people = encode_table("user_id", users.to_pydict())
    items = encode_table("movie_id", features, {"title": titles}, slots=GENRE_SLOTS)
    user, item = people.ids.encode(events["user_id"].to_numpy()), items.ids.encode(events["movie_id"].to_numpy())
    rating, time = events["rating"].to_numpy(), events["timestamp"].to_numpy()
    for name, expected, sound in (
        ("user_id", "the id of a user", user > 0),
        ("movie_id", "the id of a movie", item > 0),
        ("rating", f"{RATINGS[0]} to {RATINGS[1]}", (rating >= RATINGS[0]) & (rating <= RATINGS[1])),
    ):
        if not sound.all():
            row = int(sound.argmin())
            raise DataError(
                f"{ratings}:{row + 1}: {name} must be {expected}, got {events[name][row]}. Download the file again."
            )
    interactions = Interactions(
        user=torch.from_numpy(user),
        item=torch.from_numpy(item),
        feedback={"rating": torch.from_numpy(rating.astype(np.float32))},
        timestamp=torch.from_numpy(time.astype(np.int64)),
    )
    return people, items, interactions
