"""Loss, AUC and accuracy of a whole split."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

METRIC_MODES = {"loss": "min", "auc": "max", "accuracy": "max"}
"""Every metric, and whether the smaller or the larger value is the better one."""


class SplitMetrics(nn.Module):
    """Collects what the model says about a split, batch by batch, and reports on all of it.

    `loss` is the mean over events, in nats. `auc` is exact: one ranking of all events, ties counted half, not a mean
    over batches. `accuracy` is the share of events whose label equals `logit > 0`.

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
        self.loss = MeanMetric(nan_strategy=float("nan"))
        self.auc = BinaryAUROC(validate_args=False)
        self.accuracy = BinaryAccuracy(validate_args=False)
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: its mean loss (), logits (B,) and labels (B,). Only kept for now, to cost a step no time."""
        self._batches.append((loss.detach(), logits.detach(), labels))

    def compute(self) -> dict[str, Tensor]:
        """Returns every metric over all that was added since the last reset."""
        if self._batches:
            losses, logits, labels = zip(*self._batches, strict=True)
            self._batches.clear()
            sizes = torch.tensor([len(batch) for batch in labels], device=losses[0].device)
            self.loss.update(torch.stack(losses), weight=sizes)
            joined, targets = torch.cat(logits), torch.cat(labels).long()
            self.auc.update(_ranks_like(joined), targets)
            self.accuracy.update((joined > 0).long(), targets)
        return {"loss": self.loss.compute(), "auc": self.auc.compute(), "accuracy": self.accuracy.compute()}

    def reset(self) -> None:
        """Forgets all that was added."""
        self._batches.clear()
        for metric in (self.loss, self.auc, self.accuracy):
            metric.reset()


def _ranks_like(logits: Tensor) -> Tensor:
    """Returns float64 numbers in (0, 1) that rank as the logits do.

    torchmetrics takes anything else for logits and ranks by their logistic function, which is 1 from 17 on in float32
    and from 37 on in float64, so that confident pairs would tie.
    """
    wide = logits.double()
    return 0.5 + 0.5 * wide / (1 + wide.abs())
