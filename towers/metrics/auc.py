"""The area under the ROC curve, exact and in little memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from torch import Tensor

SIDES: Final = ("left", "right")
"""Where a searched value stands among equal ones: before them, so that they do not count, or after them."""
AT_ONCE: Final = 1 << 20
"""Events that are looked up at once."""


def exact_auc(blocks: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Returns the share of pairs of a positive and a negative event that are ranked right, ties counted half.

    Equal to torchmetrics' BinaryAUROC without thresholds, but lean enough for a training split: it sorts both classes
    apart and counts, and needs neither the curve nor probabilities, which tie where logits do not. A block is let go
    before the next one is asked for.

    Args:
        blocks: The events in any number of blocks: logits, the larger the more likely positive (B,), and bools, whether
            each is positive (B,).

    Returns:
        A number in [0, 1]; NaN where a class is empty or a logit is NaN.

    Example:
        >>> logits, positive = torch.tensor([2.0, 1.0, 1.0, 0.0]), torch.tensor([True, True, False, False])
        >>> exact_auc([(logits, positive)]), exact_auc(zip(logits.split(1), positive.split(1)))
        (0.875, 0.875)
    """
    above, below = [], []
    undefined = False
    for logits, positive in blocks:
        undefined |= bool(logits.isnan().any())
        wide = logits if logits.dtype is torch.float64 else logits.float()
        above.append(_where(positive, wide))
        below.append(_where(~positive, wide))
        del logits, positive, wide
    pairs = sum(map(len, above)) * sum(map(len, below))
    if undefined or pairs == 0:
        return float("nan")
    ranked = _sorted(torch.cat(below))
    del below
    some = (part for block in above for part in torch.split(_sorted(block), AT_ONCE))
    wins = sum(_places(ranked, part, side) for part in some for side in SIDES)
    return wins / (2 * pairs)


def _where(mask: Tensor, values: Tensor) -> Tensor:
    """Returns what torch's boolean indexing does; on a CPU without an index of 8 bytes a value."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy()[mask.numpy()])
    return values[mask]


def _sorted(values: Tensor) -> Tensor:
    """Sorts values, on a CPU in place and without an index."""
    if values.device.type == "cpu":
        values.numpy().sort()
        return values
    return values.sort().values


def _places(ranked: Tensor, values: Tensor, side: str) -> int:
    """Returns the sum of the places of values among ranked ones."""
    if ranked.device.type == "cpu":
        return int(np.searchsorted(ranked.numpy(), values.numpy(), side).sum())  # type: ignore[call-overload]
    return int(torch.searchsorted(ranked, values, side=side).sum())
