"""Batches of events: row numbers of users and items, and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Batch(NamedTuple):
    """A batch of events.

    Attributes:
        user: int32 rows of the users table (B,).
        item: int32 rows of the items table (B,).
        label: float32 in [0, 1] (B,).
        weight: float32 weight of each event in the loss (B,); None for equal weights.
        event: int32 rows of the interactions (B,), by which a history leaves out the event itself.
        negatives: int32 rows of items that were shown with each event's item and not taken, padded with 0 (B, L); None
            if training does not use them.
        share: float32 share of the whole batch's weight () if these events are one rank's part of it, else None.
        all_items: int32 rows of the items of the whole batch (G,) if these events are part of it, else None.
    """

    user: Tensor
    item: Tensor
    label: Tensor
    weight: Tensor | None = None
    event: Tensor | None = None
    negatives: Tensor | None = None
    share: Tensor | None = None
    all_items: Tensor | None = None

    @property
    def pool(self) -> Tensor:
        """The item rows of the whole batch, over all ranks."""
        return self.item if self.all_items is None else self.all_items

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Applies a function to every column that is not None."""
        return Batch(*(None if column is None else function(column) for column in self))  # type: ignore[arg-type]


def epoch_seed(seed: int, epoch: int, stream: int = 0) -> int:
    """Mixes a seed and an epoch's number into a 32-bit seed; torch's CPU generator uses 32 bits at most.

    Args:
        seed: The experiment's seed.
        epoch: The epoch's number, from 0.
        stream: Separates random numbers of different purposes; 0 is the order of batches.

    Example:
        >>> epoch_seed(42, 0) == epoch_seed(42, 0), epoch_seed(42, 0) == epoch_seed(42, 1)
        (True, False)
    """
    return int(np.random.SeedSequence([seed, epoch, stream]).generate_state(1)[0])


def batch_ends(n: int, batch_size: int, *, shuffled: bool) -> list[int]:
    """Returns where each batch of n events ends; when shuffled, a single last event joins the batch before it.

    Example:
        >>> batch_ends(5, 2, shuffled=False), batch_ends(5, 2, shuffled=True)
        ([2, 4, 5], [2, 5])
    """
    ends = [*range(batch_size, n, batch_size), n]
    if shuffled and len(ends) > 1 and batch_size > 1 and n - ends[-2] == 1:
        del ends[-2]
    return ends


class EpochLoader:
    """The interface of a loader with a new order each epoch, as Lightning expects it.

    Args:
        n_events: Events an epoch.
        batch_size: Events a batch; when shuffled, a single last event joins the batch before it, since batch
            normalisation cannot train on one row.
        seed: Seed of the order; None keeps the order of the events.
    """

    batch_sampler = None

    def __init__(self, n_events: int, *, batch_size: int, seed: int | None) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.ends = batch_ends(n_events, batch_size, shuffled=seed is not None)

    @property
    def sampler(self) -> EpochLoader:
        """The loader itself: Lightning calls its `set_epoch` at the start of each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, from 0, whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches of the epoch."""
        raise NotImplementedError


class BatchLoader(EpochLoader):
    """Yields events in memory as batches, in their own order or in a new one each epoch.

    The order of an epoch is a pure function of the seed and the epoch's number, so a resumed run gets the same batches
    as one that was never interrupted. Only row numbers are permuted; no Python code runs a row.

    Args:
        events: All events of the dataset, in the order of its interactions.
        rows: int32 rows of the events to yield (N,). Each batch is gathered from all events, which are not copied.
        batch_size: See `EpochLoader`.
        seed: See `EpochLoader`.
        device: The device of the batches. The events move to a GPU once; a step then copies nothing.

    Example:
        >>> events = Batch(torch.arange(5), torch.arange(5), torch.ones(5))
        >>> [len(batch.user) for batch in BatchLoader(events, torch.arange(5).int(), batch_size=2)]
        [2, 2, 1]
        >>> [len(batch.user) for batch in BatchLoader(events, torch.arange(5).int(), batch_size=2, seed=0)]
        [2, 3]
    """

    def __init__(
        self,
        events: Batch,
        rows: Tensor,
        *,
        batch_size: int,
        seed: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(len(rows), batch_size=batch_size, seed=seed)
        self.events = events.map(lambda column: column.to(device))
        self.rows = rows.to(device)

    def __iter__(self) -> Iterator[Batch]:
        rows = self.rows
        if self.seed is not None:
            generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
            # The order is not a variable, which would keep it in memory for the whole epoch.
            rows = rows.index_select(
                0, torch.randperm(len(rows), generator=generator, dtype=rows.dtype).to(rows.device)
            )
        start, last = 0, len(rows)
        for end in self.ends:
            event = rows[start:end].clone()  # a view would keep the whole order in memory
            batch = self.events.map(partial(torch.index_select, dim=0, index=event))._replace(event=event)
            if end == last:
                del rows  # a caller that takes the last batch may never resume this generator
            yield batch
            start = end


class ShareLoader(EpochLoader):
    """Yields one rank's share of each batch, together with the items of the whole batch.

    Every rank draws the same batches from the same seed, so each knows the items of all ranks without communication,
    and all take the same number of steps. Shares differ by one event at most; some are empty if a batch has fewer
    events than there are ranks.

    Args:
        loader: Yields the whole batches.
        rank: The rank, from 0.
        n_ranks: The number of ranks.
    """

    def __init__(self, loader: EpochLoader, rank: int, n_ranks: int) -> None:
        super().__init__(loader.ends[-1], batch_size=loader.batch_size, seed=loader.seed)
        self.loader = loader
        self.rank = rank
        self.n_ranks = n_ranks

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of this loader and of the whole batches."""
        super().set_epoch(epoch)
        self.loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        for whole in self.loader:
            n = len(whole.user)
            start, end = n * self.rank // self.n_ranks, n * (self.rank + 1) // self.n_ranks
            part = whole.map(itemgetter(slice(start, end)))
            if part.weight is None or whole.weight is None:
                share = torch.tensor((end - start) / n)
            else:
                share = part.weight.sum() / whole.weight.sum()
            yield part._replace(share=share, all_items=whole.item)
