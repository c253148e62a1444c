"""Samplers: which items training compares an event's own item with.

Each knows how often it draws an item on average, from which the logQ correction is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from towerzoo.registry import SAMPLERS, Spec
from towerzoo.registry.ranges import Count, NonNegative
from towerzoo.towers.layers.trials import described, try_part
from towerzoo.towers.losses.candidates import Sampler


@SAMPLERS.register("catalogue")
class CatalogueSampler:
    """Every item of the catalogue, once: nothing is left to chance.

    Args:
        item_counts: Training events of each item row (n_items,).
    """

    def __init__(self, item_counts: Tensor) -> None:
        self._rows = torch.arange(1, len(item_counts), device=item_counts.device)

    def draw(self, positives: Tensor) -> Tensor:
        """Returns all item rows but the unknown one's."""
        return self._rows.to(positives.device)

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Returns ones."""
        return torch.ones(len(rows), device=rows.device)


@SAMPLERS.register("in-batch")
class InBatchSampler:
    """The items of the batch's other events: drawn, in effect, by their popularity, and encoded already.

    Without the logQ correction popular items are punished for being popular. Yi et al., RecSys 2019.

    Args:
        item_counts: Training events of each item row (n_items,).
    """

    def __init__(self, item_counts: Tensor) -> None:
        self._shares = item_counts / item_counts.sum()

    def draw(self, positives: Tensor) -> Tensor:
        """Returns the batch's items."""
        return positives.long()

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Returns the number of other events times each item's share of all training events."""
        return (n_positives - 1) * self._shares.to(rows.device).index_select(0, rows)


@SAMPLERS.register("popularity")
class PopularitySampler:
    """Items drawn with replacement, an item of n training events with a chance proportional to n ** power.

    Items without a training event are never drawn, unless power is 0.

    Args:
        item_counts: Training events of each item row (n_items,).
        n: Items a batch.
        power: 1 is by popularity, 0.75 as in word2vec (Mikolov et al., NIPS 2013), 0 uniform.
    """

    def __init__(self, item_counts: Tensor, *, n: Count, power: NonNegative = 0.75) -> None:
        chances = item_counts.double() ** power
        chances[0] = 0
        self._n = n
        self._chances = (chances / chances.sum()).float()
        self._ends = (chances.cumsum(0) / chances.sum()).cpu()  # where torch draws the same on all ranks

    def draw(self, positives: Tensor) -> Tensor:
        """Draws n item rows from torch's default generator."""
        numbers = torch.rand(self._n, dtype=torch.float64)
        rows = torch.searchsorted(self._ends, numbers, right=True).clamp_max(len(self._ends) - 1)
        return rows.to(positives.device, non_blocking=True)

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Returns n times each item's chance."""
        return self._n * self._chances.to(rows.device).index_select(0, rows)


@SAMPLERS.register("uniform")
def uniform_sampler(item_counts: Tensor, *, n: Count) -> PopularitySampler:
    """Items drawn with replacement, all with the same chance, whether they have training events or not.

    Args:
        item_counts: Training events of each item row (n_items,).
        n: Items a batch.
    """
    return PopularitySampler(item_counts, n=n, power=0.0)


@SAMPLERS.register("from-column")
class FromColumnSampler:
    """What was shown with an event's own item and not taken, as the dataset's column of negatives says.

    These items are not drawn: they are there with certainty, as the own item is, so that their logits lose nothing by
    logQ, and each counts once. Alone, `sampled-softmax` is then the chance of the choice that was made among what was
    shown (McFadden, 1974), with logQ or without; it says nothing of the rest of the catalogue. In `mixed`, what was
    shown with an event is taken out of what the other parts draw, so that the denominator is on average still that of
    the full softmax. An event with which nothing was shown has no such negatives; alone, its loss is 0.

    What a user is known to like is no negative of hers (`mask_known`), even where she did not take it this time.

    Args:
        item_counts: Training events of each item row (n_items,).
    """

    def __init__(self, item_counts: Tensor) -> None:
        pass

    def draw(self, positives: Tensor) -> Tensor:
        """Draws nothing: the batch holds what was shown."""
        return positives.new_empty(0, dtype=torch.int64)

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Returns zeros."""
        return torch.zeros(len(rows), device=rows.device)


@SAMPLERS.register("mixed")
class MixedSampler:
    """Several samplers together, such as in-batch and uniform, which adds the items that no batch would hold.

    Mixed negative sampling: Yang et al., WWW 2020.

    Args:
        item_counts: Training events of each item row (n_items,).
        parts: The samplers.
    """

    def __init__(
        self, item_counts: Tensor, *, parts: Annotated[list[Annotated[Spec, SAMPLERS]], Field(min_length=1)]
    ) -> None:
        self._parts: Sequence[Sampler] = [SAMPLERS.build(part, item_counts=item_counts) for part in parts]

    def draw(self, positives: Tensor) -> Tensor:
        """Returns what all parts draw."""
        return torch.cat([part.draw(positives) for part in self._parts])

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Returns the sum over the parts."""
        return torch.stack([part.expected(rows, n_positives) for part in self._parts]).sum(0)


def takes_shown(sampler: Spec) -> bool:
    """Returns whether a checked spec is of `from-column`, or of a sampler that has it among its parts.

    Example:
        >>> takes_shown({"name": "mixed", "parts": ["in-batch", "from-column"]}), takes_shown("in-batch")
        (True, False)
    """
    name, parameters = SAMPLERS.split(sampler)
    return name == "from-column" or any(map(takes_shown, parameters.get("parts", ())))


def built_sampler(spec: Spec, item_counts: Tensor) -> Sampler:
    """Builds a sampler and lets it draw once, for the item of the most events.

    Raises:
        PartError: It lacks a method, does not draw rows (n,) of items, or its expected numbers are not > 0 (C,).
    """
    sampler: Sampler = SAMPLERS.build(spec, item_counts=item_counts)
    for method in ("draw", "expected"):
        if not callable(getattr(sampler, method, None)):
            problem = f"{described(sampler)} without {method}"
            raise SAMPLERS.fault(spec, "have the methods draw and expected", problem)
    last, positives = len(item_counts) - 1, (item_counts[1:].argmax() + 1).expand(3)
    contract = f"draw item rows (n,) from 1 to {last}"
    with torch.random.fork_rng(devices=[]), SAMPLERS.telling(spec, contract):
        drawn = sampler.draw(positives)
    problem = ""
    if not isinstance(drawn, Tensor):
        problem = described(drawn)
    elif drawn.dim() != 1 or drawn.is_floating_point():
        problem = f"a tensor of {drawn.dtype} and shape {tuple(drawn.shape)}"
    elif len(drawn) and not 1 <= int(drawn.min()) <= int(drawn.max()) <= last:
        problem = f"rows from {int(drawn.min())} to {int(drawn.max())}"
    elif not len(drawn) and not takes_shown(spec):
        problem = "none"
    if problem:
        raise SAMPLERS.fault(spec, contract, problem)
    rows = torch.unique(drawn)
    contract = "expect each of item rows (C,) a number of times > 0 (C,)"
    expected = try_part(SAMPLERS, spec, contract, (len(rows),), sampler.expected, rows, len(positives), finite=True)
    if not (expected > 0).all():
        problem = f"numbers from {expected.min().item()} to {expected.max().item()}"
        raise SAMPLERS.fault(spec, contract, problem)
    return sampler
