"""MovieLens 1M and 100K (F. M. Harper and J. A. Konstan, 2015, The MovieLens Datasets, ACM TiiS 5(4):19)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from towerzoo.datasets.movielens.files import RowForm, read_file, read_ratings, read_rows
from towerzoo.datasets.movielens.release import ML_1M, ML_100K, Release, find
from towerzoo.datasets.schema.cache import cached
from towerzoo.datasets.schema.encoding import Raw, RawLists, encode_table
from towerzoo.datasets.schema.star_schema import ColumnNames, StarSchema, Table
from towerzoo.registry import DATASETS
from towerzoo.registry.errors import DataError

GENRE_SLOTS: Final = 6
"""Length of the genre lists: the most genres that a movie of either release has."""
ENCODING_VERSION: Final = 1
"""Raised whenever equal files come to give another star schema, so that caches are built anew."""

_USERS_1M: Final = RowForm(
    "a user row",
    ("UserID", "Gender", "Age", "Occupation", "Zip-code"),
    "::",
    re.compile(r"(?P<id>\d{1,18})::([FM])::(\d{1,3})::(\d{1,3})::([^:]+)"),
)
_MOVIES_1M: Final = RowForm(
    "a movie row", ("MovieID", "Title", "Genres"), "::", re.compile(r"(?P<id>\d{1,18})::(.+)::([^:]*)")
)
_RATINGS_1M: Final = RowForm(
    "a rating row",
    ("UserID", "MovieID", "Rating", "Timestamp"),
    "::",
    re.compile(r"(\d{1,18})::(\d{1,18})::(\d{1,18})::(\d{1,18})"),
)
_USERS_100K: Final = RowForm(
    "a user row",
    ("user id", "age", "gender", "occupation", "zip code"),
    "|",
    re.compile(r"(?P<id>\d{1,18})\|(\d{1,3})\|([FM])\|([^|]+)\|([^|]+)"),
)
_GENRES_100K: Final = RowForm("a genre row", ("genre", "number"), "|", re.compile(r"([^|]+)\|(?P<id>\d{1,3})"))
_RATINGS_100K: Final = RowForm(
    "a rating row",
    ("user id", "item id", "rating", "timestamp"),
    "\t",
    re.compile(r"(\d{1,18})\t(\d{1,18})\t(\d{1,18})\t(\d{1,18})"),
)


def _movies_100k(genres: int) -> RowForm:
    return RowForm(
        "a movie row",
        ("movie id", "title", "release date", "video release date", "IMDb URL", f"{genres} genre flags (0 or 1)"),
        "|",
        re.compile(rf"(?P<id>\d{{1,18}})\|([^|]+)\|([^|]*)\|([^|]*)\|([^|]*)\|((?:[01]\|){{{genres - 1}}}[01])"),
    )


@DATASETS.register("movielens-1m")
class MovieLens1M:
    """MovieLens 1M: 1,000,209 ratings of 3,706 movies by 6,040 users, with age, gender, occupation and zip code.

    All 3,883 movies of the catalogue are items. `age` and `occupation` keep the codes of the release; `year` is read
    from the title; `genres` has six slots. The files are looked for in `root` or, where that is not given, in
    `$TOWERZOO_DATA/ml-1m`, then among earlier downloads; then they are downloaded and checked.

    Args:
        root: A folder with users.dat, movies.dat and ratings.dat. Nothing is ever downloaded into it.
        offline: Whether to fail rather than to download.

    Example:
        >>> MovieLens1M(offline=True).columns().items
        ('movie_id', 'genres', 'year')
    """

    def __init__(self, *, root: str | None = None, offline: bool = False) -> None:
        self._root, self._offline = root, offline

    def columns(self) -> ColumnNames:
        """Returns the names of all features and measures without reading the data."""
        return ColumnNames(
            users=("user_id", "gender", "age", "occupation", "zip_code"),
            items=("movie_id", "genres", "year"),
            measures=("rating",),
            item_texts=("title",),
        )

    def load(self) -> StarSchema:
        """Reads, checks and encodes the data.

        Raises:
            DataError: The files are missing or malformed, or cannot be downloaded.
        """
        return _load(ML_1M, self._root, self._offline, _star_1m)


@DATASETS.register("movielens-100k")
class MovieLens100K:
    """MovieLens 100K: 100,000 ratings of 1,682 movies by 943 users, with age, gender, occupation and zip code.

    `age` is in years and `occupation` a word here. `genres` comes from the flags of the movies; the flag `unknown` says
    that nothing is known and gives an empty list. All else is as in `MovieLens1M`.

    Args:
        root: A folder with u.user, u.item, u.genre and u.data. Nothing is ever downloaded into it.
        offline: Whether to fail rather than to download.

    Example:
        >>> MovieLens100K(offline=True).columns().users
        ('user_id', 'age', 'gender', 'occupation', 'zip_code')
    """

    def __init__(self, *, root: str | None = None, offline: bool = False) -> None:
        self._root, self._offline = root, offline

    def columns(self) -> ColumnNames:
        """Returns the names of all features and measures without reading the data."""
        return ColumnNames(
            users=("user_id", "age", "gender", "occupation", "zip_code"),
            items=("movie_id", "genres", "year"),
            measures=("rating",),
            item_texts=("title",),
        )

    def load(self) -> StarSchema:
        """Reads, checks and encodes the data.

        Raises:
            DataError: The files are missing or malformed, or cannot be downloaded.
        """
        return _load(ML_100K, self._root, self._offline, _star_100k)


def _load(
    release: Release, root: str | None, offline: bool, encode: Callable[[Mapping[Path, bytes], str], StarSchema]
) -> StarSchema:
    folder = find(release, root, offline=offline)
    files = {folder / name: read_file(folder / name) for name in release.files}
    digest = _digest(release, files.values())
    return cached(release.name, digest, lambda: encode(files, digest))


def _star_1m(files: Mapping[Path, bytes], digest: str) -> StarSchema:
    people, catalogue, ratings = files.items()
    ids, genders, ages, occupations, zips = zip(*read_rows(*people, _USERS_1M).values(), strict=True)
    users = {
        "user_id": _ints(ids),
        "gender": genders,
        "age": _ints(ages),
        "occupation": _ints(occupations),
        "zip_code": zips,
    }
    ids, titles, names = zip(*read_rows(*catalogue, _MOVIES_1M).values(), strict=True)
    genres = [[genre for genre in text.split("|") if genre] for text in names]
    return _star(users, _items(ids, titles, genres), ratings, _RATINGS_1M, digest)


def _star_100k(files: Mapping[Path, bytes], digest: str) -> StarSchema:
    people, catalogue, kinds, ratings = files.items()
    ids, ages, genders, occupations, zips = zip(*read_rows(*people, _USERS_100K).values(), strict=True)
    users = {
        "user_id": _ints(ids),
        "age": _ints(ages),
        "gender": genders,
        "occupation": occupations,
        "zip_code": zips,
    }
    genre_names = {number: name for number, (name, _) in read_rows(*kinds, _GENRES_100K).items()}
    if list(genre_names) != list(range(len(genre_names))):
        raise DataError(
            f"{kinds[0]}: the genre numbers must be 0, 1, 2 and so on, got {list(genre_names)}. "
            "Download the file again."
        )
    ids, titles, _, _, _, flags = zip(*read_rows(*catalogue, _movies_100k(len(genre_names))).values(), strict=True)
    genres = [[genre_names[number] for number, flag in enumerate(row.split("|")) if flag == "1"] for row in flags]
    known = [[genre for genre in row if genre != "unknown"] for row in genres]
    return _star(users, _items(ids, titles, known), ratings, _RATINGS_100K, digest)


def _star(
    users: Mapping[str, Raw], items: Table, ratings: tuple[Path, bytes], form: RowForm, digest: str
) -> StarSchema:
    people = encode_table("user_id", users)
    events = read_ratings(*ratings, form, people.ids, items.ids)
    return StarSchema(users=people, items=items, interactions=events, digest=digest)


def _items(ids: Sequence[str], titles: Sequence[str], genres: Sequence[Sequence[str]]) -> Table:
    # The last year in parentheses: a title may hold another, and "(V)" may follow.
    years = [[int(year) for year in re.findall(r"\((\d{4})\)", title)][-1:] for title in titles]
    features: dict[str, Raw | RawLists] = {
        "movie_id": _ints(ids),
        "genres": genres,
        "year": [year[0] if year else None for year in years],
    }
    return encode_table("movie_id", features, {"title": titles}, slots=GENRE_SLOTS)


def _ints(texts: Iterable[str]) -> list[int]:
    return [int(text) for text in texts]


def _digest(release: Release, contents: Iterable[bytes]) -> str:
    """Returns a digest of the files' contents and of how they are encoded, but not of where they are."""
    digest = hashlib.sha256(f"{release.name} {ENCODING_VERSION}".encode())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
