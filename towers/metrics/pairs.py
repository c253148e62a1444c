"""Loss, AUC, accuracy and calibration of the labelled pairs of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import torch
from torch import Tensor

from towerzoo.towers.metrics.auc import exact_auc, user_auc

EVENTS_AT_ONCE: Final = 1 << 20
"""Events whose accuracy or calibration is computed at once; bounds the memory beside the logits."""
EVENTS_A_BLOCK: Final = 1 << 24
"""Largest number of events in a tensor of a column; memory is not touched before it is filled."""
LEAST_EVENTS_A_BLOCK: Final = 1 << 20
"""Room of a column's first tensor; each later one has room for as many events as all before it."""

AllOf: TypeAlias = Callable[[Tensor], Tensor]
"""Maps the rows of this process (N, ...) to those of all processes that train together."""


class SplitMetrics:
    """Collects logits batch by batch, and computes metrics of the whole split.

    `loss` is the mean over events, in nats. `accuracy` is the share of events whose label equals `logit > 0`. `auc` is
    exact: one ranking of all events, ties counted half, not a mean over batches. With users, `user_auc` and
    `calibration_error` are added.

    Args:
        keep_logits: Whether logits are kept for the AUC; a stream may have too many events for that.

    Example:
        >>> metrics = SplitMetrics()
        >>> metrics.update(torch.tensor(0.5), torch.tensor([2.0, -1.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]))
        >>> {name: round(value.item(), 4) for name, value in metrics.compute().items()}
        {'loss': 0.5, 'auc': 1.0, 'accuracy': 0.6667}
    """

    def __init__(self, *, keep_logits: bool = True) -> None:
        self.keep_logits = keep_logits
        self.reset()

    def reset(self) -> None:
        """Drops all batches."""
        self._sizes: list[int] = []
        self._losses, self._right, self._users = _Column(), _Column(), _Column()
        self._logits, self._positive = _Column(), _Column()

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor, user: Tensor | None = None) -> None:
        """Adds a batch, without waiting for the device.

        Args:
            loss: Mean loss of the batch ().
            logits: Logits (B,).
            labels: Labels (B,).
            user: User rows (B,), in every batch or in none.
        """
        self._losses.append(loss.detach().reshape(1))
        self._sizes.append(len(labels))
        if not self.keep_logits:
            self._right.append(((logits.detach() > 0) == (labels > 0.5)).sum().reshape(1))
            return
        self._logits.append(logits.detach())
        self._positive.append(labels > 0.5)
        if user is not None:
            self._users.append(user)

    def gather(self, all_of: AllOf, device: torch.device) -> None:
        """Adds the batches of the other processes, without users; `device` is where batches are."""
        self._sizes = all_of(torch.tensor(self._sizes, dtype=torch.int64, device=device)).tolist()
        for column in (self._losses, self._right, self._logits, self._positive):
            # As float32: a process without events has no other dtype, and bools cannot be sent.
            local = torch.cat([torch.empty(0, device=device), *(block.float() for block in column.drain())])
            gathered = all_of(local)
            column.append(gathered > 0 if column is self._positive else gathered)

    def compute(self) -> dict[str, Tensor]:
        """Computes all metrics of the batches since the last reset, and releases them."""
        losses = torch.cat(list(self._losses.drain()))
        losses = losses.float() if self.keep_logits else losses.double()  # a stream may have millions of batches
        weights = losses.new_tensor(self._sizes)
        figures = {"loss": (losses * weights).sum() / weights.sum()}
        if not self.keep_logits:
            return figures | {"accuracy": torch.cat(list(self._right.drain())).double().sum() / sum(self._sizes)}
        right = torch.zeros((), dtype=torch.int64, device=losses.device)

        def released() -> Iterator[tuple[Tensor, Tensor]]:
            nonlocal right
            for logits, positive in zip(self._logits.drain(), self._positive.drain(), strict=True):
                for chunk, truth in _chunks(logits, positive):
                    right = right + ((chunk > 0) == truth).sum()
                yield logits, positive

        blocks: Iterable[tuple[Tensor, Tensor]] = released()
        by_user = {}
        if users := list(self._users.drain()):
            blocks = list(blocks)
            user, logits, positive = (torch.cat(list(column)) for column in (users, *zip(*blocks, strict=True)))
            by_user = {
                "user_auc": _exact(user_auc(user, logits, positive)),
                "calibration_error": _exact(calibration_error(logits, positive)),
            }
        auc = _exact(exact_auc(blocks))
        return figures | {"auc": auc, "accuracy": right / sum(self._sizes), **by_user}


def _exact(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _chunks(*columns: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(torch.split(column, EVENTS_AT_ONCE) for column in columns), strict=True)


class _Column:
    """Keeps values in large blocks; the small tensors of each batch would fragment the memory."""

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
    """Expected calibration error: how far predicted probabilities are from the share of positives.

    Events are put into bins by `sigmoid(logit)`. The error is the mean over bins, weighted by their events, of the
    absolute difference between the mean probability and the share of positives. Bins have equal width, `[a, b)` and
    the last one `[a, 1]`; with bins of equal mass, equal predictions could fall into different ones. The error says
    nothing about the order of items: predicting the training share for all events has an error near 0.

    Source: Naeini et al., Obtaining well calibrated probabilities using Bayesian binning (2015); 15 bins as in Guo et
    al., On calibration of modern neural networks (2017).

    Args:
        logits: Logits (N,).
        labels: Labels in {0, 1} (N,).
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
    for chunk, truth in _chunks(logits, labels):
        probabilities = torch.sigmoid(chunk.double())
        bin_of = (probabilities * bins).long().clamp_max(bins - 1)
        excess.index_add_(0, bin_of, probabilities - truth.double())
    return float(excess.abs().sum() / len(logits))
