"""Vectors that were made elsewhere, such as those of a language or image model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from towerzoo.datasets import Column
from towerzoo.registry import ENCODERS
from towerzoo.registry.errors import DataError
from towerzoo.registry.ranges import Count
from towerzoo.towers.encoders.embedding import wrong_column
from towerzoo.towers.encoders.vector_file import read_vectors


@ENCODERS.register("pretrained")
class PretrainedEncoder(nn.Module):
    """Vectors from a file, one an id, kept as they are or trained further.

    Ids without a vector, and the unknown id, start as zeros. The vectors are saved with the weights: a run is tested,
    resumed and served without the file. What is wrong with the file is therefore kept as `trouble`, which `build_model`
    tells before training, and the encoder where weights that were to be loaded never came.

    Args:
        column: The feature: ids (n,).
        path: A .parquet or .npz file, see `towers.vector_file.read_vectors`; relative to the working directory.
        dim: Length of the vectors, that of the file's.
        trainable: Whether training changes the vectors.

    Attributes:
        trouble: What is wrong with the file; None once weights are loaded.

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
        super().__init__()
        if column.vocabulary is None or column.is_list:
            raise wrong_column(column, "a feature of single ids for encoder 'pretrained'", "Name one.")
        self.out_features = dim
        self.embedding = nn.Embedding(column.cardinality, dim)
        nn.init.zeros_(self.embedding.weight).requires_grad_(trainable)
        self.register_buffer("without", torch.tensor(column.cardinality - 1))
        self.trouble: DataError | None = None
        try:
            self._read(column, Path(path))
        except DataError as error:
            self.trouble = error
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
        found = rows > 0
        if not found.any():
            told = [", ".join(repr(value) for value in some[:3]) for some in (column.vocabulary.values, ids.tolist())]
            raise DataError(
                f"{path} must have vectors of ids of feature {column.name!r}, such as {told[0] or 'none'}, "
                f"got none of them, but {told[1] or 'nothing'}. Text and numbers are different ids."
            )
        self.embedding.weight[rows[found]] = torch.from_numpy(vectors)[found]
        self.without -= found.sum()

    def forward(self, ids: Tensor) -> Tensor:
        """Maps ids (B,) to vectors (B, dim).

        Raises:
            DataError: The file could not be read, and no weights were loaded since.
        """
        if self.trouble is not None:
            raise self.trouble
        vectors: Tensor = self.embedding(ids)
        return vectors

    def extra_repr(self) -> str:
        """Returns how many ids have no vector."""
        about = "trainable" if self.embedding.weight.requires_grad else "frozen"
        return f"{int(self.without)} of {len(self.embedding.weight) - 1} ids without a vector, {about}"


def _needs_no_file(encoder: PretrainedEncoder, incompatible: Any) -> None:
    encoder.trouble = None
