"""Loss, AUC and accuracy of a whole split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy

from towerzoo.towers.metrics.auc import exact_auc, user_auc
from towerzoo.towers.training.ranks import Ranks

EVENTS_AT_ONCE = 1 << 20
"""Events whose accuracy is counted, or that are put into bins, at once; bounds what that takes beside the logits."""
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


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Returns the expected calibration error: how far predicted probabilities are from the share of positives.

    Events are put into bins by `sigmoid(logit)`. The error is the mean over bins, weighted by their events, of the
    absolute difference between the mean probability and the share of positives. Bins are of equal width, `[a, b)` and
    the last one `[a, 1]`: with bins of equal mass equal predictions could fall into different ones, by the order of
    their events. It tells nothing about the order of items: the training share, predicted for all, has an error near 0.

    Source: Naeini et al., Obtaining well calibrated probabilities using Bayesian binning (2015); 15 bins as in Guo et
    al., On calibration of modern neural networks (2017).

    Args:
        logits: (N,).
        labels: In {0, 1} (N,).
        bins: Number of bins, >= 1.

    Returns:
        A number in [0, 1]; NaN without events or where a logit is NaN.

    Example:
        >>> logits = torch.logit(torch.tensor([0.75, 0.75, 0.75, 0.75]))
        >>> round(calibration_error(logits, torch.tensor([1.0, 1.0, 1.0, 0.0])), 6)
        0.0
        >>> round(calibration_error(logits, torch.tensor([1.0, 0.0, 0.0, 0.0])), 6)
        0.5
    """
    if len(logits) == 0 or bool(logits.isnan().any()):
        return float("nan")
    # The sum over a bin of probability - label is its number of events times the difference that counts.
    excess = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    for some, truth in zip(torch.split(logits, EVENTS_AT_ONCE), torch.split(labels, EVENTS_AT_ONCE), strict=True):
        chances = torch.sigmoid(some.double())
        places = (chances * bins).long().clamp_max(bins - 1)
        excess.index_add_(0, places, chances - truth.double())
    return float(excess.abs().sum() / len(logits))


class RunningMetrics(nn.Module):
    """Adds up what the model says about events that are too many to be kept, batch by batch.

    Its interface is that of `SplitMetrics`, which has an AUC besides and keeps all logits for it.

    Example:
        >>> metrics = RunningMetrics()
        >>> metrics.update(torch.tensor(0.5), torch.tensor([2.0, -1.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]))
        >>> {name: round(value.item(), 4) for name, value in metrics.compute().items()}
        {'loss': 0.5, 'accuracy': 0.6667}
    """

    _loss: Tensor
    _right: Tensor
    _events: int

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: its mean loss (), logits (B,) and labels (B,); nothing waits for a device."""
        self._loss = self._loss + loss.detach().double() * len(labels)
        self._right = self._right + ((logits.detach() > 0) == (labels > 0.5)).sum()
        self._events += len(labels)

    def gather(self, ranks: Ranks, device: torch.device) -> None:
        """Adds what was added on other ranks; `device` is where batches are."""
        if ranks.size > 1:
            own = (self._loss.double(), self._right.double(), torch.tensor(self._events).double())
            self._loss, self._right, events = ranks.sum(torch.stack([value.to(device) for value in own]))
            self._events = int(events)

    def compute(self) -> dict[str, Tensor]:
        """Returns both figures over all that was added since the last reset."""
        return {"loss": self._loss / self._events, "accuracy": self._right / self._events}

    def reset(self) -> None:
        """Forgets all that was added."""
        self._loss = torch.zeros((), dtype=torch.float64)
        self._right = torch.zeros((), dtype=torch.int64)
        self._events = 0
