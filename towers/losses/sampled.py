"""Losses of positives against candidates: an event's own item should score higher than other items.

See `candidates.CandidateLoss` for the parameters that they share.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from towerzoo.registry import LOSSES, SAMPLERS, Spec
from towerzoo.registry.ranges import Count, Positive
from towerzoo.towers.layers.log_sum_exp import log_sum_exp
from towerzoo.towers.losses.candidates import CandidateLoss, Candidates, Mining


@LOSSES.register("sampled-softmax")
class SampledSoftmax(CandidateLoss):
    """Cross-entropy of picking the event's own item among itself and the candidates.

    The candidates stand for the whole catalogue: the logarithm of how often a candidate is drawn on average is
    subtracted from its logit (logQ: Bengio and Senecal, 2008; Yi et al., RecSys 2019). The own item is always there, so
    its logit is not corrected. On average the denominator is then that of the full softmax, which
    `tools/measure/verify_loss.py` checks for each sampler.

    Args:
        temperature: Divides the logits, > 0; leave it at 1 for a cosine score, whose scale is an inverse temperature.
        logq: Whether logits are corrected for how often their item is drawn; otherwise each draw counts once.
        sampler, hardest, mask_known: See `CandidateLoss`.
    """

    def __init__(
        self,
        *,
        sampler: Annotated[Spec, SAMPLERS] = "in-batch",
        temperature: Positive = 1.0,
        logq: bool = True,
        hardest: Count | None = None,
        mask_known: bool = True,
    ) -> None:
        super().__init__(sampler=sampler, hardest=hardest, mask_known=mask_known)
        self.temperature = temperature
        self.logq = logq

    def forward(self, positive: Tensor, negatives: Tensor, drawn: Candidates, weights: Tensor | None = None) -> Tensor:
        """Maps logits (B,) and (B, C) to a weighted mean loss ()."""
        if self.temperature != 1:
            positive, negatives = positive / self.temperature, negatives / self.temperature
        log_weight = drawn.log_count - drawn.log_expected if self.logq else drawn.log_count
        negatives = self.mine(positive, negatives + log_weight)
        log_total = torch.logaddexp(log_sum_exp(negatives), positive)
        return weighted_mean(log_total - positive, weights)


@LOSSES.register("full-softmax")
class FullSoftmax(SampledSoftmax):
    """Cross-entropy of picking the event's own item from the whole catalogue; exact, and slow if that is large.

    Args:
        temperature: Divides the logits, > 0.
    """

    sampler: Spec = "catalogue"
    mask_known: bool = False

    def __init__(self, *, temperature: Positive = 1.0) -> None:
        super().__init__(sampler="catalogue", temperature=temperature, logq=False, mask_known=False)


@LOSSES.register("bpr")
class BPR(CandidateLoss):
    """Bayesian personalised ranking: mean over candidates of -log sigmoid(positive - negative).

    Rendle et al., UAI 2009. It takes the parameters of `CandidateLoss`.
    """

    def forward(self, positive: Tensor, negatives: Tensor, drawn: Candidates, weights: Tensor | None = None) -> Tensor:
        """Maps logits (B,) and (B, C) to a weighted mean loss ()."""
        negatives = self.mine(positive, negatives)
        losses = functional.softplus(negatives - positive.unsqueeze(1))
        return weighted_mean(mean_over_candidates(losses, negatives), weights)


@LOSSES.register("hinge")
class Hinge(CandidateLoss):
    """Mean over candidates of max(0, margin - positive + negative), the triplet loss on logits.

    Weston et al., IJCAI 2011 (WSABIE); Schroff et al., CVPR 2015 (triplets and semi-hard negatives).

    Args:
        margin: By how much the own item should score higher, > 0, in the unit of logits.
        sampler, hardest, mining, mask_known: See `CandidateLoss`.
    """

    def __init__(
        self,
        *,
        sampler: Annotated[Spec, SAMPLERS],
        margin: Positive = 1.0,
        hardest: Count | None = None,
        mining: Mining | None = None,
        mask_known: bool = True,
    ) -> None:
        super().__init__(sampler=sampler, hardest=hardest, mining=mining, mask_known=mask_known)
        self.margin = margin

    def forward(self, positive: Tensor, negatives: Tensor, drawn: Candidates, weights: Tensor | None = None) -> Tensor:
        """Maps logits (B,) and (B, C) to a weighted mean loss ()."""
        negatives = self.mine(positive, negatives)
        losses = functional.relu(self.margin - positive.unsqueeze(1) + negatives)
        return weighted_mean(mean_over_candidates(losses, negatives), weights)


def mean_over_candidates(losses: Tensor, negatives: Tensor) -> Tensor:
    """Averages losses (B, K) over the candidates whose logits (B, K) count, to (B,); 0 where none counts."""
    return losses.sum(dim=1) / negatives.isfinite().sum(dim=1).clamp_min(1)


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Returns the weighted mean () of losses (B,)."""
    return losses.mean() if weights is None else (losses * weights).sum() / weights.sum()
