"""Candidates: the items that a batch's positives are compared with."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from towerzoo.datasets import UNKNOWN, Batch
from towerzoo.registry import LOSSES, SAMPLERS, Spec
from towerzoo.registry.ranges import Count
from towerzoo.towers.layers.trials import trial_numbers, try_part
from towerzoo.towers.retrieval.seen_items import SeenItems


class Sampler(Protocol):
    """The contract of a registered sampler: draws item rows, and knows how often it draws each.

    The unknown item, row 0, is never drawn.
    """

    def draw(self, positives: Tensor) -> Tensor:
        """Draws items for a batch.

        Torch's default generator of the CPU draws the same on all ranks.

        Args:
            positives: The batch's own items (B,), those of all ranks.

        Returns:
            int64 item rows (n,); one may come several times.
        """

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Returns how often each of item rows (C,) is drawn on average for a pair: float32 > 0 (C,)."""


class Candidates(NamedTuple):
    """The items that the pairs of a batch are compared with: distinct ones for all pairs, then each pair's own.

    Attributes:
        rows: int64 item rows for all pairs, ascending (C,).
        log_count: Logarithm of how often each was drawn (C,), then zeros for what was shown (L,).
        log_expected: Logarithm of how often each is drawn on average (C,), then zeros (L,). A sum over candidates of
            count / expected times anything is on average the sum over the whole catalogue.
        shown: int64 item rows that were shown with each pair's item and not taken (B, L), each once; the pair's own
            item, which is no candidate, where there is none. None where training does not compare with them.
    """

    rows: Tensor
    log_count: Tensor
    log_expected: Tensor
    shown: Tensor | None = None


Mining = Literal["semi-hard"]
"""Semi-hard negatives score lower than the positive: Schroff et al., CVPR 2015, section 3.2."""


class CandidateLoss(nn.Module):
    """What losses against candidates share, their parameters among it.

    Args:
        sampler: The registered sampler of candidates.
        hardest: How many candidates of the highest logit count for each event; none takes all.
        mining: `semi-hard` leaves out candidates that score higher than the event's own item, which are often items
            that the user would like.
        mask_known: Whether items that the user is known to like are no candidates for her.
    """

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
        """Returns the logits of the candidates that count (B, K)."""
        if self.mining == "semi-hard":
            negatives = negatives.masked_fill(negatives >= positive.unsqueeze(1), float("-inf"))
        if self.hardest is None or self.hardest >= negatives.shape[1]:
            return negatives
        return negatives.topk(self.hardest, dim=1).values


def draw_candidates(sampler: Sampler, batch: Batch, known: SeenItems | None = None) -> Candidates:
    """Draws the candidates of a batch, and adds what was shown with its events where it holds that.

    Args:
        sampler: Where from.
        batch: The events (B,); of a rank's share, candidates are those of the whole batch.
        known: The items that each user is known to like, which count as not shown; None lets them count.
    """
    positives = batch.pool
    rows, counts = torch.unique(sampler.draw(positives), return_counts=True)
    log_count, log_expected = counts.log(), sampler.expected(rows, len(positives)).log()
    if batch.negatives is None:
        return Candidates(rows, log_count, log_expected)
    shown = _shown(batch, batch.negatives, known)
    certain = log_count.new_zeros(shown.shape[1])
    return Candidates(rows, torch.cat([log_count, certain]), torch.cat([log_expected, certain]), shown)


def _shown(batch: Batch, negatives: Tensor, known: SeenItems | None) -> Tensor:
    """Returns the distinct items that were shown with each event (B, L), its own item where there is none."""
    own, shown = batch.item.long().unsqueeze(1), negatives.long().sort(dim=1).values
    none = shown == UNKNOWN
    none[:, 1:] |= shown[:, 1:] == shown[:, :-1]
    if known is not None:
        none |= known.holds(batch.user.unsqueeze(1), shown)
    return own.where(none, shown)


def excluded_pairs(batch: Batch, candidates: Candidates, known: SeenItems | None) -> tuple[Tensor, Tensor]:
    """Returns which candidates do not count for which events.

    They are the own item, what the user is known to like, and, among the items for all events, what was shown with the
    event: that counts already, as the event's own.

    Args:
        batch: The events (B,).
        candidates: What they are compared with.
        known: The items that each user is known to like.

    Returns:
        Places of events and of candidates, one each a pair that does not count.
    """
    rows, shown = candidates.rows, candidates.shown
    places = torch.arange(len(batch.item), device=batch.item.device)
    pairs = [(places, batch.item.long())]
    if shown is not None:
        pairs.append((places.repeat_interleave(shown.shape[1]), shown.flatten()))
    if known is not None:
        pairs.append(known.of(batch.user))
    events, items = (torch.cat(part) for part in zip(*pairs, strict=True))
    if len(rows):
        columns = torch.searchsorted(rows, items).clamp_max(len(rows) - 1)
        found = rows.index_select(0, columns) == items
        events, columns = events[found], columns[found]
    else:
        events = columns = events[:0]
    if shown is None:
        return events, columns
    owners, slots = (shown == batch.item.unsqueeze(1)).nonzero(as_tuple=True)
    return torch.cat([events, owners]), torch.cat([columns, len(rows) + slots])


def try_loss(spec: Spec, loss: nn.Module, *, weighted: bool) -> None:
    """Tries a built loss on a few logits.

    Args:
        spec: The loss.
        loss: The module that was built from it.
        weighted: Whether the data has weights of events.

    Raises:
        PartError: It does not return a finite mean () that has a gradient.
    """
    logits, weights = trial_numbers(4).requires_grad_(), torch.tensor([1.0, 2.0, 1.0, 1.0])
    if isinstance(loss, CandidateLoss):
        contract = "map logits (B,) and (B, C), the candidates and weights (B,) or None to a mean loss ()"
        hint = "A logit of minus infinity is a candidate that does not count."
        excluded = torch.eye(4, 5, dtype=torch.bool)
        negatives = trial_numbers(4, 5, seed=1).masked_fill(excluded, float("-inf"))
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
        raise LOSSES.fault(spec, "return a loss that has a gradient", "one without", hint)
