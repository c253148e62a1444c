"""Vectors from a file, such as those of a language or image model."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from towerzoo.datasets import Column
from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import DataError, one_line
from towerzoo.registry.ranges import Count
from towerzoo.towers.encoders import Encoder
from towerzoo.towers.encoders.embedding import wrong_column


@ENCODERS.register("pretrained")
class PretrainedEncoder(Encoder):
    """Vectors from a file, one an id, kept as they are or trained further.

    Ids without a vector, and the unknown id, start as zeros. The vectors are saved with the weights, so that testing,
    resuming and serving a run do not need the file. An error of the file is therefore kept as `problem`, and raised
    before training, or by an encoder whose weights were never loaded.

    Args:
        column: The feature: ids (n,).
        path: A .parquet or .npz file, see `read_vectors`; relative to the working directory.
        dim: Length of the file's vectors.
        trainable: Whether training changes the vectors.

    Attributes:
        problem: The error of the file; None once weights are loaded.

    Raises:
        ConfigError: The feature holds lists or numbers.

    Example:
        >>> import tempfile, numpy as np
        >>> from towerzoo.datasets import encode_column
        >>> genders = encode_column("gender", ["F", "M"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/vectors.npz", ids=["M", "X"], vectors=[[1.0, 2.0], [3.0, 4.0]])
        ...     encoder = PretrainedEncoder(genders, path=f"{folder}/vectors.npz", dim=2)
        >>> encoder(genders.values)
        tensor([[0., 0.],
                [0., 0.],
                [1., 2.]])
        >>> encoder
        PretrainedEncoder(
          1 of 2 ids without a vector, frozen
          (embedding): Embedding(3, 2)
        )
    """

    without: Tensor

    def __init__(self, column: Column, *, path: str, dim: Count, trainable: bool = False) -> None:
        super().__init__(column)
        if column.vocabulary is None or column.is_list:
            raise wrong_column(column, "a feature of single ids for encoder 'pretrained'", "Name one.")
        self.out_features = dim
        self.embedding = nn.Embedding(column.cardinality, dim)
        nn.init.zeros_(self.embedding.weight).requires_grad_(trainable)
        self.register_buffer("without", torch.tensor(column.cardinality - 1))
        try:
            self._read(column, Path(path))
        except DataError as error:
            self.problem = error
        self.register_load_state_dict_post_hook(_needs_no_file)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _read(self, column: Column, path: Path) -> None:
        ids, vectors = read_vectors(path)
        if vectors.shape[1] != self.out_features:
            raise DataError(
                f"{path} must have vectors of {self.out_features} numbers, the dim of feature {column.name!r}, "
                f"got {vectors.shape[1]}. Set dim: {vectors.shape[1]}."
            )
        assert column.vocabulary is not None
        rows = torch.from_numpy(column.vocabulary.encode(ids)).long()
        known = rows > 0
        if not known.any():
            wanted, given = (", ".join(map(repr, values[:3])) for values in (column.vocabulary.values, ids.tolist()))
            raise DataError(
                f"{path} must have vectors of ids of feature {column.name!r}, such as {wanted or 'none'}, "
                f"got none of them, but {given or 'nothing'}. Text and numbers are different ids."
            )
        self.embedding.weight[rows[known]] = torch.from_numpy(vectors)[known]
        self.without -= known.sum()

    def forward(self, ids: Tensor) -> Tensor:
        """Maps ids (B,) to vectors (B, dim).

        Raises:
            DataError: The file cannot be read, and no weights were loaded.
        """
        if self.problem is not None:
            raise self.problem
        vectors: Tensor = self.embedding(ids)
        return vectors

    def extra_repr(self) -> str:
        """Returns the number of ids without a vector."""
        about = "trainable" if self.embedding.weight.requires_grad else "frozen"
        return f"{int(self.without)} of {len(self.embedding.weight) - 1} ids without a vector, {about}"


def _needs_no_file(encoder: PretrainedEncoder, incompatible: Any) -> None:
    encoder.problem = None


def read_vectors(path: Path) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Reads a file of vectors, without running any code in it.

    Args:
        path: A Parquet file with the columns `id` (whole numbers or text) and `vector` (a list of numbers), or an .npz
            file with the arrays `ids` (N,) and `vectors` (N, D).

    Returns:
        The raw ids (N,), whole numbers or str, and the vectors (N, D).

    Raises:
        DataError: The file is missing or malformed, an id occurs twice, or vectors differ in length or are not finite.
    """
    if not path.is_file():
        raise DataError(
            f"{path} must be a file of vectors, got no such file. Relative paths start from the working directory."
        )
    if path.suffix not in (".npz", ".parquet"):
        raise DataError(f"{path} must be a .parquet or .npz file, got {path.suffix!r}. Convert it.")
    try:
        ids, vectors = (_from_parquet if path.suffix == ".parquet" else _from_npz)(path)
    except KeyError as error:
        raise DataError(f"{path} must have {error.args[0]}, got a file without it. Rename the one it has.") from None
    except (OSError, EOFError, ValueError, pa.ArrowException, zipfile.BadZipFile, zlib.error) as error:
        reason = one_line(error)
        raise DataError(f"{path} must be a whole file of ids and vectors, got {reason}. Write it again.") from None
    if ids.ndim != 1 or vectors.ndim != 2 or len(ids) != len(vectors):
        shapes = f"ids of shape {ids.shape} and vectors of shape {vectors.shape}"
        raise DataError(f"{path} must have ids (N,) and vectors (N, D), got {shapes}. Give every id one vector.")
    counts = Counter(ids.tolist())
    types = {type(value).__name__ for value in counts}
    if len(types) > 1 or not types <= {"int", "str"}:
        kinds = " and ".join(sorted(types))
        raise DataError(f"{path} must have ids of whole numbers or text, got {kinds}. Convert them.")
    if repeated := [value for value, count in counts.items() if count > 1]:
        others = f"got {len(repeated)} more often, such as {repeated[0]!r}"
        raise DataError(f"{path} must have every id once, {others}. Remove the others.")
    if faulty := int((~np.isfinite(vectors)).any(axis=1).sum()):
        raise DataError(f"{path} must have finite vectors, got {faulty} of {len(ids)} that are not. Correct them.")
    return ids, vectors


def _from_npz(path: Path) -> tuple[NDArray[Any], NDArray[np.float32]]:
    if not zipfile.is_zipfile(path):
        raise ValueError("no archive of arrays")
    with np.load(path, allow_pickle=False) as arrays:
        _require("an array", ("ids", "vectors"), arrays)
        ids, vectors = arrays["ids"], arrays["vectors"].astype(np.float32)
    return (ids.astype(object) if ids.dtype.kind == "U" else ids), vectors


def _from_parquet(path: Path) -> tuple[NDArray[Any], NDArray[np.float32]]:
    _require("a column", ("id", "vector"), pq.read_schema(path).names)
    table = pq.read_table(path, columns=["id", "vector"])
    lists = table["vector"].combine_chunks()
    if table["id"].null_count or lists.null_count:
        raise ValueError("rows without an id or a vector")
    if not isinstance(lists, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        raise ValueError(f"vectors of type {lists.type}")
    lengths = lists.value_lengths().unique().to_pylist() or [0]
    if len(lengths) > 1:
        raise ValueError(f"vectors of {min(lengths)} to {max(lengths)} numbers")
    numbers = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return table["id"].to_numpy(), numbers.reshape(len(table), lengths[0])


def _require(kind: str, names: Iterable[str], given: Container[str]) -> None:
    for name in names:
        if name not in given:
            raise KeyError(f"{kind} {name!r}")
