"""Loss and accuracy of any number of events, in the memory of a few numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from towerzoo.towers.training.ranks import Ranks


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
