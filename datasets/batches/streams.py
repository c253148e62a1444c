"""Batches of streamed events, for logs that are larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from towerzoo.datasets.batches.loaders import Batch, EpochLoader, epoch_seed
from towerzoo.datasets.vocabulary import UNKNOWN


class StreamedEvents(NamedTuple):
    """The events of a stream that are in memory.

    Attributes:
        events: The events, without negatives.
        shown: The items that were shown with each event and not taken; None if batches have none.
    """

    events: Batch
    shown: IdLists | None = None

    def take(self, rows: Tensor) -> StreamedEvents:
        """Returns the events of some rows, in their order; the ids of items shown are shared."""
        events = self.events.map(lambda column: column.index_select(0, rows))
        return StreamedEvents(events, None if self.shown is None else self.shown.take(rows))

    def part(self, start: int, end: int) -> StreamedEvents:
        """Returns the events from one row to before another, with memory of their own."""
        events = self.events.map(lambda column: column[start:end].clone())
        return StreamedEvents(events, None if self.shown is None else self.shown.part(start, end))

    def followed_by(self, other: StreamedEvents) -> StreamedEvents:
        """Returns these events followed by others."""
        others = iter(column for column in other.events if column is not None)
        events = self.events.map(lambda column: torch.cat([column, next(others)]))
        shown = None if self.shown is None or other.shown is None else self.shown.followed_by(other.shown)
        return StreamedEvents(events, shown)

    def batch(self, device: torch.device | None) -> Batch:
        """Returns the events as a batch, the items shown padded to the longest list."""
        negatives = None if self.shown is None else self.shown.padded()
        return self.events._replace(negatives=negatives).map(lambda column: column.to(device, non_blocking=True))


class StreamLoader(EpochLoader):
    """Yields the events of a stream as batches, with only some of its groups in memory.

    An epoch visits the groups in a new order, holds a few of them at a time, and draws batches from these at random;
    the rest is mixed with the next groups. The order is a pure function of seed and epoch. It shuffles less than
    `BatchLoader`, since events of one group stay close to each other: write files in an order that is unrelated to
    labels, in groups much smaller than the buffer.

    Args:
        read: Reads the events of groups.
        fills: Cuts an order of groups into those that are held together.
        n_groups: Groups of the stream.
        n_events: Events of all groups.
        batch_size: See `EpochLoader`.
        seed: Seed of the order; None keeps the order of the stream.
        device: The device of the batches.
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
        held = _shuffled(self.read(next(waiting)), generator)
        used = start = 0
        for end in self.ends:
            size = end - start
            while len(held.events.user) - used < size:
                held = held.part(used, len(held.events.user))
                held, used = _shuffled(held.followed_by(self.read(next(waiting))), generator), 0
            yield held.part(used, used + size).batch(self.device)
            used += size
            start = end


def _shuffled(held: StreamedEvents, generator: torch.Generator | None) -> StreamedEvents:
    if generator is None:
        return held
    return held.take(torch.randperm(len(held.events.user), generator=generator, dtype=torch.int32))


@dataclass(frozen=True)
class IdLists:
    """Lists of ids without padding, so that one long list does not cost memory for all.

    Attributes:
        values: int32 ids of all lists (V,).
        starts: int64 position in `values` at which each list begins (N,).
        lengths: int64 length of each list (N,).

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
        """Returns lists whose values are stored one list after the other."""
        return cls(values, lengths.cumsum(0) - lengths, lengths)

    def take(self, rows: Tensor) -> IdLists:
        """Returns the lists of some rows, in their order, sharing the values."""
        return IdLists(self.values, self.starts.index_select(0, rows), self.lengths.index_select(0, rows))

    def part(self, start: int, end: int) -> IdLists:
        """Returns the lists from one row to before another, with values of their own."""
        starts, lengths = self.starts[start:end], self.lengths[start:end].clone()
        shift = starts - (lengths.cumsum(0) - lengths)
        positions = shift.repeat_interleave(lengths)
        positions += torch.arange(len(positions), device=positions.device)
        return IdLists.of(self.values.index_select(0, positions), lengths)

    def followed_by(self, other: IdLists) -> IdLists:
        """Returns these lists followed by others."""
        starts = torch.cat([self.starts, other.starts + len(self.values)])
        return IdLists(torch.cat([self.values, other.values]), starts, torch.cat([self.lengths, other.lengths]))

    def padded(self) -> Tensor:
        """Returns the lists padded with the unknown id to the longest, (N, L), where L is at least 1."""
        width = max(1, int(self.lengths.max())) if len(self.lengths) else 1
        padded = self.values.new_full((len(self.lengths), width), UNKNOWN)
        held = torch.arange(width, device=padded.device) < self.lengths.unsqueeze(1)
        padded[held] = self.part(0, len(self.lengths)).values
        return padded
