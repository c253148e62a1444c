"""Files of vectors, each with the raw id that it belongs to."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from towerzoo.registry.errors import DataError


def read_vectors(path: Path) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Reads a file of vectors; no code in it is run.

    Args:
        path: A Parquet file with the columns `id` (whole numbers or text) and `vector` (a list of numbers), or an .npz
            file with the arrays `ids` (N,) and `vectors` (N, D).

    Returns:
        The raw ids (N,), whole numbers or str, and the vectors (N, D).

    Raises:
        DataError: The file is missing or malformed, an id comes twice, or vectors differ in length or are not finite.
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
        raise DataError(f"{path} must have {error.args[0]}, got a file without it. Rename what it has.") from None
    except (OSError, EOFError, ValueError, pa.ArrowException, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()).removesuffix(".")
        raise DataError(f"{path} must be a whole file of ids and vectors, got {reason}. Write it again.") from None
    kind = pd.api.types.infer_dtype(ids)
    if kind not in ("integer", "string", "empty"):
        raise DataError(f"{path} must have ids of whole numbers or text, got {kind}. Convert them.")
    if ids.ndim != 1 or vectors.ndim != 2 or len(ids) != len(vectors):
        found = f"ids of shape {ids.shape} and vectors of shape {vectors.shape}"
        raise DataError(f"{path} must have ids (N,) and vectors (N, D), got {found}. Give every id one vector.")
    if twice := pd.Series(ids)[pd.Index(ids).duplicated()].unique().tolist():
        raise DataError(
            f"{path} must have every id once, got {len(twice)} more often, such as {twice[0]!r}. Remove the others."
        )
    if faulty := int((~np.isfinite(vectors)).any(axis=1).sum()):
        raise DataError(f"{path} must have finite vectors, got {faulty} of {len(ids)} that are not. Correct them.")
    return ids, vectors


def _from_npz(path: Path) -> tuple[NDArray[Any], NDArray[np.float32]]:
    if not zipfile.is_zipfile(path):
        raise ValueError("no archive of arrays")
    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in ("ids", "vectors") if name not in arrays]
        if missing:
            raise KeyError(f"an array {missing[0]!r}")
        ids, vectors = arrays["ids"], arrays["vectors"].astype(np.float32)
    return (ids.astype(object) if ids.dtype.kind == "U" else ids), vectors


def _from_parquet(path: Path) -> tuple[NDArray[Any], NDArray[np.float32]]:
    names = pq.read_schema(path).names
    missing = [name for name in ("id", "vector") if name not in names]
    if missing:
        raise KeyError(f"a column {missing[0]!r}")
    table = pq.read_table(path, columns=["id", "vector"])
    lists = table["vector"].combine_chunks()
    if table["id"].null_count or lists.null_count:
        raise ValueError("rows without an id or a vector")
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist() or [0]
    if len(lengths) > 1:
        raise ValueError(f"vectors of {min(lengths)} to {max(lengths)} numbers")
    numbers = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return table["id"].to_numpy(), numbers.reshape(len(table), lengths[0])
