"""Batches of events that are read as they are needed, for logs that do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from towerzoo.datasets.batches.loaders import Batch, EpochLoader, epoch_seed
from towerzoo.datasets.vocabulary import UNKNOWN


class StreamedEvents(NamedTuple):
    """Events of a stream that are in memory.

    Attributes:
        events: The events, without negatives.
        shown: The items that were shown with each event and not taken; None where batches hold none.
    """

    events: Batch
    shown: IdLists | None = None

    def take(self, rows: Tensor) -> StreamedEvents:
        """Returns some events, in the order of their rows; what was shown is shared."""
        events = _batch(None if values is None else values.index_select(0, rows) for values in self.events)
        return StreamedEvents(events, None if self.shown is None else self.shown.take(rows))

    def part(self, start: int, end: int) -> StreamedEvents:
        """Returns the events from one row to before another."""
        # A view would keep all that is held.
        events = _batch(None if values is None else values[start:end].clone() for values in self.events)
        return StreamedEvents(events, None if self.shown is None else self.shown.part(start, end))

    def followed_by(self, other: StreamedEvents) -> StreamedEvents:
        """Returns these events and others behind them."""
        pairs = zip(self.events, other.events, strict=True)
        events = _batch(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs)
        shown = None if self.shown is None or other.shown is None else self.shown.followed_by(other.shown)
        return StreamedEvents(events, shown)

    def batch(self, device: torch.device | None) -> Batch:
        """Returns the events as a batch, what was shown with them padded to the longest list among them."""
        negatives = None if self.shown is None else self.shown.padded()
        batch = self.events._replace(negatives=negatives)
        return _batch(None if values is None else values.to(device, non_blocking=True) for values in batch)


class StreamLoader(EpochLoader):
    """Yields the events of a stream as batches, with no more than some of its groups in memory.

    Its interface is that of `BatchLoader`. An epoch visits the groups in an order drawn anew, holds a few of them at a
    time, and draws batches from these at random; what is left of a batch is mixed into the next groups. The order is a
    pure function of seed and epoch. It mixes less than `BatchLoader`'s, since events of one group come near each other:
    write files in no order that tells labels apart, in groups much smaller than what is held.

    Args:
        read: Reads the events of groups.
        fills: Divides an order of groups into those that are held together.
        n_groups: Groups of the stream.
        n_events: Events of all groups.
        batch_size: Events a batch; a rest of one event joins the batch before it, when shuffling.
        seed: Seed of the order; None keeps that of the stream.
        device: Where batches are made.

    Example:
        >>> groups = [torch.tensor([1, 2, 3]), torch.tensor([4])]
        >>> def read(numbers: list[int]) -> StreamedEvents:
        ...     rows = torch.cat([groups[number] for number in numbers])
        ...     return StreamedEvents(Batch(rows, rows, torch.ones(len(rows))))
        >>> def one_by_one(order: list[int]) -> Iterator[list[int]]:
        ...     yield from ([number] for number in order)
        >>> [batch.user.tolist() for batch in StreamLoader(read, one_by_one, 2, 4, batch_size=2)]
        [[1, 2], [3, 4]]
    """

    def __init__(
        self,
        read: Callable[[list[int]], StreamedEvents],
        fills: Callable[[list[int]], Iterator[list[int]]],
        n_groups: int,
        n_events: int,
        *,
        batch_size: int,
        seed: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(n_events, batch_size=batch_size, seed=seed)
        self.read = read
        self.fills = fills
        self.n_groups = n_groups
        self.device = device

    def __iter__(self) -> Iterator[Batch]:
        generator = None
        order = torch.arange(self.n_groups)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
            order = torch.randperm(self.n_groups, generator=generator)
        waiting = self.fills(order.tolist())
        held, given = _mixed(self.read(next(waiting)), generator), 0
        start = 0
        for end in self.ends:
            size = end - start
            while len(held.events.user) - given < size:
                held = held.part(given, len(held.events.user))
                held, given = _mixed(held.followed_by(self.read(next(waiting))), generator), 0
            yield held.part(given, given + size).batch(self.device)
            given += size
            start = end


def _mixed(held: StreamedEvents, generator: torch.Generator | None) -> StreamedEvents:
    if generator is None:
        return held
    return held.take(torch.randperm(len(held.events.user), generator=generator, dtype=torch.int32))


def _batch(columns: Iterable[Tensor | None]) -> Batch:
    user, item, label, *others = columns
    assert user is not None
    assert item is not None
    assert label is not None
    return Batch(user, item, label, *others)


@dataclass(frozen=True)
class IdLists:
    """Lists that take up what they hold, whatever the length of the longest.

    Attributes:
        values: int32 ids of all lists (V,).
        starts: int64 place in `values` where each list begins (N,).
        lengths: int64 ids of each list (N,).

    Example:
        >>> lists = IdLists.of(torch.tensor([7, 8, 9]), torch.tensor([1, 0, 2]))
        >>> lists.take(torch.tensor([2, 0])).padded()
        tensor([[8, 9],
                [7, 0]])
    """

    values: Tensor
    starts: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, values: Tensor, lengths: Tensor) -> IdLists:
        """Returns lists whose values come one list after the other."""
        return cls(values, lengths.cumsum(0) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: Tensor) -> IdLists:
        """Returns the lists of some rows, in their order; the values are shared."""
        return IdLists(self.values, self.starts.index_select(0, rows), self.lengths.index_select(0, rows))

    def part(self, start: int, end: int) -> IdLists:
        """Returns the lists from one row to before another, with values of their own."""
        starts, lengths = self.starts[start:end], self.lengths[start:end].clone()
        shift = starts - (lengths.cumsum(0) - lengths)
        places = shift.repeat_interleave(lengths)
        places += torch.arange(len(places), device=places.device)
        return IdLists.of(self.values.index_select(0, places), lengths)

    def followed_by(self, other: IdLists) -> IdLists:
        """Returns these lists and others behind them."""
        starts = torch.cat([self.starts, other.starts + len(self.values)])
        return IdLists(torch.cat([self.values, other.values]), starts, torch.cat([self.lengths, other.lengths]))

    def padded(self) -> Tensor:
        """Returns the lists padded to the longest with the unknown id, (N, L), L being at least 1."""
        width = max(1, int(self.lengths.max())) if len(self) else 1
        padded = self.values.new_full((len(self), width), UNKNOWN)
        held = torch.arange(width, device=padded.device) < self.lengths.unsqueeze(1)
        padded[held] = self.part(0, len(self)).values
        return padded
