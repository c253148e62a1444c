"""MovieLens in the official layout: made-up files, bad ones, and the real data where it is available."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from towerzoo.datasets import StarSchema
from towerzoo.datasets.movielens.dataset import movielens_1m, movielens_100k
from towerzoo.registry import DATASETS
from towerzoo.registry.errors import DataError

FILES_1M = {
    "users.dat": "7::M::25::3::90210\n2::F::1::0::00501-1234\n30::F::56::20::K1A 0B1\n",
    "movies.dat": (
        "11::Comma, The (2001)::Drama\n"
        "5::Colon: A Story: In Two (1984) Parts (1999)::Comedy|Drama\n"
        "8::Café Olé (1984)::\n"
        "90::No Year at All::A|B|C|D|Comedy|Drama\n"
    ),
    "ratings.dat": "7::90::5::1000\n2::5::1::999\n7::11::3::1000\n30::90::4::1001\n",
}
FILES_100K = {
    "u.user": "1|24|M|baker|12345\n2|53|F|other|E2E3R\n",
    "u.genre": "unknown|0\nDrama|1\nComedy|2\n\n",
    "u.item": (
        "1|Café: One, Two (1995) (V)|01-Jan-1995||http://example.org/?a=b|0|1|1\n"
        "2|unknown||||1|0|0\n"
        "3|Third (1990)|04-Feb-1991|||0|0|1\n"
    ),
    "u.data": "2\t1\t3\t881250949\n1\t3\t5\t881250940\n2\t3\t1\t881250949\n",
}


def write(folder: Path, files: dict[str, str]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("latin-1"))
    return str(folder)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path / "cache"))
    if request.node.get_closest_marker("realdata") is None:
        monkeypatch.delenv("TOWERZOO_DATA", raising=False)


def decoded(schema: StarSchema, side: str, name: str) -> list:
    column = getattr(schema, side).columns[name]
    assert column.values.dtype == torch.int32
    assert column.values.is_contiguous()
    if column.is_list:
        return [column.vocabulary.decode([v for v in row if v]) for row in column.values.tolist()]
    return column.vocabulary.decode(column.values.tolist())


def test_1m(tmp_path):
    schema = movielens_1m(root=write(tmp_path / "ml", FILES_1M)).load()
    assert decoded(schema, "users", "user_id") == [None, 2, 7, 30]
    assert decoded(schema, "users", "gender") == [None, "F", "M", "F"]
    assert decoded(schema, "users", "age") == [None, 1, 25, 56]
    assert decoded(schema, "users", "occupation") == [None, 0, 3, 20]
    assert decoded(schema, "users", "zip_code") == [None, "00501-1234", "90210", "K1A 0B1"]
    assert decoded(schema, "items", "movie_id") == [None, 5, 8, 11, 90]
    assert decoded(schema, "items", "year") == [None, 1999, 1984, 2001, None]
    assert schema.items.columns["genres"].vocabulary.values == ("A", "B", "C", "Comedy", "D", "Drama")
    genres = [[], ["Comedy", "Drama"], [], ["Drama"], ["A", "B", "C", "D", "Comedy", "Drama"]]
    assert decoded(schema, "items", "genres") == genres
    assert schema.items.columns["genres"].values.shape == (5, 6)
    assert schema.items.columns["genres"].values[1].tolist() == [4, 6, 0, 0, 0, 0]
    titles = (
        "",
        "Colon: A Story: In Two (1984) Parts (1999)",
        "Café Olé (1984)",
        "Comma, The (2001)",
        "No Year at All",
    )
    assert schema.items.texts == {"title": titles}
    for table in (schema.users, schema.items):
        assert table.columns[table.key].values.tolist() == list(range(len(table)))
    events = schema.interactions
    assert events.user.dtype == events.item.dtype == torch.int32
    assert events.user.tolist() == [2, 1, 2, 3]
    assert events.item.tolist() == [4, 1, 3, 4]
    assert torch.equal(events.feedback["rating"], torch.tensor([5.0, 1.0, 3.0, 4.0]))
    assert torch.equal(events.timestamp, torch.tensor([1000, 999, 1000, 1001]))


def test_100k(tmp_path):
    schema = movielens_100k(root=write(tmp_path / "ml", FILES_100K)).load()
    assert decoded(schema, "users", "user_id") == [None, 1, 2]
    assert decoded(schema, "users", "age") == [None, 24, 53]
    assert decoded(schema, "users", "gender") == [None, "M", "F"]
    assert decoded(schema, "users", "occupation") == [None, "baker", "other"]
    assert decoded(schema, "users", "zip_code") == [None, "12345", "E2E3R"]
    assert decoded(schema, "items", "movie_id") == [None, 1, 2, 3]
    assert decoded(schema, "items", "genres") == [[], ["Drama", "Comedy"], [], ["Comedy"]]
    assert schema.items.columns["genres"].vocabulary.values == ("Comedy", "Drama")
    assert decoded(schema, "items", "year") == [None, 1995, None, 1990]
    assert schema.items.texts == {"title": ("", "Café: One, Two (1995) (V)", "unknown", "Third (1990)")}
    assert schema.interactions.user.tolist() == [2, 1, 2]
    assert schema.interactions.item.tolist() == [1, 3, 3]
    assert schema.interactions.feedback["rating"].tolist() == [3, 5, 1]
    assert schema.interactions.timestamp.tolist() == [881250949, 881250940, 881250949]


@pytest.mark.parametrize(("name", "files"), [("movielens-1m", FILES_1M), ("movielens-100k", FILES_100K)])
def test_columns_match_the_data(tmp_path, name, files):
    dataset = DATASETS.build({"name": name, "root": write(tmp_path / "ml", files), "offline": True})
    columns, schema = dataset.columns(), dataset.load()
    assert columns.users == tuple(schema.users.columns)
    assert columns.items == tuple(schema.items.columns)
    assert (columns.user_texts, columns.item_texts) == (tuple(schema.users.texts), tuple(schema.items.texts))
    assert columns.feedback == tuple(schema.interactions.feedback)


def test_windows_line_ends(tmp_path):
    unix = movielens_1m(root=write(tmp_path / "unix", FILES_1M)).load()
    files = {name: text.replace("\n", "\r\n") for name, text in FILES_1M.items()}
    windows = movielens_1m(root=write(tmp_path / "windows", files)).load()
    assert windows.items.texts == unix.items.texts
    assert decoded(windows, "users", "zip_code") == decoded(unix, "users", "zip_code")
    assert torch.equal(windows.interactions.timestamp, unix.interactions.timestamp)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("ratings.dat", "7::90::5", r"ratings\.dat cannot be read \(.*Expected 4 columns, got 3"),
        (
            "ratings.dat",
            "7::90::1.5::1",
            r"ratings\.dat cannot be read \(.*conversion error to int64: invalid value '1.5'",
        ),
        ("ratings.dat", "7::::5::1", r"ratings\.dat cannot be read \(.*conversion error to int64"),
        ("ratings.dat", f"7::90::5::{'9' * 19}", r"ratings\.dat cannot be read \(.*conversion error to int64"),
        ("ratings.dat", "8::90::5::1", r"ratings\.dat:5: user_id must be the id of a user, got 8\. Download"),
        ("ratings.dat", "7::91::5::1", r"ratings\.dat:5: movie_id must be the id of a movie, got 91\."),
        ("ratings.dat", "7::90::0::1", r"ratings\.dat:5: rating must be 1 to 5, got 0\."),
        ("ratings.dat", "7::90::6::1", r"ratings\.dat:5: rating must be 1 to 5, got 6\."),
        ("users.dat", "7::F::1::1::1", r"users\.dat has a user_id twice\. Download the file again"),
        ("movies.dat", "5::A", r"movies\.dat cannot be read \(.*Expected 3 columns, got 2.*Download the file again"),
    ],
)
def test_bad_rows(tmp_path, name, row, message):
    files = FILES_1M | {name: FILES_1M[name] + row + "\n"}
    with pytest.raises(DataError, match=message):
        movielens_1m(root=write(tmp_path / "ml", files)).load()


@pytest.mark.parametrize("name", list(FILES_1M))
@pytest.mark.parametrize(("text", "message"), [("", "cannot be read"), ("7::90", "seems to be cut off: its last row")])
def test_empty_and_cut_off_files(tmp_path, name, text, message):
    with pytest.raises(DataError, match=rf"{name} {message}.*Download the file again"):
        movielens_1m(root=write(tmp_path / "ml", FILES_1M | {name: text})).load()


@pytest.mark.parametrize("row", ["4|A||||0|1\n", "4|A||||0|1|2\n"])
def test_bad_genre_flags(tmp_path, row):
    files = FILES_100K | {"u.item": FILES_100K["u.item"] + row}
    with pytest.raises(DataError, match=r"u\.item cannot be read"):
        movielens_100k(root=write(tmp_path / "ml", files)).load()


def test_unreadable_file(tmp_path, monkeypatch):
    def fail(self):
        raise PermissionError(13, "Permission denied", str(self))

    root = write(tmp_path / "ml", FILES_1M)
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(DataError, match=r"users\.dat cannot be read \(Permission denied\)"):
        movielens_1m(root=root).load()


def test_second_load_comes_from_the_cache_unless_a_file_changed(tmp_path, monkeypatch):
    root = write(tmp_path / "ml", FILES_1M)
    first = movielens_1m(root=root).load()
    copy = write(tmp_path / "copy", FILES_1M)
    with monkeypatch.context() as patch:
        patch.setattr("towerzoo.datasets.movielens.dataset._encode_1m", lambda *args: pytest.fail("was parsed again"))
        second = movielens_1m(root=copy).load()
    assert second.digest == first.digest
    assert second.items.texts == first.items.texts
    assert torch.equal(second.interactions.item, first.interactions.item)
    (tmp_path / "ml" / "ratings.dat").write_text("7::90::4::1000\n")
    third = movielens_1m(root=root).load()
    assert third.digest != first.digest
    assert third.interactions.feedback["rating"].tolist() == [4]


def real(folder: str) -> Path:
    path = Path(os.environ.get("TOWERZOO_DATA", "")) / folder
    if not os.environ.get("TOWERZOO_DATA") or not path.is_dir():
        pytest.skip(f"TOWERZOO_DATA names no folder with {folder}")
    return path


def assert_ratings_equal(schema: StarSchema, path: Path, separator: str) -> None:
    """Compares all events with what plain string splitting finds."""
    events = schema.interactions
    rows = (line.rstrip("\n").split(separator) for line in path.open(encoding="latin-1"))
    user, item, rating, timestamp = (list(map(int, column)) for column in zip(*rows, strict=True))
    users, items = torch.tensor((0, *schema.users.ids.values)), torch.tensor((0, *schema.items.ids.values))
    assert torch.equal(users[events.user.long()], torch.tensor(user))
    assert torch.equal(items[events.item.long()], torch.tensor(item))
    assert torch.equal(events.feedback["rating"], torch.tensor(rating, dtype=torch.float32))
    assert torch.equal(events.timestamp, torch.tensor(timestamp))


@pytest.mark.realdata
def test_real_1m():
    folder = real("ml-1m")
    schema = movielens_1m(offline=True).load()
    assert (len(schema.interactions), len(schema.users) - 1, len(schema.items) - 1) == (1_000_209, 6_040, 3_883)
    positives = (schema.interactions.feedback["rating"] >= 4).double().mean().item()
    assert positives == pytest.approx(0.5752, abs=5e-5)
    assert len(schema.interactions.item.unique()) == 3_706
    assert schema.items.columns["genres"].values.shape == (3_884, 6)
    assert schema.items.columns["genres"].values[:, 5].any()
    assert schema.items.columns["genres"].cardinality == 19
    assert (schema.items.columns["year"].values[1:] > 0).all()
    assert (schema.users.columns["age"].cardinality, schema.users.columns["occupation"].cardinality) == (8, 22)
    assert_ratings_equal(schema, folder / "ratings.dat", "::")
    lines = (folder / "movies.dat").read_text(encoding="latin-1").split("\n")[:-1]
    movies = {int(line.split("::")[0]): line.split("::")[1:] for line in lines}
    assert dict(zip(schema.items.ids.values, schema.items.texts["title"][1:], strict=True)) == {
        i: title for i, (title, _) in movies.items()
    }
    assert decoded(schema, "items", "genres")[1:] == [movies[i][1].split("|") for i in sorted(movies)]
    start = time.perf_counter()
    again = movielens_1m(offline=True).load()
    assert time.perf_counter() - start < 0.5  # 0.1 s on a quiet machine; parsing takes four times as long
    assert torch.equal(again.interactions.user, schema.interactions.user)
    assert again.items.columns["genres"].vocabulary == schema.items.columns["genres"].vocabulary


@pytest.mark.realdata
def test_real_100k():
    folder = real("ml-100k")
    schema = movielens_100k(offline=True).load()
    assert (len(schema.interactions), len(schema.users) - 1, len(schema.items) - 1) == (100_000, 943, 1_682)
    assert schema.items.columns["genres"].values.shape == (1_683, 6)
    assert schema.items.columns["genres"].cardinality == 19
    assert_ratings_equal(schema, folder / "u.data", "\t")
    lines = [line.split("|") for line in (folder / "u.item").read_text(encoding="latin-1").split("\n")[:-1]]
    flags = {int(line[0]): sum(map(int, line[6:])) for line in lines}
    assert [len(row) for row in decoded(schema, "items", "genres")[1:]] == [flags[i] for i in sorted(flags)]
    people = [line.split("|") for line in (folder / "u.user").read_text().split("\n")[:-1]]
    assert decoded(schema, "users", "zip_code")[1:] == [line[4] for line in people]
