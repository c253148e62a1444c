"""MovieLens in the official layout: made-up files, each way in which they can be bad, and the real data where it is."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from towerzoo.datasets import StarSchema
from towerzoo.datasets.movielens import files as movielens_files
from towerzoo.datasets.movielens import release as movielens_release
from towerzoo.datasets.movielens.dataset import MovieLens1M, MovieLens100K
from towerzoo.datasets.schema import cache
from towerzoo.registry import DATASETS
from towerzoo.registry.errors import DataError

FILES_1M = {
    "users.dat": "7::M::25::3::90210\n2::F::1::0::00501-1234\n30::F::56::20::K1A 0B1\n",
    "movies.dat": (
        "11::Comma, The (2001)::Drama\n"
        "5::Colon: A Story::In Two (1984) Parts (1999)::Comedy|Drama\n"
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


def write(folder: Path, files: dict[str, str], **changed: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(changed.get(name.replace(".", "_"), text).encode("latin-1"))
    return str(folder)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path / "cache"))
    if request.node.get_closest_marker("realdata") is None:
        monkeypatch.delenv("TOWERZOO_DATA", raising=False)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movielens_release, "fetch", lambda *args, **kwargs: pytest.fail("went to the network"))


def decoded(schema: StarSchema, side: str, name: str) -> list:
    column = getattr(schema, side).columns[name]
    assert column.values.dtype == torch.int32
    assert column.values.is_contiguous()
    if column.is_list:
        return [column.vocabulary.decode([v for v in row if v]) for row in column.values.tolist()]
    return column.vocabulary.decode(column.values.tolist())


def test_1m(tmp_path):
    schema = MovieLens1M(root=write(tmp_path / "ml", FILES_1M)).load()
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
        "Colon: A Story::In Two (1984) Parts (1999)",
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
    assert torch.equal(events.measures["rating"], torch.tensor([5.0, 1.0, 3.0, 4.0]))
    assert torch.equal(events.timestamp, torch.tensor([1000, 999, 1000, 1001]))


def test_100k(tmp_path):
    schema = MovieLens100K(root=write(tmp_path / "ml", FILES_100K)).load()
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
    assert schema.interactions.measures["rating"].tolist() == [3, 5, 1]
    assert schema.interactions.timestamp.tolist() == [881250949, 881250940, 881250949]


@pytest.mark.parametrize(("name", "files"), [("movielens-1m", FILES_1M), ("movielens-100k", FILES_100K)])
def test_columns_are_those_of_the_data(tmp_path, name, files):
    dataset = DATASETS.build({"name": name, "root": write(tmp_path / "ml", files), "offline": True})
    columns, schema = dataset.columns(), dataset.load()
    assert columns.users == tuple(schema.users.columns)
    assert columns.items == tuple(schema.items.columns)
    assert (columns.user_texts, columns.item_texts) == (tuple(schema.users.texts), tuple(schema.items.texts))
    assert columns.measures == tuple(schema.interactions.measures)


def test_windows_line_ends(tmp_path):
    unix = MovieLens1M(root=write(tmp_path / "unix", FILES_1M)).load()
    files = {name: text.replace("\n", "\r\n") for name, text in FILES_1M.items()}
    windows = MovieLens1M(root=write(tmp_path / "windows", files)).load()
    assert windows.items.texts == unix.items.texts
    assert decoded(windows, "users", "zip_code") == decoded(unix, "users", "zip_code")
    assert torch.equal(windows.interactions.timestamp, unix.interactions.timestamp)


def fails(tmp_path: Path, match: str, **changed: str) -> str:
    with pytest.raises(DataError, match=match) as caught:
        MovieLens1M(root=write(tmp_path / "ml", FILES_1M, **changed)).load()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    "row", ["1::1193", "7::90::5::1::2", "7::90:5::1", "7::x::5::1", "7:::5::1", "7::90::::1", "7:9:90::5::1"]
)
def test_malformed_rating_rows(tmp_path, row):
    text = FILES_1M["ratings.dat"] + f"{row}\n" + "7::11::3::1000\n" + f"{row}\n" * 2
    form = "UserID::MovieID::Rating::Timestamp"
    message = (
        rf"ratings\.dat:5: a rating row must be {form}, got '{row}'\. 3 rows of 8 are malformed \(lines 5, 7, 8\);"
    )
    fails(tmp_path, message, ratings_dat=text)


def test_many_malformed_rows_are_counted_and_not_listed(tmp_path):
    message = fails(
        tmp_path,
        r"20 rows of 24 are malformed \(lines 5, 6, 7, 8, 9, \.\.\.\)",
        ratings_dat=FILES_1M["ratings.dat"] + "x\n" * 20,
    )
    assert message.count("\n") == 0


@pytest.mark.parametrize("number", ["-1", "+1", "1.5", "1e3", "9" * 19, "9" * 40])
@pytest.mark.parametrize("place", range(4))
def test_numbers_that_are_none(tmp_path, number, place):
    fields = ["7", "90", "5", "1000"]
    fields[place] = number
    fails(
        tmp_path,
        r"ratings\.dat:5: a rating row must be .* 1 row of 5 is malformed \(line 5\)",
        ratings_dat=FILES_1M["ratings.dat"] + "::".join(fields) + "\n",
    )


@pytest.mark.parametrize("rating", [0, 6, 1000])
def test_rating_out_of_range(tmp_path, rating):
    message = rf"ratings\.dat:5: Rating must be 1 to 5, got {rating}\. 1 row of 5 is out of range \(line 5\)"
    fails(tmp_path, message, ratings_dat=FILES_1M["ratings.dat"] + f"7::90::{rating}::1\n")


def test_ids_without_a_row_and_all_else_are_told_together(tmp_path):
    text = "7::90::5::1\n8::90::5::1\n9::91::5::1\n8::90::9::1\nbad\n7::90::5::1"
    lines = fails(tmp_path, "got 8", ratings_dat=text).splitlines()
    assert [line.partition("ratings.dat:")[2].partition(";")[0] for line in lines] == [
        "2: UserID must have a row in the users file, got 8. 3 rows of 6 are without one (lines 2, 3, 4",
        "3: MovieID must have a row in the items file, got 91. 1 row of 6 is without one (line 3)",
        "4: Rating must be 1 to 5, got 9. 1 row of 6 is out of range (line 4)",
        "5: a rating row must be UserID::MovieID::Rating::Timestamp, got 'bad'. 1 row of 6 is malformed (line 5)",
        " the last row must end with a line break, got '7::90::5::1'. The file seems to be cut off",
    ]
    assert lines[0].endswith("lines 2, 3, 4; 2 values: 8, 9); download the file again.")


@pytest.mark.parametrize("end", ["30::90::4::10", "30::90", "30::90::4::"])
def test_cut_off_last_row(tmp_path, end):
    fails(
        tmp_path,
        rf"ratings\.dat: the last row must end with a line break, got '{end}'\. The file seems to be cut off",
        ratings_dat=FILES_1M["ratings.dat"] + end,
    )


@pytest.mark.parametrize("name", list(FILES_1M))
@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_file(tmp_path, name, text):
    fails(
        tmp_path,
        rf"{name} must hold rows of (User|Movie)ID::.*, got none: the file is empty",
        **{name.replace(".", "_"): text},
    )


def test_bad_user_rows(tmp_path):
    text = FILES_1M["users.dat"] + "7::F::1::1::1\n31::X::1::1::1\n2::F::1::1::1\n32::F::1::1\n33::M::1::1::1"
    lines = fails(tmp_path, "UserID must be given once", users_dat=text).splitlines()
    assert [line.partition("users.dat:")[2] for line in lines] == [
        "4: UserID must be given once, got 7 again. "
        "2 rows of 8 are repeated (lines 4, 6; 2 values: 7, 2); download the file again.",
        "5: a user row must be UserID::Gender::Age::Occupation::Zip-code, got '31::X::1::1::1'. "
        "2 rows of 8 are malformed (lines 5, 7); download the file again.",
        " the last row must end with a line break, got '33::M::1::1::1'. "
        "The file seems to be cut off; download it again, or end the row if it is whole.",
    ]


def test_bad_movie_rows(tmp_path):
    long = "x" * 100
    fails(
        tmp_path,
        r"movies\.dat:5: MovieID must be given once, got 5 again",
        movies_dat=FILES_1M["movies.dat"] + "5::A::B\n",
    )
    fails(
        tmp_path,
        rf"movies\.dat:5: a movie row must be MovieID::Title::Genres, got '{long[:77]}\.\.\.'",
        movies_dat=FILES_1M["movies.dat"] + long + "\n",
    )


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        (
            "u.data",
            "1\t2\t3\n",
            r"u\.data:4: a rating row must be user id\titem id\trating\ttimestamp, got '1\\t2\\t3'",
        ),
        ("u.data", "9\t2\t3\t4\n", r"u\.data:4: user id must have a row in the users file, got 9"),
        ("u.user", "1|24|M|baker|12345\n", r"u\.user:3: user id must be given once, got 1 again"),
        ("u.item", "4|A|||0|1\n", r"u\.item:4: a movie row must be movie id\|title\|.*\|3 genre flags \(0 or 1\), got"),
        ("u.item", "4|A||||0|1|2\n", r"u\.item:4: a movie row must be"),
        ("u.genre", "War|4\n", r"u\.genre: the genre numbers must be 0, 1, 2 and so on, got \[0, 1, 2, 4\]"),
        ("u.genre", "War|2\n", r"u\.genre:5: number must be given once, got 2 again"),
    ],
)
def test_bad_100k_rows(tmp_path, name, row, message):
    files = FILES_100K | {name: FILES_100K[name] + row}
    with pytest.raises(DataError, match=message):
        MovieLens100K(root=write(tmp_path / "ml", files)).load()


def test_unexplained_failure_is_still_a_data_error(tmp_path, monkeypatch):
    def fail(*args):
        raise ValueError("odd bytes")

    monkeypatch.setattr(movielens_files, "_parse", fail)
    fails(tmp_path, r"ratings\.dat must be rows of UserID::.*, got 'odd bytes'\. Download the file again")


def test_root_without_the_files(tmp_path, no_network):
    root = write(tmp_path / "ml", FILES_1M)
    (tmp_path / "ml" / "users.dat").unlink()
    with pytest.raises(
        DataError, match=r"data\.root must be a folder with users\.dat, .* without users\.dat\. Put the files there"
    ):
        MovieLens1M(root=root).load()
    with pytest.raises(DataError, match=r"got '.*nowhere' without users\.dat, movies\.dat, ratings\.dat"):
        MovieLens1M(root=str(tmp_path / "nowhere")).load()
    assert not (tmp_path / "nowhere").exists()


def test_file_that_cannot_be_read(tmp_path, monkeypatch):
    def fail(self):
        raise PermissionError(13, "Permission denied")

    root = write(tmp_path / "ml", FILES_1M)
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(DataError, match=r"users\.dat must be a file that can be read, got 'Permission denied'"):
        MovieLens1M(root=root).load()


def test_folder_of_the_environment(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("TOWERZOO_DATA", str(tmp_path / "data"))
    write(tmp_path / "data" / "ml-1m", FILES_1M)
    write(tmp_path / "data" / "ml-100k", FILES_100K)
    assert len(MovieLens1M().load().interactions) == 4
    assert len(MovieLens100K().load().interactions) == 3
    (tmp_path / "data" / "ml-1m" / "movies.dat").unlink()
    with pytest.raises(
        DataError, match=r"^\$TOWERZOO_DATA/ml-1m must be a folder with .* without movies\.dat\. Put them there"
    ):
        MovieLens1M().load()


def test_offline_says_where_it_looked(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("TOWERZOO_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match="movielens-1m must be on this machine where offline is true") as caught:
        MovieLens1M(offline=True).load()
    assert f"in {tmp_path / 'data' / 'ml-1m'} or {tmp_path / 'cache' / 'downloads' / 'ml-1m'}. Leave" in str(
        caught.value
    )
    assert "$TOWERZOO_DATA/ml-1m/users.dat" in str(caught.value)


def test_downloads_once_and_takes_the_second_url(tmp_path, monkeypatch):
    archive = tmp_path / "ml-1m.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for name, text in FILES_1M.items():
            bundle.writestr(f"ml-1m/{name}", text.encode("latin-1"))
    content, asked = archive.read_bytes(), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path == "/mirror" else 404)
            self.end_headers()
            self.wfile.write(content if self.path == "/mirror" else b"")

        def log_message(self, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "*")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        urls = tuple(f"http://127.0.0.1:{server.server_port}/{name}" for name in ("first", "mirror"))
        sha256 = hashlib.sha256(content).hexdigest()
        release = movielens_release.Release("movielens-1m", "ml-1m", movielens_release.ML_1M.files, sha256, urls)
        monkeypatch.setattr("towerzoo.datasets.movielens.dataset.ML_1M", release)
        assert len(MovieLens1M().load().interactions) == 4
        assert len(MovieLens1M(offline=True).load().interactions) == 4
        server.shutdown()
        thread.join()
    assert asked == ["/first", "/mirror"]
    downloads = tmp_path / "cache" / "downloads"
    assert sorted(path.name for path in downloads.iterdir()) == ["ml-1m", "ml-1m.lock"]


def test_failed_download_says_what_to_do(monkeypatch):
    urls = ("http://127.0.0.1:9/a", "http://127.0.0.1:9/b")
    release = movielens_release.Release("movielens-1m", "ml-1m", movielens_release.ML_1M.files, "0" * 64, urls)
    monkeypatch.setattr("towerzoo.datasets.movielens.dataset.ML_1M", release)
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(
        DataError, match=r"127\.0\.0\.1:9/a: [\s\S]*127\.0\.0\.1:9/b: [\s\S]*set TOWERZOO_DATA to a folder"
    ):
        MovieLens1M().load()


def test_official_places():
    for release in (movielens_release.ML_1M, movielens_release.ML_100K):
        assert [url.split("/")[2] for url in release.urls] == ["files.grouplens.org", "huggingface.co"]
        assert all(url.startswith("https://") and url.endswith(f"/{release.folder}.zip") for url in release.urls)
        assert len(release.sha256) == 64


def test_second_load_comes_from_the_cache_unless_a_file_changed(tmp_path, monkeypatch):
    root = write(tmp_path / "ml", FILES_1M)
    first = MovieLens1M(root=root).load()
    copy = write(tmp_path / "copy", FILES_1M)
    with monkeypatch.context() as patch:
        patch.setattr("towerzoo.datasets.movielens.dataset._star_1m", lambda *args: pytest.fail("was parsed again"))
        second = MovieLens1M(root=copy).load()
    assert second.digest == first.digest
    assert second.items.texts == first.items.texts
    assert torch.equal(second.interactions.item, first.interactions.item)
    (tmp_path / "ml" / "ratings.dat").write_text("7::90::4::1000\n")
    third = MovieLens1M(root=root).load()
    assert third.digest != first.digest
    assert third.interactions.measures["rating"].tolist() == [4]
    path = cache.cache_folder() / "schemas" / "movielens-1m.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert MovieLens1M(root=root).load().interactions.measures["rating"].tolist() == [4]


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
    assert torch.equal(events.measures["rating"], torch.tensor(rating, dtype=torch.float32))
    assert torch.equal(events.timestamp, torch.tensor(timestamp))


@pytest.mark.realdata
def test_real_1m():
    folder = real("ml-1m")
    schema = MovieLens1M(offline=True).load()
    assert (len(schema.interactions), len(schema.users) - 1, len(schema.items) - 1) == (1_000_209, 6_040, 3_883)
    positives = (schema.interactions.measures["rating"] >= 4).double().mean().item()
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
    again = MovieLens1M(offline=True).load()
    assert time.perf_counter() - start < 0.5  # 0.1 s on a quiet machine; parsing takes four times as long
    assert torch.equal(again.interactions.user, schema.interactions.user)
    assert again.items.columns["genres"].vocabulary == schema.items.columns["genres"].vocabulary


@pytest.mark.realdata
def test_real_100k():
    folder = real("ml-100k")
    schema = MovieLens100K(offline=True).load()
    assert (len(schema.interactions), len(schema.users) - 1, len(schema.items) - 1) == (100_000, 943, 1_682)
    assert schema.items.columns["genres"].values.shape == (1_683, 6)
    assert schema.items.columns["genres"].cardinality == 19
    assert_ratings_equal(schema, folder / "u.data", "\t")
    lines = [line.split("|") for line in (folder / "u.item").read_text(encoding="latin-1").split("\n")[:-1]]
    flags = {int(line[0]): sum(map(int, line[6:])) for line in lines}
    assert [len(row) for row in decoded(schema, "items", "genres")[1:]] == [flags[i] for i in sorted(flags)]
    people = [line.split("|") for line in (folder / "u.user").read_text().split("\n")[:-1]]
    assert decoded(schema, "users", "zip_code")[1:] == [line[4] for line in people]
