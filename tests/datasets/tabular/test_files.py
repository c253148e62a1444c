# ruff: noqa: E501  (messages stand in tables)
"""Files are found by name, pattern or folder, and refused if they do not fit together."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from towerzoo.datasets.tabular.files import find_shards, read_header
from towerzoo.datasets.tabular.raw_table import RawTable, read_shards
from towerzoo.registry.errors import DataError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(**files: str) -> None:
    for name, text in files.items():
        path = Path(name.replace("__", "/").replace("_dot_", "."))
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def read(files: str, *columns: str) -> tuple[RawTable | None, list[str]]:
    problems: list[str] = []
    return read_shards(find_shards(files), columns, problems, kinds={}, lists={}), problems


def test_files_are_sorted_by_name() -> None:
    write(b__2_dot_csv="x\n3\n", b__10_dot_csv="x\n1\n", b__1_dot_csv="x\n0\n")
    Path("b/.hidden").touch()
    Path("b/_SUCCESS").touch()
    for files in ("b", "b/*.csv", str(Path("b").absolute())):
        shards = find_shards(files)
        assert [path.name for path in shards.paths] == ["1.csv", "10.csv", "2.csv"]
        raw, problems = read(files, "x")
        assert not problems
        assert raw is not None
        assert raw["x"].to_pylist() == [0, 1, 3]


def test_relative_path_starts_at_root() -> None:
    write(folder__a_dot_csv="x\n1\n")
    assert find_shards("a.csv", "folder").paths == (Path("folder/a.csv"),)
    assert find_shards(str(Path("folder/a.csv").absolute()), "elsewhere").paths == (Path("folder/a.csv").absolute(),)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("clicks.csv", r"'clicks\.csv' must be a file, .*, got none at /.*/clicks\.csv\. Did you mean 'click\.csv'\? Give the whole"),
        ("nowhere/*.csv", r"'nowhere/\*\.csv' must be a file, a folder of files or a pattern such as 'clicks/\*\.parquet', "),
        ("~no-such-user/x.csv", r"'~no-such-user/x\.csv' must be a file, .*, got none at /.*/~no-such-user/x\.csv\. Give"),
        ("empty", r"'empty' must be a file, a folder .*, got none at /.*/empty\. Subfolders and files that begin"),
        ("notes.txt", r"notes\.txt: the file name must end in \.csv, \.tsv, \.parquet, .*, got 'notes\.txt'\. Rename the file, or"),
        ("mixed", r"mixed/b\.tsv: all files of 'mixed' must have one format, got TSV here and CSV in mixed/a\.csv\. Select"),
    ],
)  # fmt: skip
def test_unusable_files_are_refused(files: str, message: str) -> None:
    write(click_dot_csv="x\n", notes_dot_txt="x\n", mixed__a_dot_csv="x\n", mixed__b_dot_tsv="x\n")
    Path("empty").mkdir()
    with pytest.raises(DataError, match=message):
        find_shards(files)


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("x,z\n1,2\n", "b/2.csv must have the columns of b/1.csv, but only one of the two has y, z. Write all"),
        ("x,y\nseven,2\n", "b/2.csv: x must be whole numbers, as in b/1.csv, got text. Repair the file, or read all of them as "
         "text with `kinds: {x: text}`."),
        ("x,y\n1\n", "b/2.csv cannot be read: CSV parse error: Expected 2 columns, got 1: 1. Repair the file, or write it again."),
        ("", "b/2.csv is empty. Its first row must hold the column names."),
    ],
)  # fmt: skip
def test_shard_unlike_the_others_is_refused(shard: str, message: str) -> None:
    write(b__1_dot_csv="x,y\n1,2\n", b__2_dot_csv=shard, b__3_dot_csv="y,x\n2,1\n")
    raw, problems = read("b", "x")
    assert raw is None
    assert len(problems) == 1
    assert problems[0].startswith(message)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_header_that_is_not_utf_8(encoding: str) -> None:
    Path("a.csv").write_text("größe\n1\n", encoding=encoding)
    with pytest.raises(DataError, match=r"^a\.csv cannot be read: .*can't decode byte 0x"):
        find_shards("a.csv").columns()


def test_shards_may_order_columns_differently_and_lack_values() -> None:
    write(b__1_dot_csv="x,y\n,2\n", b__2_dot_csv="y,x\n3,1\n", b__3_dot_csv="x,y\n2.5,4\n", b__4_dot_csv="x,y\n")
    raw, problems = read("b", "x", "y")
    assert not problems
    assert raw is not None
    assert raw["x"].to_pylist() == [None, 1.0, 2.5]
    assert raw["y"].to_pylist() == [2, 3, 4]


def test_shards_of_several_types_are_read_as_text() -> None:
    Path("b").mkdir()
    for number, values in enumerate(
        (pa.array([7, 2**64 - 1], pa.uint64()), pa.array([7]), pa.array(["x"]), pa.nulls(1))
    ):
        pq.write_table(pa.table({"x": values}), f"b/{number}.parquet")
    raw, problems = read("b", "x")
    assert raw is None
    assert problems == [
        "b/1.parquet: x must be text, as in b/0.parquet, got whole numbers. Repair the file, or read all of them as text with "
        "`kinds: {x: text}`."
    ]
    raw = read_shards(find_shards("b"), ["x"], [], kinds={"x": "text"}, lists={})
    assert raw is not None
    assert raw["x"].to_pylist() == ["7", str(2**64 - 1), "7", "x", None]


def test_shard_without_lists() -> None:
    Path("b").mkdir()
    pq.write_table(pa.table({"x": pa.nulls(1)}), "b/1.parquet")
    pq.write_table(pa.table({"x": [["a", "b"], None]}), "b/2.parquet")
    raw, _ = read("b", "x")
    assert raw is not None
    assert raw["x"].to_pylist() == [[], ["a", "b"], []]


def test_fault_names_the_shard_and_its_row() -> None:
    write(b__1_dot_csv="x\n1\n2\n", b__2_dot_csv="x\n", b__3_dot_csv="x\n3\n4\n")
    raw, _ = read("b", "x")
    assert raw is not None
    bad = raw["x"].to_numpy() == 4
    assert (
        raw.fault("x", "small", bad, "Do.") == "b/3.csv: x must be small, got 4 in row 2. 1 row is like that, of 4. Do."
    )


def test_long_values_are_shortened_in_messages() -> None:
    write(a_dot_csv=f"x\n{'y' * 500}\n")
    raw, _ = read("a.csv", "x")
    assert raw is not None
    assert "got 'yyyyyyy" in (text := raw.fault("x", "short", raw["x"].is_valid().to_numpy(), "Do."))
    assert len(text) < 200


def test_quotes_line_breaks_and_byte_order_marks() -> None:
    Path("a.csv").write_text('\ufeffname,note\n"Smith, J","two\nlines"\n', encoding="utf-8")
    assert list(read_header(Path("a.csv"), "CSV")) == ["name", "note"]
    raw, _ = read("a.csv", "name", "note")
    assert raw is not None
    assert raw["note"].to_pylist() == ["two\nlines"]
    write(b_dot_user='user_id:token\tname:token_seq\n1\tthe "best"\n')
    raw, _ = read("b.user", "name")
    assert raw is not None
    assert raw["name"].to_pylist() == [["the", '"best"']]


def test_csv_with_semicolons() -> None:
    Path("a.csv").write_text('\ufeffname;note\r\n"Smith; J";1,5\r\n', encoding="utf-8")
    Path("b.csv").write_text("name,no;te\nx,y\n")
    assert list(read_header(Path("a.csv"), "CSV")) == ["name", "note"]
    assert list(read_header(Path("b.csv"), "CSV")) == ["name", "no;te"]
    raw, _ = read("a.csv", "name", "note")
    assert raw is not None
    assert raw.table.to_pylist() == [{"name": "Smith; J", "note": "1,5"}]


def test_text_in_another_encoding_is_refused() -> None:
    Path("a.csv").write_bytes("x\nKöln\n".encode("latin-1"))
    _, problems = read("a.csv", "x")
    assert problems == [
        "a.csv: x must be UTF-8 text, numbers, dates or lists of them, got binary. Leave the column out, or write it in one of "
        "these types."
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user_id\tage:float", r"a\.user: each field of the header must be NAME:TYPE with a type of token, token_seq, float, "
         r"float_seq, got 'user_id'\. Write it so, or give the file the suffix \.tsv\."),
        ("user_id:token\tage:int", r"a\.user: each field .*, got 'age:int'"),
        ("x:token\tx:float", r"a\.user has several columns called 'x'\. Rename all but one"),
    ],
)  # fmt: skip
def test_recbole_headers_are_checked(header: str, message: str) -> None:
    write(a_dot_user=f"{header}\n1\t2\n")
    with pytest.raises(DataError, match=message):
        find_shards("a.user").columns()


def test_recbole_sequences_of_numbers_cannot_be_read() -> None:
    write(a_dot_user="user_id:token\tvector:float_seq\n1\t0.5 1.5\n")
    assert find_shards("a.user").columns() == {"user_id": pa.string(), "vector": pa.list_(pa.float64())}
    _, problems = read("a.user", "vector")
    assert problems == [
        "a.user: vector must be UTF-8 text, numbers, dates or lists of them, got list<item: double>. "
        "Leave the column out, or write it in one of these types."
    ]


def test_damaged_files() -> None:
    write(a_dot_parquet="no parquet")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read: Parquet magic bytes"):
        find_shards("a.parquet").columns()
    pq.write_table(pa.table({"x": list(range(10_000))}), "b.parquet")
    content = bytearray(Path("b.parquet").read_bytes())
    content[100:2_000] = bytes(1_900)
    Path("b.parquet").write_bytes(content)
    _, problems = read("b.parquet", "x")
    assert len(problems) == 1
    assert problems[0].startswith("b.parquet cannot be read: ")


def test_deleted_file() -> None:
    write(a_dot_csv="x\n1\n")
    shards = find_shards("a.csv")
    Path("a.csv").unlink()
    with pytest.raises(DataError, match=r"a\.csv cannot be read: No such file or directory\."):
        shards.digest()


def test_digest_depends_on_content_and_format() -> None:
    write(a_dot_csv="x\n1\n", b_dot_csv="x\n1\n", c_dot_csv="x\n2\n", d_dot_tsv="x\n1\n")
    digests = [find_shards(name).digest() for name in ("a.csv", "b.csv", "c.csv", "d.tsv")]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
