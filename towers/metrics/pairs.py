"""Loss, AUC and accuracy of a whole split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy

from towerzoo.towers.metrics.auc import exact_auc
from towerzoo.towers.metrics.calibration import calibration_error
from towerzoo.towers.metrics.user_auc import user_auc
from towerzoo.towers.training.ranks import Ranks

EVENTS_AT_ONCE = 1 << 20
"""Events whose accuracy is counted at once; bounds what that takes beside the logits."""
EVENTS_A_BLOCK = 1 << 24
"""Events that a tensor has room for at most; its memory is not touched before it is filled."""
LEAST_EVENTS_A_BLOCK = 1 << 20
"""Events that the first tensor has room for; each has room for as many as all before it."""


class SplitMetrics(nn.Module):
    """Collects what the model says about a split, batch by batch, and reports on all of it.

    `loss` is the mean over events, in nats. `auc` is exact: one ranking of all events, ties counted half, not a mean
    over batches. `accuracy` is the share of events whose label equals `logit > 0`. Where users are given, `user_auc`
    and `calibration_error` come besides.

    Example:
        >>> import torch
        >>> metrics = SplitMetrics()
        >>> metrics.update(torch.tensor(0.5), torch.tensor([2.0, -1.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]))
        >>> {name: round(value.item(), 4) for name, value in metrics.compute().items()}
        {'loss': 0.5, 'auc': 1.0, 'accuracy': 0.6667}
    """

    def __init__(self) -> None:
        super().__init__()
        # By default a NaN loss would be left out of the mean, and a diverged model look well.
        # Nor may torchmetrics ask other ranks by itself: `gather` does, in training; the first one tests alone.
        self.loss = MeanMetric(nan_strategy=float("nan"), sync_on_compute=False)
        self.accuracy = BinaryAccuracy(validate_args=False, sync_on_compute=False)
        self._sizes: list[int] = []
        self._losses, self._logits, self._positive, self._users = _Column(), _Column(), _Column(), _Column()

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor, user: Tensor | None = None) -> None:
        """Adds a batch: its mean loss (), logits (B,), labels (B,) and, in every batch or in none, user rows (B,).

        They are only kept for now, to cost a step no time.
        """
        self._losses.append(loss.detach().reshape(1))
        self._sizes.append(len(labels))
        self._logits.append(logits.detach())
        self._positive.append(labels > 0.5)
        if user is not None:
            self._users.append(user)

    def gather(self, ranks: Ranks, device: torch.device) -> None:
        """Adds what was added on other ranks, but for users; `device` is where batches are."""
        if ranks.size == 1:
            return
        sizes = torch.tensor(self._sizes, dtype=torch.int64, device=device)
        self._sizes = ranks.all_of(sizes).tolist()
        for column in (self._losses, self._logits, self._positive):
            # As float32, which a rank that had no event has too, and which every message can be of.
            own = torch.cat([torch.empty(0, device=device), *(block.float() for block in column.drain())])
            everybodys = ranks.all_of(own)
            column.append(everybodys > 0 if column is self._positive else everybodys)

    def compute(self) -> dict[str, Tensor]:
        """Returns every metric over all that was added since the last reset."""
        losses = torch.cat(list(self._losses.drain()))
        self.loss.update(losses, weight=losses.new_tensor(self._sizes))
        blocks: Iterable[tuple[Tensor, Tensor]] = self._blocks()
        by_user = {}
        if users := list(self._users.drain()):
            blocks = list(blocks)
            user, logits, positive = (torch.cat(list(column)) for column in (users, *zip(*blocks, strict=True)))
            by_user = {
                "user_auc": _exact(user_auc(user, logits, positive)),
                "calibration_error": _exact(calibration_error(logits, positive)),
            }
        auc = _exact(exact_auc(blocks))
        return {"loss": self.loss.compute(), "auc": auc, "accuracy": self.accuracy.compute(), **by_user}

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Counts the accuracy of each block of logits and labels, yields it, and keeps it no longer."""
        for logits, positive in zip(self._logits.drain(), self._positive.drain(), strict=True):
            for some, truth in zip(
                torch.split(logits, EVENTS_AT_ONCE), torch.split(positive, EVENTS_AT_ONCE), strict=True
            ):
                self.accuracy.update((some > 0).int(), truth.int())
            yield logits, positive

    def reset(self) -> None:
        """Forgets all that was added."""
        self._sizes.clear()
        self._losses, self._logits, self._positive, self._users = _Column(), _Column(), _Column(), _Column()
        for metric in (self.loss, self.accuracy):
            metric.reset()


def _exact(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


class _Column:
    """Keeps values in large blocks, where small tensors of each batch would pin the memory between them."""

    def __init__(self) -> None:
        self._full: list[Tensor] = []
        self._block = torch.empty(0)
        self._filled = 0
        self._total = 0

    def append(self, batch: Tensor) -> None:
        """Adds a batch (B,)."""
        if self._filled + len(batch) > len(self._block):
            self._full.append(self._block[: self._filled])
            room = min(max(LEAST_EVENTS_A_BLOCK, self._total), EVENTS_A_BLOCK)
            self._block, self._filled = batch.new_empty(max(room, len(batch))), 0
        self._block[self._filled : self._filled + len(batch)] = batch
        self._filled += len(batch)
        self._total += len(batch)

    def drain(self) -> Iterator[Tensor]:
        """Yields all values in blocks, in their order, and keeps none of them."""
        blocks = [block for block in (*self._full, self._block[: self._filled]) if len(block)]
        self._full, self._block, self._filled = [], torch.empty(0), 0
        while blocks:
            yield blocks.pop(0)
