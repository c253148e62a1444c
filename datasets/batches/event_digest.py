"""A digest of labelled events, the same whether they are in memory or streamed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from torch import Tensor


def digest_of_columns(columns: Iterable[Iterable[Tensor]]) -> str:
    """Returns the number and the digest of some labelled events, as `NUMBER:DIGEST`.

    Args:
        columns: User rows, item rows and labels, each in any number of pieces.

    Example:
        >>> import torch
        >>> rows = torch.arange(4)
        >>> digest_of_columns([[rows], [rows]]) == digest_of_columns([rows.split(3), rows.split(1)])
        True
    """
    digest = hashlib.sha256()
    events = 0
    for column in columns:
        events = 0
        for values in column:
            digest.update(values.numpy().data)
            events += len(values)
    return f"{events}:{digest.hexdigest()[:16]}"
