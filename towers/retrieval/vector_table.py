"""Encoding the rows of a table: in chunks, and each once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ROWS_AT_ONCE = 8_192
"""Rows that a tower encodes in one call; bounds the memory of its hidden layers."""


@torch.no_grad()
def encode_rows(encode: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Encodes rows (B,) of a table to vectors (B, D), `ROWS_AT_ONCE` in a call.

    Args:
        encode: Maps rows (B,) to vectors (B, D), such as a Tower in eval mode; also no rows to (0, D).
        rows: The rows.
    """
    return torch.cat([encode(chunk) for chunk in torch.split(rows, ROWS_AT_ONCE)])


class VectorTable:
    """The vectors of a table's rows, each encoded the first time that it is needed.

    With it, evaluation encodes each distinct user and item once instead of once per pair. In eval mode the result
    equals encoding pair by pair.

    Args:
        encode: Maps rows (B,) to vectors (B, D); a Tower in eval mode.
        n_rows: Rows of the table.

    Example:
        >>> table = VectorTable(lambda rows: rows.float().unsqueeze(1), 10)
        >>> vectors, at = table(torch.tensor([3, 3, 1]))
        >>> vectors[at].squeeze(1)
        tensor([3., 3., 1.])
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], n_rows: int) -> None:
        self.encode = encode
        self.n_rows = n_rows
        self.vectors: Tensor | None = None
        self.known: Tensor | None = None

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns all vectors (n_rows, D), zero for rows not needed yet, and where in them rows (B,) are: (B,)."""
        new = torch.unique(rows)
        if self.known is not None:
            new = new[~self.known.index_select(0, new)]
        if self.vectors is None or self.known is None or len(new):
            encoded = encode_rows(self.encode, new)
            if self.vectors is None or self.known is None:  # the first call, also of no rows, shows the length D
                self.vectors = encoded.new_zeros((self.n_rows, encoded.shape[1]))
                self.known = torch.zeros(self.n_rows, dtype=torch.bool, device=rows.device)
            self.vectors.index_copy_(0, new.long(), encoded)
            self.known[new.long()] = True
        return self.vectors, rows.long()
