"""The contract of encoders that read a user's events, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from towerzoo.datasets import UNKNOWN
from towerzoo.datasets.history import History
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.towers.encoders import AsOf, Encoder
from towerzoo.towers.encoders.inputs import Input

NO_EVENT: Final = -1
"""Pads a list of events; 0 is an event with the unknown item."""


class EventsEncoder(Encoder):
    """An encoder of each user's events, whose `forward` maps lists of events (B, L), newest first, to vectors.

    An event is a number from 0 to `n_ids` - 1: the item's row or, with `by`, its row and kind. `NO_EVENT` pads a list.
    In training, an event's list holds the events before it or, without `last`, all other events: no label is part of
    its own input. In validation, lists hold the training events; in test and for recommendations, also the validation
    events if the split is in time.

    Args:
        history: The users' events.
        last: Number of latest events that count; None counts all, without an order.
        by: What distinguishes events with the same item: nothing (`item`), the `label`, or the `feedback` that labels
            are made from, such as each rating.

    Attributes:
        n_items: Number of rows of the items table.
        n_kinds: Number of kinds of events.
        n_ids: n_items x n_kinds.

    Raises:
        ConfigError: `last` is given for events without times.
    """

    source: ClassVar[Literal["column", "events"]] = "events"

    starts: Tensor
    ends: Tensor
    test_ends: Tensor
    position: Tensor

    def __init__(
        self, history: History, *, last: int | None = None, by: Literal["item", "label", "feedback"] = "item"
    ) -> None:
        super(Encoder, self).__init__()
        if last is not None and not history.ordered:
            raise ConfigError([Problem("last of an encoder of histories", "null for events without times", last)])
        self.last = last
        self.by = by
        self.sizes_vary = last is None
        self.n_items = history.n_partners
        kinds = None if by == "item" else history.kinds[by]
        self.n_kinds = 1 if kinds is None else int(kinds.max()) + 1
        self.n_ids = self.n_items * self.n_kinds
        self._usual_kinds = tuple(_usual_kind(history, kinds, liked) for liked in (True, False))
        self.register_buffer("values", self._ids(history.partner, kinds), persistent=False)
        for part in ("starts", "ends", "test_ends", "position"):
            self.register_buffer(part, getattr(history, part), persistent=False)

    def _ids(self, items: Tensor, kinds: Tensor | None) -> Tensor:
        return items if kinds is None else items + kinds * self.n_items

    def inputs(self, rows: Tensor, events: Tensor | None = None, as_of: AsOf = "valid") -> Tensor:
        """Returns the latest events (B, L) of table rows (B,), newest first."""
        starts, ends = self.starts.index_select(0, rows), self.ends_of(rows, as_of)
        scored = None if events is None else self.position.index_select(0, events).long().unsqueeze(1)
        if self.last is None:
            length = int((ends - starts).max()) if len(rows) else 0
        else:
            length, ends = self.last, ends if scored is None else scored.squeeze(1)
        positions = ends.unsqueeze(1) - torch.arange(1, length + 1, device=ends.device)
        held = positions >= starts.unsqueeze(1)
        if scored is not None and self.last is None:
            held &= positions != scored
        return self.values.take(positions.clamp_min(0)).where(held, NO_EVENT)

    def ends_of(self, rows: Tensor, as_of: AsOf) -> Tensor:
        """Returns the end in `values` (B,) of the known events of table rows (B,)."""
        return (self.test_ends if as_of == "test" else self.ends).index_select(0, rows)

    def read(self, raw: Sequence[Any]) -> Tensor:
        """Returns pairs of liked and disliked item rows as events (N, L).

        Liked items get the most frequent kind of positive events, disliked items that of the others. Items added after
        training are unknown.
        """
        lists = []
        for liked, disliked in raw:
            items = torch.tensor([*liked, *disliked], dtype=torch.int32)
            counts = torch.tensor([len(liked), len(disliked)])
            kinds = torch.tensor(self._usual_kinds, dtype=torch.int32).repeat_interleave(counts)
            lists.append(self._ids(items.where(items < self.n_items, UNKNOWN), kinds if self.n_kinds > 1 else None))
        return pad_sequence(lists, batch_first=True, padding_value=NO_EVENT)

    def with_newest(self, inputs: Tensor, newest: Tensor) -> Tensor:
        """Returns newer events (B, K) followed by lists of events (B, L), without gaps."""
        whole = torch.cat([newest.to(inputs), inputs], dim=1)
        return whole.gather(1, (whole == NO_EVENT).byte().argsort(dim=1, stable=True))

    def unknown_like(self, values: Tensor) -> Tensor:
        """Returns empty lists of events."""
        return torch.full_like(values, NO_EVENT)

    def describe(self, value: Tensor) -> str:
        """Returns the number of events in a list (L,)."""
        return f"{int((value != NO_EVENT).sum())} events"

    def export_input(self, name: str) -> Input:
        """Returns an input of events, which a bundle's reader makes from raw items and kinds."""
        return Input(name, "events", length=self.last, padding=NO_EVENT, items=self.n_items, kinds=self.n_kinds)

    def export_vocabulary(self) -> None:
        """Returns None: events use the items' vocabulary."""


def _usual_kind(history: History, kinds: Tensor | None, liked: bool) -> int:
    """Returns the most frequent kind of liked, or of disliked, events; 0 if there are none."""
    if kinds is None:
        return 0
    label = history.kinds["label"]
    positive = label > 0 if len(label) and int(label.max()) > 0 else torch.ones_like(label, dtype=torch.bool)
    chosen = kinds[positive == liked]
    return int(chosen.bincount().argmax()) if len(chosen) else 0
