"""The history encoder: a user as the items that she has met."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import torch
from torch import Tensor, nn

from towerzoo.datasets import UNKNOWN
from towerzoo.datasets.history import NO_PLACE, History
from towerzoo.registry import ENCODERS, INITIALIZERS, POOLINGS, Spec
from towerzoo.registry.errors import ConfigError, Problem, RegistryError
from towerzoo.registry.ranges import Count, Rate
from towerzoo.towers.encoders.embedding import fill
from towerzoo.towers.layers.bag_sums import bag_sums
from towerzoo.towers.layers.poolings import built_pooling

UNORDERED: Final = {"sum": 0.0, "sqrtn": 0.5, "mean": 1.0}
"""The poolings of a whole history, and the power of the number of vectors that each divides their sum by."""

NO_EVENT: Final = -1
"""What pads a list of a history's ids; 0 is an event with the unknown item."""


@ENCODERS.register("history")
class HistoryEncoder(nn.Module):
    """Learned vectors of the items that a user met in the training split, pooled.

    The event that is scored is always left out in training, so that no label is in its own input: with `last` the
    history of an event is what came before it, without `last` it is all of the user's other events. In validation it is
    all training events, or the last of them; in test, of a split in time, validation events count as well. A user
    without a history gets zeros, and one who was not there in training gets a vector from a few events without
    retraining.

    Args:
        column: The histories.
        dim: Length of the vectors.
        last: The latest events that count, in order of time, newest first; none takes all events without an order.
        by: Whether an item has one vector, or one for each kind of event: `label`, liked or not; `measure`, every value
            of what the labels are made from, such as each rating.
        pooling: A registered pooling op; without `last` one of `sum`, `mean` and `sqrtn`.
        dropout: Share of the events that a training batch leaves out at random, so that no single one is relied on.
        init: A registered initializer for the matrix of vectors; none takes that of the tower.

    Attributes:
        by: As given; `ids_of` wants kinds unless it is `item`.
        testing: Whether validation events count, as they do once a model is finished.

    Raises:
        ConfigError: The pooling needs an order, or `last` is given for events without times.

    Sources: the items as the user, Koren, KDD 2008 (SVD++); recency, Covington et al., RecSys 2016.
    """

    ids: Tensor
    starts: Tensor
    ends: Tensor
    test_ends: Tensor
    place: Tensor

    def __init__(
        self,
        column: History,
        *,
        dim: Count,
        last: Count | None = None,
        by: Literal["item", "label", "measure"] = "item",
        pooling: Annotated[Spec, POOLINGS] = "mean",
        dropout: Rate = 0.0,
        init: Annotated[Spec, INITIALIZERS] | None = None,
    ) -> None:
        super().__init__()
        name, _ = POOLINGS.split(pooling)
        problems = []
        if last is None and name not in UNORDERED:
            expected = f"{', '.join(UNORDERED)} for a history without `last`"
            problems.append(Problem("pooling of encoder 'history'", expected, name, "Add last: 50, or so."))
        if last is not None and not column.ordered:
            problems.append(Problem("last of encoder 'history'", "null for events without times", last))
        if problems:
            raise ConfigError(problems)
        self.out_features = dim
        self.sizes_vary = last is None
        self.last = last
        self.dropout = dropout
        self.by = by
        self.n_partners = column.n_partners
        n_kinds = 1 if by == "item" else int(column.kinds[by].max()) + 1
        ids = self.ids_of(column.partner, None if by == "item" else column.kinds[by])
        self.register_buffer("ids", ids, persistent=False)
        for part in ("starts", "ends", "test_ends", "place"):
            self.register_buffer(part, getattr(column, part), persistent=False)
        self.testing = False
        self.embedding = nn.Embedding(n_kinds * column.n_partners, dim, padding_idx=UNKNOWN)
        self.power = UNORDERED.get(name)
        self.pooling = built_pooling(pooling, dim) if last is not None else None
        fill(self.embedding, init)

    def forward(self, rows: Tensor, events: Tensor | None = None) -> Tensor:
        """Maps rows of the table (B,) to vectors (B, dim); events (B,), where given, are left out of their own."""
        return self._all(rows, events) if self.last is None else self._latest(rows, events, self.last)

    def _ends(self) -> Tensor:
        return self.test_ends if self.testing else self.ends

    def ids_of(self, partners: Tensor, kinds: Tensor | None) -> Tensor:
        """Returns the ids of the vectors that stand for events of some partners and kinds."""
        return partners if kinds is None else partners + kinds * self.n_partners

    def lists(self, rows: Tensor) -> Tensor:
        """Returns the histories of rows (B,) as `pool` takes them (B, L)."""
        starts, ends = self.starts.index_select(0, rows), self._ends().index_select(0, rows)
        longest = int((ends - starts).max()) if len(rows) else 0
        return self._before(starts, ends, longest if self.last is None else self.last)

    def pool(self, ids: Tensor) -> Tensor:
        """Maps histories (B, L), ids of vectors, newest first and padded with `NO_EVENT`, to vectors (B, dim)."""
        ids = ids[:, : self.last]
        mask = ids != NO_EVENT
        vectors = self.embedding(ids.where(mask, UNKNOWN))
        if self.pooling is not None:
            pooled: Tensor = self.pooling(vectors, mask)
            return pooled
        return self._divided((vectors * mask.unsqueeze(-1)).sum(dim=1), mask.sum(dim=1))

    def _before(self, starts: Tensor, ends: Tensor, length: int) -> Tensor:
        """Returns the last events between places (B,) of the histories, newest first (B, length)."""
        places = ends.unsqueeze(1) - torch.arange(1, length + 1, device=ends.device)
        return self.ids.take(places.clamp_min(0)).where(places >= starts.unsqueeze(1), NO_EVENT)

    def _latest(self, rows: Tensor, events: Tensor | None, last: int) -> Tensor:
        ends = self._ends().index_select(0, rows) if events is None else self.place.index_select(0, events).long()
        ids = self._before(self.starts.index_select(0, rows), ends, last)
        if self.training and self.dropout:
            ids = ids.where(torch.rand(ids.shape, device=ids.device) >= self.dropout, NO_EVENT)
        return self.pool(ids)

    def _all(self, rows: Tensor, events: Tensor | None) -> Tensor:
        owners, at = torch.unique(rows, return_inverse=True)
        starts = self.starts.index_select(0, owners)
        counts = self._ends().index_select(0, owners) - starts
        offsets = counts.cumsum(0) - counts
        n = int(counts.sum())
        places = torch.arange(n, device=rows.device) + (starts - offsets).repeat_interleave(counts, output_size=n)
        kept = torch.ones(n, dtype=torch.bool, device=rows.device)
        if self.training and self.dropout:
            kept = torch.rand(n, device=rows.device) >= self.dropout
        upto = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])
        sums = bag_sums(self.embedding.weight, self.ids.index_select(0, places[kept]), upto.index_select(0, offsets))
        sums, numbers = sums.index_select(0, at), counts.index_select(0, at)
        if events is not None:
            place = self.place.index_select(0, events)
            held = place != NO_PLACE
            among = ((offsets - starts).index_select(0, at) + place).where(held, len(kept))
            there = torch.cat([kept, kept.new_zeros(1)]).index_select(0, among)
            own = self.embedding(self.ids.index_select(0, place.clamp_min(0)))
            sums, numbers = sums - own * there.unsqueeze(1), numbers - held.to(numbers.dtype)
        if self.training:
            sums = sums / (1 - self.dropout)
        return self._divided(sums, numbers)

    def _divided(self, sums: Tensor, numbers: Tensor) -> Tensor:
        """Returns sums (B, dim) over the power of how many vectors each is of (B,)."""
        assert self.power is not None
        return sums / numbers.clamp_min(1).unsqueeze(1).to(sums.dtype) ** self.power


def takes_history(encoder: object) -> bool:
    """Returns whether the spec of an encoder names one of histories; its feature may then have any name."""
    try:
        return ENCODERS.split(encoder)[0] == "history"  # type: ignore[arg-type]
    except RegistryError:
        return False
