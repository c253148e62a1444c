"""The history encoder: a user as the items of their events."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from towerzoo.datasets import UNKNOWN
from towerzoo.datasets.history import NO_POSITION, History
from towerzoo.registry import ENCODERS, INITIALIZERS, POOLINGS, Spec
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.registry.ranges import Count, Rate
from towerzoo.towers.encoders import AsOf
from towerzoo.towers.encoders.embedding import fill
from towerzoo.towers.encoders.events import NO_EVENT, EventsEncoder
from towerzoo.towers.layers.bag_sums import bag_sums
from towerzoo.towers.layers.poolings import COUNT_POWERS, built_pooling, divide_by_count


@ENCODERS.register("history")
class HistoryEncoder(EventsEncoder):
    """Learned vectors of the items in a user's events, pooled.

    With `last`, the latest events count, in order of time; without it, all events without an order. A user without
    events gets zeros, and an unseen user gets a vector from a few events without retraining.

    Args:
        column: The users' events.
        dim: Length of the vectors.
        last: See `EventsEncoder`.
        by: See `EventsEncoder`.
        pooling: A registered pooling op; without `last`, one of `sum`, `mean` and `sqrtn`.
        dropout: Share of the events, in [0, 1), that training drops at random.
        init: A registered initializer for the matrix of vectors; None takes the tower's.

    Raises:
        ConfigError: The pooling needs an order, or `last` is given for events without times.

    Sources: the items as the user, Koren, KDD 2008 (SVD++); recency, Covington et al., RecSys 2016.
    """

    def __init__(
        self,
        column: History,
        *,
        dim: Count,
        last: Count | None = None,
        by: Literal["item", "label", "feedback"] = "item",
        pooling: Annotated[Spec, POOLINGS] = "mean",
        dropout: Rate = 0.0,
        init: Annotated[Spec, INITIALIZERS] | None = None,
    ) -> None:
        super().__init__(column, last=last, by=by)
        name, _ = POOLINGS.split(pooling)
        if last is None and name not in COUNT_POWERS:
            expected = f"{', '.join(COUNT_POWERS)} for a history without `last`"
            raise ConfigError([Problem("pooling of encoder 'history'", expected, name, "Add last: 50, for example.")])
        self.out_features = dim
        self.dropout = dropout
        self.embedding = nn.Embedding(self.n_ids, dim, padding_idx=UNKNOWN)
        self.power = COUNT_POWERS.get(name, 0.0)  # for whole histories
        self.pooling = built_pooling(pooling, dim) if last is not None else None
        fill(self.embedding, init)

    def forward(self, events: Tensor) -> Tensor:
        """Maps events (B, L), newest first and padded with `NO_EVENT`, to vectors (B, dim)."""
        events = events[:, : self.last]
        if self.training and self.dropout and self.last is not None:  # `encode_rows` drops those of whole histories
            events = events.where(torch.rand(events.shape, device=events.device) >= self.dropout, NO_EVENT)
        mask = events != NO_EVENT
        vectors = self.embedding(events.where(mask, UNKNOWN))
        if self.pooling is not None:
            pooled: Tensor = self.pooling(vectors, mask)
            return pooled
        return divide_by_count((vectors * mask.unsqueeze(-1)).sum(dim=1), mask.sum(dim=1), self.power)

    def encode_rows(self, rows: Tensor, events: Tensor | None = None, as_of: AsOf = "valid") -> Tensor:
        """Maps table rows (B,) to vectors (B, dim); whole histories are summed once for each distinct user."""
        if self.last is not None:
            return super().encode_rows(rows, events, as_of)
        owners, at = torch.unique(rows, return_inverse=True)
        starts = self.starts.index_select(0, owners)
        counts = self.ends_of(owners, as_of) - starts
        offsets = counts.cumsum(0) - counts
        n = int(counts.sum())
        positions = torch.arange(n, device=rows.device) + (starts - offsets).repeat_interleave(counts, output_size=n)
        kept = torch.ones(n, dtype=torch.bool, device=rows.device)
        if self.training and self.dropout:
            kept = torch.rand(n, device=rows.device) >= self.dropout
        upto = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])
        ids = self.values.index_select(0, positions[kept])
        sums = bag_sums(self.embedding.weight, ids, upto.index_select(0, offsets))
        sums, numbers = sums.index_select(0, at), counts.index_select(0, at)
        if events is not None:  # take the scored event out of its own history
            position = self.position.index_select(0, events)
            held = position != NO_POSITION
            bit = ((offsets - starts).index_select(0, at) + position).where(held, len(kept))
            summed = torch.cat([kept, kept.new_zeros(1)]).index_select(0, bit)
            scored = self.embedding(self.values.index_select(0, position.clamp_min(0)))
            sums, numbers = sums - scored * summed.unsqueeze(1), numbers - held.to(numbers.dtype)
        if self.training:
            sums = sums / (1 - self.dropout)
        return divide_by_count(sums, numbers, self.power)
