"""The loss lab: measures on a small catalogue how close a sampled softmax comes to the full one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from towerzoo.datasets import Batch
from towerzoo.registry import Spec
from towerzoo.towers.losses.candidates import draw_candidates, excluded_pairs
from towerzoo.towers.losses.sampled import SampledSoftmax
from towerzoo.towers.losses.samplers import built_sampler, takes_shown

AGREES = 2.0
"""Standard errors within which the bias of an exact correction stays; its length varies by about a tenth."""

SHOWN = 5
"""Items that are shown with each pair's own item and not taken."""

ROUNDING = 1e-6
"""Length of a difference that is rounding alone; draws are counted in float32."""


@dataclass(frozen=True)
class LossCheck:
    """The gradient of a sampled softmax in the logits of one pair, compared with that of the full softmax.

    Attributes:
        bias: Length of the difference between the mean gradient over all draws and the exact one.
        standard_error: Length that the difference has by chance if there is no bias.
        variance: Mean squared distance of a draw's gradient from their mean.
    """

    bias: float
    standard_error: float
    variance: float

    @property
    def agrees(self) -> bool:
        """Whether chance and rounding explain the bias."""
        return self.bias <= AGREES * self.standard_error + ROUNDING


def check_sampler(
    sampler: Spec,
    *,
    logq: bool = True,
    temperature: float = 1.0,
    items: int = 50,
    batch_size: int = 1024,
    draws: int = 250,
    seed: int = 0,
) -> LossCheck:
    """Compares a sampler's mean gradient with the exact one.

    The popularity of the items falls as 1 / rank, the user's logits are standard normal, and the other pairs of each
    batch are drawn by popularity, as in training. A ratio of estimates has a bias of its own. It falls as
    1 / batch_size, faster than the standard error, so it does not show with fewer draws than pairs in a batch.

    For `from-column`, the same items are shown in every batch: on their own they do not stand for the catalogue, so
    the gradient is biased and does not vary; in `mixed` it agrees.

    Args:
        sampler: The registered sampler.
        logq: Whether logits are corrected for how often their item is drawn.
        temperature: Divides the logits, > 0.
        items: Items of the catalogue, >= 2.
        batch_size: Pairs in a batch, >= 2.
        draws: Batches, >= 2.
        seed: Seed of all random numbers.

    Example:
        >>> check_sampler("in-batch").agrees, check_sampler("in-batch", logq=False).agrees
        (True, False)
    """
    torch.manual_seed(seed)
    logits = torch.cat([torch.zeros(1), torch.randn(items)]).double()
    counts = (1e6 / torch.arange(1, items + 1)).round()[torch.randperm(items)]
    counts = torch.cat([torch.zeros(1), counts])
    positive = torch.randint(1, items + 1, (1,))
    built = built_sampler(sampler, counts)
    loss = SampledSoftmax(temperature=temperature, logq=logq)
    shown = torch.randint(1, items + 1, (1, SHOWN)) if takes_shown(sampler) else None

    def gradient() -> Tensor:
        """Draws a batch and returns the gradient of its first pair's loss in the logits of all items (items,)."""
        positives = torch.cat([positive, torch.multinomial(counts, batch_size - 1, replacement=True)])
        nobody, liked = torch.zeros(batch_size, dtype=torch.int64), torch.ones(batch_size)
        column = None if shown is None else shown.expand(batch_size, -1)
        candidates = draw_candidates(built, Batch(nobody, positives, liked, negatives=column))
        leaf = logits.clone().requires_grad_()
        negatives = leaf[candidates.rows].unsqueeze(0)
        if candidates.shown is not None:
            candidates = candidates._replace(shown=candidates.shown[:1])
            negatives = torch.cat([negatives, leaf[candidates.shown]], dim=1)
        excluded = excluded_pairs(Batch(nobody[:1], positives[:1], liked[:1]), candidates, None)
        negatives = negatives.index_put(excluded, negatives.new_tensor(float("-inf")))
        loss(leaf[positive], negatives, candidates).backward()
        assert leaf.grad is not None
        return leaf.grad[1:]

    gradients = torch.stack([gradient() for _ in range(draws)])
    exact = (logits[1:] / temperature).softmax(0) / temperature
    exact[positive - 1] -= 1 / temperature
    mean, variance = gradients.mean(0), gradients.var(0).sum()
    return LossCheck(float((mean - exact).norm()), float((variance / draws).sqrt()), float(variance))
