"""Candidates, the items that the positives of a batch are compared with, and the contract of losses that use them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from towerzoo.datasets import UNKNOWN, Batch
from towerzoo.registry import LOSSES, SAMPLERS, Spec
from towerzoo.registry.ranges import Count
from towerzoo.towers.layers.trials import trial_numbers, try_part
from towerzoo.towers.retrieval.seen_items import SeenItems


class Sampler(Protocol):
    """The contract of a registered sampler: it draws item rows and knows how often it draws each.

    It never draws row 0, the unknown item.
    """

    def draw(self, positives: Tensor) -> Tensor:
        """Maps the items (B,) of a batch's events, on all devices together, to drawn rows: int64 (n,), with repeats."""

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Returns how often each of item rows (C,) is drawn on average for an event: float32 > 0 (C,)."""


class Candidates(NamedTuple):
    """The items that the events of a batch are compared with: distinct ones for all events, then some for each event.

    Attributes:
        rows: int64 item rows for all events, ascending (C,).
        log_count: Logarithm of how often each was drawn (C,), then a zero for each column of `shown` (L,).
        log_expected: Logarithm of how often each is drawn on average (C,), then zeros (L,). On average, a sum over
            candidates of count / expected times a value is the sum of that value over the whole catalogue.
        shown: int64 distinct item rows that were shown with each event and not taken (B, L), padded with the event's
            own item, which is not a candidate. None where the loss does not compare with them.
    """

    rows: Tensor
    log_count: Tensor
    log_expected: Tensor
    shown: Tensor | None = None


Mining = Literal["semi-hard"]
"""Semi-hard negatives score lower than the positive: Schroff et al., CVPR 2015, section 3.2."""


class CandidateLoss(nn.Module):
    """A loss of positives against candidates; subclasses define `forward`.

    Args:
        sampler: The registered sampler of candidates.
        hardest: How many candidates count for each event, those with the highest logits; None means all.
        mining: `semi-hard` leaves out candidates that score higher than the event's own item, which the user would
            often like.
        mask_known: Whether items that the user is known to like are left out of the user's candidates.
    """

    of_candidates: ClassVar[bool] = True
    """Tells losses of candidates from those of pairs, without building one."""

    def __init__(
        self,
        *,
        sampler: Annotated[Spec, SAMPLERS],
        hardest: Count | None = None,
        mining: Mining | None = None,
        mask_known: bool = True,
    ) -> None:
        super().__init__()
        self.sampler = sampler
        self.hardest = hardest
        self.mining = mining
        self.mask_known = mask_known

    def mine(self, positive: Tensor, negatives: Tensor) -> Tensor:
        """Maps logits (B,) and (B, C) to the logits of the candidates that count (B, K)."""
        if self.mining == "semi-hard":
            negatives = negatives.masked_fill(negatives >= positive.unsqueeze(1), float("-inf"))
        if self.hardest is None or self.hardest >= negatives.shape[1]:
            return negatives
        return negatives.topk(self.hardest, dim=1).values


def draw_candidates(sampler: Sampler, batch: Batch, known: SeenItems | None = None) -> Candidates:
    """Draws the candidates of a batch, and adds the items that were shown with its events if the batch has them.

    For a device's share of a batch, candidates are those of the whole batch. The items that a user is `known` to like
    do not count as shown.
    """
    positives = batch.pool
    rows, counts = torch.unique(sampler.draw(positives), return_counts=True)
    log_count, log_expected = counts.log(), sampler.expected(rows, len(positives)).log()
    if batch.negatives is None:
        return Candidates(rows, log_count, log_expected)
    positive, shown = batch.item.long().unsqueeze(1), batch.negatives.long().sort(dim=1).values
    dropped = shown == UNKNOWN
    dropped[:, 1:] |= shown[:, 1:] == shown[:, :-1]
    if known is not None:
        dropped |= known.holds(batch.user.unsqueeze(1), shown)
    certain = log_count.new_zeros(shown.shape[1])
    return Candidates(
        rows, torch.cat([log_count, certain]), torch.cat([log_expected, certain]), positive.where(dropped, shown)
    )


def excluded_pairs(batch: Batch, candidates: Candidates, known: SeenItems | None) -> tuple[Tensor, Tensor]:
    """Finds the candidates that do not count for an event.

    These are the event's own item, the items that its user is known to like and, among the items for all events, those
    that were shown with the event and count in its own columns already.

    Returns:
        The position of the event and the column of the candidate of each excluded pair, (P,) and (P,).
    """
    rows, shown = candidates.rows, candidates.shown
    positions = torch.arange(len(batch.item), device=batch.item.device)
    pairs = [(positions, batch.item.long())]
    if shown is not None:
        pairs.append((positions.repeat_interleave(shown.shape[1]), shown.flatten()))
    if known is not None:
        pairs.append(known.of(batch.user))
    events, items = (torch.cat(part) for part in zip(*pairs, strict=True))
    columns = torch.searchsorted(rows, items)
    drawn = torch.cat([rows, rows.new_full((1,), -1)]).index_select(0, columns) == items
    events, columns = events[drawn], columns[drawn]
    if shown is None:
        return events, columns
    padded, slots = (shown == batch.item.unsqueeze(1)).nonzero(as_tuple=True)
    return torch.cat([events, padded]), torch.cat([columns, len(rows) + slots])


def try_loss(spec: Spec, loss: nn.Module, *, weighted: bool) -> None:
    """Tries a built loss on a few logits, with weights of events if the data has them.

    Raises:
        PartError: It does not return a finite mean () that has a gradient, or is a CandidateLoss that is not registered
            as one.
    """
    if isinstance(loss, CandidateLoss) != bool(LOSSES.fact(spec, "of_candidates")):
        hint = "Register a subclass of CandidateLoss, or set the attribute on the function that returns one."
        raise LOSSES.part_error(spec, "have of_candidates = True if it is a CandidateLoss", "another value", hint)
    logits, weights = trial_numbers(4).requires_grad_(), torch.tensor([1.0, 2.0, 1.0, 1.0])
    if isinstance(loss, CandidateLoss):
        contract = "map logits (B,) and (B, C), the candidates and weights (B,) or None to a mean loss ()"
        hint = "A logit of minus infinity is a candidate that does not count."
        negatives = trial_numbers(4, 5, seed=1).masked_fill(torch.eye(4, 5, dtype=torch.bool), float("-inf"))
        candidates = Candidates(torch.arange(1, 6), torch.zeros(5), torch.zeros(5))
        given = weights if weighted else None
        value = try_part(LOSSES, spec, contract, (), loss, logits, negatives, candidates, given, finite=True, hint=hint)
    else:
        taken = "logits (B,), labels (B,) and weights (B,)" if weighted else "logits (B,) and labels (B,)"
        contract = f"map {taken} to a mean loss ()"
        pairs = (logits, torch.tensor([0.0, 1.0, 0.0, 1.0]))
        try_part(LOSSES, spec, contract, (), loss.eval(), *pairs, finite=True)
        inputs = (*pairs, weights) if weighted else pairs
        value = try_part(LOSSES, spec, contract, (), loss.train(), *inputs, finite=True)
    if not value.requires_grad:
        hint = "Compute it from the logits with torch, without detach() or item()."
        raise LOSSES.part_error(spec, "return a loss that has a gradient", "one without", hint)
