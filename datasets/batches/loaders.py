"""Batches: two vectors of row numbers and one of labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Batch(NamedTuple):
    """Some events.

    Attributes:
        user: int32 rows of the users table (B,).
        item: int32 rows of the items table (B,).
        label: float32 in [0, 1] (B,).
        weight: float32 importance of each event for the loss (B,); None where all count the same.
        event: int32 rows of the interactions that these are (B,), by which a history leaves the event itself out.
        negatives: int32 rows of items that were shown with each event's item and not taken, padded with 0 (B, L); None
            where training does not compare with them.
        share: float32 share of the whole batch's weight () that these events have, where they are one rank's; None
            where they are the whole batch.
        all_items: int32 rows of the items of the whole batch (G,); None where these events are all of it.
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
        """The item rows of the whole batch, those of all ranks."""
        return self.item if self.all_items is None else self.all_items


def epoch_seed(seed: int, epoch: int, stream: int = 0) -> int:
    """Returns a 32-bit seed that mixes a seed and an epoch's number; torch's CPU generator reads no more than 32 bits.

    Args:
        seed: The experiment's seed.
        epoch: The epoch's number, from 0.
        stream: Tells apart random numbers that serve different purposes; 0 is the order of batches.

    Example:
        >>> epoch_seed(42, 0) == epoch_seed(42, 0), epoch_seed(42, 0) == epoch_seed(42, 1)
        (True, False)
    """
    return int(np.random.SeedSequence([seed, epoch, stream]).generate_state(1)[0])


def batch_ends(n: int, batch_size: int, *, shuffled: bool) -> list[int]:
    """Returns where each batch of n events ends; when shuffling, a rest of one event joins the batch before it.

    Example:
        >>> batch_ends(5, 2, shuffled=False), batch_ends(5, 2, shuffled=True)
        ([2, 4, 5], [2, 5])
    """
    ends = [*range(batch_size, n, batch_size), n]
    if shuffled and len(ends) > 1 and batch_size > 1 and n - ends[-2] == 1:
        del ends[-2]
    return ends


class EpochLoader:
    """What Lightning asks of a loader whose order is drawn anew each epoch.

    Args:
        n_events: Events an epoch.
        batch_size: Events a batch. The last batch holds the rest; when shuffling, a rest of one event joins the batch
            before it, since batch normalisation cannot train on a single row.
        seed: Seed of the order; None keeps that of the events.
    """

    batch_sampler = None

    def __init__(self, n_events: int, *, batch_size: int, seed: int | None) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.ends = batch_ends(n_events, batch_size, shuffled=seed is not None)

    @property
    def sampler(self) -> EpochLoader:
        """The object whose set_epoch Lightning calls at the start of each epoch: the loader itself."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch, from 0, whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches of the epoch."""
        raise NotImplementedError


class BatchLoader(EpochLoader):
    """Yields the given events as batches, in their own order or in one drawn anew each epoch.

    The order of an epoch is a pure function of the seed and the epoch's number, so that a resumed run sees the same
    batches as one that was never stopped. Only row numbers are permuted; there is no Python code a row.

    Args:
        events: All events of the dataset, in the order of its interactions.
        rows: int32 numbers of the events to yield (N,). Events are not copied: each batch is gathered from them all.
        batch_size: As of `EpochLoader`.
        seed: As of `EpochLoader`.
        device: Where batches are made. On a GPU the events move there once, and a step copies nothing.

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
        self.events = Batch(*(None if column is None else column.to(device) for column in events))  # type: ignore[arg-type]
        self.rows = rows.to(device)

    def __iter__(self) -> Iterator[Batch]:
        rows = self.rows
        if self.seed is not None:
            generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
            # The order itself has no name: it would be held, with the rows in it, for the whole epoch.
            rows = rows.index_select(
                0, torch.randperm(len(rows), generator=generator, dtype=rows.dtype).to(rows.device)
            )
        start, last = 0, len(rows)
        for end in self.ends:
            batch = _take(self.events, rows[start:end].clone())  # a view of the order would keep all of it
            if end == last:
                del rows  # who takes as many batches as there are leaves the iterator, and all it holds, as it is
            yield batch
            start = end


def _take(events: Batch, rows: Tensor) -> Batch:
    user, item, label = (column.index_select(0, rows) for column in events[:3])
    weight, negatives = (
        None if column is None else column.index_select(0, rows) for column in (events.weight, events.negatives)
    )
    return Batch(user, item, label, weight, event=rows, negatives=negatives)


class ShareLoader(EpochLoader):
    """Yields one rank's share of each batch, with the items of all of it.

    Every rank draws the same batches, by the same seed. So each knows the items of all without asking, and all have the
    same number of steps. Shares differ by one event at most; of a batch of fewer events than ranks some are empty.

    Args:
        loader: Yields the whole batches.
        rank: Which share, from 0.
        n_ranks: Of how many.

    Example:
        >>> from towerzoo.datasets.batches.loaders import BatchLoader
        >>> events = Batch(torch.arange(5), torch.arange(5), torch.ones(5))
        >>> loader = BatchLoader(events, torch.arange(5).int(), batch_size=3)
        >>> [batch.user.tolist() for batch in ShareLoader(loader, 0, 2)]
        [[0], [3]]
        >>> [batch.user.tolist() for batch in ShareLoader(loader, 1, 2)]
        [[1, 2], [4]]
        >>> [batch.pool.tolist() for batch in ShareLoader(loader, 1, 2)]
        [[0, 1, 2], [3, 4]]
    """

    def __init__(self, loader: EpochLoader, rank: int, n_ranks: int) -> None:
        super().__init__(loader.ends[-1], batch_size=loader.batch_size, seed=loader.seed)
        self.loader = loader
        self.rank = rank
        self.n_ranks = n_ranks

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch, from 0, whose order the next iteration follows."""
        super().set_epoch(epoch)
        self.loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        for whole in self.loader:
            n = len(whole.user)
            start, end = n * self.rank // self.n_ranks, n * (self.rank + 1) // self.n_ranks
            own = torch.arange(start, end, device=whole.user.device)
            part = Batch(*(None if column is None else column.index_select(0, own) for column in whole))  # type: ignore[arg-type]
            if part.weight is None or whole.weight is None:
                share = torch.tensor(len(own) / n)
            else:
                share = part.weight.sum() / whole.weight.sum()
            yield part._replace(share=share, all_items=whole.item)
