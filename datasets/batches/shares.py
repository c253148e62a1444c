"""Shares: what each of several ranks trains of a batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from towerzoo.datasets.batches.loaders import Batch, EpochLoader


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
