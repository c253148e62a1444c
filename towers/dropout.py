"""Dropout whose masks come from a fast generator on a CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

LEVELS = 1 << 16
"""Equally likely 16-bit numbers that a mask is drawn from."""


class Dropout(nn.Dropout):
    """Torch's dropout, which in training on a CPU draws four mask values from each 64-bit random number.

    Torch's own CPU kernel draws a double for each value, one after the other, which takes a third of a training step of
    the published structures. Here the share of zeros is p to the nearest 1 / 65536, and the scale of what is kept is
    that of the share that is really drawn, so that the mean is kept exactly. The numbers come from a generator that is
    seeded by torch's default one for each call: `torch.manual_seed` fixes the masks.

    Args:
        p: Share of values set to 0 in training, in [0, 1).

    Example:
        >>> dropout = Dropout(0.5)
        >>> dropout
        Dropout(p=0.5, inplace=False)
        >>> sorted(dropout(torch.ones(1000)).unique().tolist())
        [0.0, 2.0]
        >>> dropout.eval()(torch.ones(2))
        tensor([1., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps values of any shape to values of the same shape."""
        zeros = round(self.p * LEVELS)
        if not self.training or not 0 < zeros < LEVELS or x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        generator = np.random.SFC64(int(torch.randint(1 << 62, ())))
        words = generator.random_raw(-(-x.numel() // 4))
        numbers = torch.from_numpy(words.view(np.int16)[: x.numel()]).view(x.shape)
        mask = torch.ge(numbers, zeros - LEVELS // 2, out=x.new_empty(x.shape))
        return x * mask.mul_(LEVELS / (LEVELS - zeros))
