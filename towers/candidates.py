"""Candidates: the items that a batch's positives are compared with."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from towerzoo.datasets import Batch
from towerzoo.towers.seen_items import SeenItems


class Sampler(Protocol):
    """The contract of a registered sampler: draws item rows, and knows how often it draws each.

    The unknown item, row 0, is never drawn.
    """

    def draw(self, positives: Tensor) -> Tensor:
        """Draws items for a batch.

        Args:
            positives: The batch's own items (B,).

        Returns:
            int64 item rows (n,); one may come several times.
        """

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Returns how often each of item rows (C,) is drawn on average for a pair: float32 > 0 (C,)."""


class Candidates(NamedTuple):
    """Distinct items that all pairs of a batch are compared with.

    Attributes:
        rows: int64 item rows, ascending (C,).
        log_count: Logarithm of how often each was drawn (C,).
        log_expected: Logarithm of how often each is drawn on average (C,). A sum over candidates of count / expected
            times anything is on average the sum over the whole catalogue.
    """

    rows: Tensor
    log_count: Tensor
    log_expected: Tensor


def draw_candidates(sampler: Sampler, positives: Tensor) -> Candidates:
    """Draws the candidates of a batch.

    Args:
        sampler: Where from.
        positives: The batch's own items (B,).
    """
    rows, counts = torch.unique(sampler.draw(positives), return_counts=True)
    return Candidates(rows, counts.log(), sampler.expected(rows, len(positives)).log())


def excluded_pairs(batch: Batch, rows: Tensor, known: SeenItems | None) -> tuple[Tensor, Tensor]:
    """Returns which candidates do not count for which events: the own item, and what the user is known to like.

    Args:
        batch: The events (B,).
        rows: Item rows of the candidates, ascending (C,).
        known: The items that each user is known to like.

    Returns:
        Places of events and of candidates, one each a pair that does not count.
    """
    places = torch.arange(len(batch.item), device=batch.item.device)
    items = batch.item.long()
    if known is not None:
        theirs, liked = known.of(batch.user)
        places, items = torch.cat([places, theirs]), torch.cat([items, liked])
    columns = torch.searchsorted(rows, items).clamp_max(len(rows) - 1)
    found = rows.index_select(0, columns) == items
    return places[found], columns[found]
