"""Losses of positives against candidates: an event's own item is to score higher than others.

Each takes the logit of every event's own item, positive (B,); those of its user with all candidates, negatives (B, C),
minus infinity where a candidate does not count, as the own item; the candidates themselves; and the weights of the
events (B,) or None. It returns the weighted mean loss (). Its `sampler` is where candidates come from.
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
    """Cross-entropy of picking the own item among itself and the candidates, which stand for the whole catalogue.

    A candidate's logit loses the logarithm of how often it is drawn (logQ: Bengio and Senecal, 2008; Yi et al., RecSys
    2019); the own item's does not, since it is certain to be there. So the denominator is on average that of the full
    softmax. Tools/verify_loss.py measures how near each sampler comes.

    Args:
        sampler: The registered sampler of candidates.
        temperature: What logits are divided by, > 0. For a cosine score of scale s, s is its inverse already.
        logq: Whether logits are corrected for how often their item is drawn; without it each draw counts once.
        hardest: As of `CandidateLoss`.
        mask_known: As of `CandidateLoss`.
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
        """Maps logits (B,) and (B, C) to a mean loss ()."""
        if self.temperature != 1:
            positive, negatives = positive / self.temperature, negatives / self.temperature
        log_weight = drawn.log_count - drawn.log_expected if self.logq else drawn.log_count
        negatives = self.mine(positive, negatives + log_weight)
        everything = torch.logaddexp(log_sum_exp(negatives), positive)
        return weighted_mean(everything - positive, weights)


@LOSSES.register("full-softmax")
def full_softmax(*, temperature: Positive = 1.0) -> SampledSoftmax:
    """Cross-entropy of picking the own item out of the whole catalogue; exact, and dear where that is large.

    Args:
        temperature: What logits are divided by, > 0.
    """
    return SampledSoftmax(sampler="catalogue", temperature=temperature, logq=False, mask_known=False)


@LOSSES.register("bpr")
class BPR(CandidateLoss):
    """Bayesian personalised ranking: mean over candidates of -log sigmoid(positive - negative).

    Rendle et al., UAI 2009. Its parameters are those of `CandidateLoss`.
    """

    def forward(self, positive: Tensor, negatives: Tensor, drawn: Candidates, weights: Tensor | None = None) -> Tensor:
        """Maps logits (B,) and (B, C) to a mean loss ()."""
        negatives = self.mine(positive, negatives)
        losses = functional.softplus(negatives - positive.unsqueeze(1))
        return weighted_mean(mean_of_finite(losses, negatives), weights)


@LOSSES.register("hinge")
class Hinge(CandidateLoss):
    """Mean over candidates of max(0, margin - positive + negative), the triplet loss on logits.

    Weston et al., IJCAI 2011 (WSABIE); Schroff et al., CVPR 2015 (triplets and semi-hard negatives).

    Args:
        sampler: The registered sampler of candidates.
        margin: By how much the own item is to score higher, > 0, in the logit's unit.
        hardest: As of `CandidateLoss`.
        mining: As of `CandidateLoss`.
        mask_known: As of `CandidateLoss`.
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
        """Maps logits (B,) and (B, C) to a mean loss ()."""
        negatives = self.mine(positive, negatives)
        losses = functional.relu(self.margin - positive.unsqueeze(1) + negatives)
        return weighted_mean(mean_of_finite(losses, negatives), weights)


def mean_of_finite(losses: Tensor, negatives: Tensor) -> Tensor:
    """Returns the mean of losses (B, K) over the candidates that count (B,); 0 where none does."""
    return losses.sum(dim=1) / negatives.isfinite().sum(dim=1).clamp_min(1)


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Returns the weighted mean () of losses (B,)."""
    return losses.mean() if weights is None else (losses * weights).sum() / weights.sum()
