"""Vectors of table rows, each made once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ROWS_AT_ONCE = 8_192
"""Rows that a tower encodes in one call; bounds the memory of its hidden layers."""


class VectorTable:
    """The vectors of a table's rows, each encoded the first time that it is asked for.

    This is why evaluation costs two tower passes over the distinct users and items instead of two over all pairs. The
    result equals encoding row by row where the tower is in eval mode.

    Args:
        encode: Maps rows (B,) to vectors (B, D); a Tower in eval mode.
        n_rows: Rows of the table.

    Example:
        >>> calls = []
        >>> def encode(rows: Tensor) -> Tensor:
        ...     calls.append(rows.tolist())
        ...     return rows.float().unsqueeze(1)
        >>> table = VectorTable(encode, 10)
        >>> vectors, at = table(torch.tensor([3, 3, 1]))
        >>> vectors[at].squeeze(1)
        tensor([3., 3., 1.])
        >>> vectors, at = table(torch.tensor([1, 2]))
        >>> vectors[at].squeeze(1)
        tensor([1., 2.])
        >>> calls
        [[1, 3], [2]]
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], n_rows: int) -> None:
        self.encode = encode
        self.n_rows = n_rows
        self.vectors: Tensor | None = None
        self.known: Tensor | None = None

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns all vectors (n_rows, D), zero for rows never asked for, and the places (B,) in them of rows (B,)."""
        distinct = torch.unique(rows)
        if self.known is None:
            self.known = torch.zeros(self.n_rows, dtype=torch.bool, device=rows.device)
        new = distinct[~self.known.index_select(0, distinct)]
        # Splitting nothing gives one chunk of no rows, which is worth a call only to learn the length of the vectors.
        for chunk in new.split(ROWS_AT_ONCE) if len(new) or self.vectors is None else ():
            encoded = self.encode(chunk)
            if self.vectors is None:
                self.vectors = encoded.new_zeros((self.n_rows, encoded.shape[1]))
            self.vectors.index_copy_(0, chunk.long(), encoded)
            self.known[chunk.long()] = True
        assert self.vectors is not None
        return self.vectors, rows.long()
