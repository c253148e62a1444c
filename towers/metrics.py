"""Loss, AUC and accuracy of a whole split."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy

from towerzoo.towers.auc import exact_auc

METRIC_MODES = {"loss": "min", "auc": "max", "accuracy": "max"}
"""Every metric, and whether the smaller or the larger value is the better one."""

EVENTS_AT_ONCE = 1 << 20
"""Events whose accuracy is counted at once; bounds what that takes beside the logits."""


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
        self.accuracy = BinaryAccuracy(validate_args=False)
        self._losses: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._positive: list[Tensor] = []

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: its mean loss (), logits (B,) and labels (B,). Only kept for now, to cost a step no time."""
        self._losses.append(loss.detach())
        self._logits.append(logits.detach())
        self._positive.append(labels > 0.5)

    def compute(self) -> dict[str, Tensor]:
        """Returns every metric over all that was added since the last reset."""
        sizes = torch.tensor([len(batch) for batch in self._logits])
        self.loss.update(torch.stack(self._losses), weight=sizes.to(self._losses[0].device))
        logits, positive = _joined(self._logits), _joined(self._positive)
        self._losses.clear()
        for some, truth in zip(torch.split(logits, EVENTS_AT_ONCE), torch.split(positive, EVENTS_AT_ONCE), strict=True):
            self.accuracy.update((some > 0).int(), truth.int())
        auc = torch.tensor(exact_auc(logits, positive), dtype=torch.float64)
        return {"loss": self.loss.compute(), "auc": auc, "accuracy": self.accuracy.compute()}

    def reset(self) -> None:
        """Forgets all that was added."""
        for batches in (self._losses, self._logits, self._positive):
            batches.clear()
        for metric in (self.loss, self.accuracy):
            metric.reset()


def _joined(batches: list[Tensor]) -> Tensor:
    """Returns the batches as one tensor, and frees them: a split may be most of what memory holds."""
    joined = torch.cat(batches)
    batches.clear()
    return joined
