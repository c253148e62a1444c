from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from towerzoo.registry.errors import DataError
from towerzoo.towers.encoders.pretrained import read_vectors

VECTORS = [[1.0, 2.0], [3.0, -4.5], [0.0, 0.25]]


def write(folder: Path, suffix: str, ids: object, vectors: object = VECTORS) -> Path:
    path = folder / f"vectors{suffix}"
    if suffix == ".npz":
        np.savez(path, ids=np.array(ids), vectors=np.array(vectors))
    else:
        pq.write_table(pa.table({"id": ids, "vector": vectors, "more": ids}), path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("ids", [[3, 1, 2], ["b", "", "é"]], ids=["numbers", "text"])
def test_ids_and_vectors_are_those_of_the_file(tmp_path, suffix, ids):
    found, vectors = read_vectors(write(tmp_path, suffix, ids))
    assert found.tolist() == ids
    assert vectors.tolist() == VECTORS
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    "form", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)], ids=str
)
def test_every_list_of_arrow_will_do(tmp_path, form):
    path = write(tmp_path, ".parquet", pa.array([3, 1, 2], pa.int32()), pa.array(VECTORS, form))
    found, vectors = read_vectors(path)
    assert (found.tolist(), vectors.tolist()) == ([3, 1, 2], VECTORS)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_what_is_wrong_with_ids_and_vectors_is_told(tmp_path, suffix):
    def refuses(message: str, ids: object, vectors: object = VECTORS) -> None:
        with pytest.raises(DataError, match=rf"vectors{suffix} must {message}"):
            read_vectors(write(tmp_path, suffix, ids, vectors))

    refuses(r"have every id once, got 1 more often, such as 7\. Remove the others\.", [7, 7, 1])
    refuses(r"have every id once, got 1 more often, such as 'a'\.", ["a", "a", "a"])
    refuses(r"have finite vectors, got 2 of 3 that are not\.", [1, 2, 3], [[1.0, np.inf], [np.nan, np.nan], [0.0, 0.0]])
    refuses(r"have ids of whole numbers or text, got float\. Convert them\.", [0.5, 1.0, 2.0])


def test_arrays_must_match(tmp_path):
    message = r"must have ids \(N,\) and vectors \(N, D\), got ids of shape \(2,\) and vectors of shape \(3, 2\)\. Give"
    with pytest.raises(DataError, match=message):
        read_vectors(write(tmp_path, ".npz", [1, 2]))
    with pytest.raises(DataError, match=r"got ids of shape \(3,\) and vectors of shape \(3,\)"):
        read_vectors(write(tmp_path, ".npz", [1, 2, 3], [1.0, 2.0, 3.0]))
    with pytest.raises(DataError, match=r"got ids of shape \(1, 3\) and vectors of shape \(1, 2\)"):
        read_vectors(write(tmp_path, ".npz", [[1, 2, 3]], [[1.0, 2.0]]))


def test_lists_must_be_of_one_length_and_there(tmp_path):
    with pytest.raises(
        DataError, match=r"whole file of ids and vectors, got vectors of 1 to 2 numbers\. Write it again"
    ):
        read_vectors(write(tmp_path, ".parquet", [1, 2], [[1.0], [1.0, 2.0]]))
    with pytest.raises(DataError, match=r"got rows without an id or a vector\."):
        read_vectors(write(tmp_path, ".parquet", [1, None], [[1.0], [2.0]]))
    with pytest.raises(DataError, match=r"got rows without an id or a vector\."):
        read_vectors(write(tmp_path, ".parquet", [1, 2], [[1.0], None]))
    with pytest.raises(DataError, match=r"must have finite vectors, got 1 of 2"):
        read_vectors(write(tmp_path, ".parquet", [1, 2], [[1.0], [None]]))
    with pytest.raises(DataError, match=r"must be a whole file of ids and vectors, got "):
        read_vectors(write(tmp_path, ".parquet", [1, 2], [1.0, 2.0]))


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_file_may_be_empty(tmp_path, suffix):
    ids = pa.array([], pa.int64()) if suffix == ".parquet" else np.zeros(0, np.int64)
    vectors = pa.array([], pa.list_(pa.float32())) if suffix == ".parquet" else np.zeros((0, 2))
    found, read = read_vectors(write(tmp_path, suffix, ids, vectors))
    assert len(found) == len(read) == 0


def test_a_missing_or_foreign_file_is_told(tmp_path):
    with pytest.raises(
        DataError, match=r"none\.npz must be a file of vectors, got no such file\. Relative paths start"
    ):
        read_vectors(tmp_path / "none.npz")
    (tmp_path / "vectors.csv").write_text("id,vector")
    with pytest.raises(DataError, match=r"vectors\.csv must be a \.parquet or \.npz file, got '\.csv'\. Convert it\."):
        read_vectors(tmp_path / "vectors.csv")


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"neither", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_told(tmp_path, suffix, content):
    path = tmp_path / f"vectors{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"must be a whole file of ids and vectors, got .*\. Write it again\."):
        read_vectors(path)


def test_no_code_is_run(tmp_path):
    path = tmp_path / "vectors.npz"
    np.savez(path, ids=np.array([1, "a"], dtype=object), vectors=np.zeros((2, 2)))
    with pytest.raises(DataError, match="got Object arrays cannot be loaded"):
        read_vectors(path)


def test_names_are_told(tmp_path):
    path = tmp_path / "vectors.npz"
    np.savez(path, ids=np.zeros(1, np.int64), vector=np.zeros((1, 2)))
    with pytest.raises(
        DataError, match=r"must have an array 'vectors', got a file without it\. Rename the one it has\."
    ):
        read_vectors(path)
    pq.write_table(pa.table({"ids": [1], "vector": [[1.0]]}), tmp_path / "vectors.parquet")
    with pytest.raises(DataError, match=r"must have a column 'id', got a file without it\."):
        read_vectors(tmp_path / "vectors.parquet")
