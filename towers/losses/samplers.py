"""Samplers: the items that training compares an event's own item with.

Each knows how often it draws an item on average, which the logQ correction needs.
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
    """Every item of the catalogue, once."""

    def __init__(self, item_counts: Tensor) -> None:
        self._rows = torch.arange(1, len(item_counts), device=item_counts.device)

    def draw(self, positives: Tensor) -> Tensor:
        """All item rows except the unknown one's."""
        return self._rows.to(positives.device)

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Ones."""
        return torch.ones(len(rows), device=rows.device)


@SAMPLERS.register("in-batch")
class InBatchSampler:
    """The items of the batch's other events: drawn by popularity, in effect, and encoded already.

    Without the logQ correction popular items are punished for being popular. Yi et al., RecSys 2019.
    """

    def __init__(self, item_counts: Tensor) -> None:
        self._shares = item_counts / item_counts.sum()

    def draw(self, positives: Tensor) -> Tensor:
        """The batch's items."""
        return positives.long()

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """The number of other events times each item's share of all training events."""
        return (n_positives - 1) * self._shares.to(rows.device).index_select(0, rows)


@SAMPLERS.register("popularity")
class PopularitySampler:
    """Items drawn with replacement, with a probability proportional to the power of their number of training events.

    Items without training events are never drawn, unless power is 0.

    Args:
        n: Items per batch.
        power: 1 is popularity itself, 0.75 that of word2vec (Mikolov et al., NIPS 2013), 0 uniform.
    """

    def __init__(self, item_counts: Tensor, *, n: Count, power: NonNegative = 0.75) -> None:
        chances = item_counts.double() ** power
        chances[0] = 0
        self._n = n
        self._chances = (chances / chances.sum()).float()
        self._ends = (chances.cumsum(0) / chances.sum()).cpu()  # where torch draws the same on all ranks

    def draw(self, positives: Tensor) -> Tensor:
        """Draws n item rows."""
        numbers = torch.rand(self._n, dtype=torch.float64)
        rows = torch.searchsorted(self._ends, numbers, right=True).clamp_max(len(self._ends) - 1)
        return rows.to(positives.device, non_blocking=True)

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Returns n times each item's probability."""
        return self._n * self._chances.to(rows.device).index_select(0, rows)


@SAMPLERS.register("uniform")
def uniform_sampler(item_counts: Tensor, *, n: Count) -> PopularitySampler:
    """Items drawn with replacement, n per batch, all with the same probability, with training events or not."""
    return PopularitySampler(item_counts, n=n, power=0.0)


@SAMPLERS.register("from-column")
class FromColumnSampler:
    """The items that were shown with an event's own item and not taken, from the dataset's column of negatives.

    These items are not drawn. They are always there, as the own item is, so logQ leaves their logits alone, and each
    counts once. On its own, this makes `sampled-softmax` the probability of the choice among the items shown (McFadden,
    1974), with logQ or without; it says nothing about the rest of the catalogue. In `mixed`, an item that was shown
    with an event is removed from the other samplers' draws for that event, so that the denominator is still that of the
    full softmax on average. An event with which nothing was shown has no such negatives; its loss is 0 if there are no
    other samplers.

    With `mask_known`, items that the user is known to like are not negatives, even if they were not taken this time.

    """

    takes_shown = True

    def __init__(self, item_counts: Tensor) -> None:
        pass

    def draw(self, positives: Tensor) -> Tensor:
        """Draws nothing: the batch has the items."""
        return positives.new_empty(0, dtype=torch.int64)

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """Zeros."""
        return torch.zeros(len(rows), device=rows.device)


@SAMPLERS.register("mixed")
class MixedSampler:
    """Several samplers together, such as in-batch and uniform, which adds items that no batch would have.

    Mixed negative sampling: Yang et al., WWW 2020.

    Args:
        parts: The samplers.
    """

    def __init__(
        self, item_counts: Tensor, *, parts: Annotated[list[Annotated[Spec, SAMPLERS]], Field(min_length=1)]
    ) -> None:
        self._parts: Sequence[Sampler] = [SAMPLERS.build(part, item_counts=item_counts) for part in parts]

    def draw(self, positives: Tensor) -> Tensor:
        """The draws of all parts."""
        return torch.cat([part.draw(positives) for part in self._parts])

    def expected(self, rows: Tensor, n_positives: int) -> Tensor:
        """The sum over the parts."""
        return torch.stack([part.expected(rows, n_positives) for part in self._parts]).sum(0)


def takes_shown(sampler: Spec) -> bool:
    """Returns whether a checked spec, or one of its parts, names a sampler that uses the dataset's negatives column.

    Example:
        >>> takes_shown({"name": "mixed", "parts": ["in-batch", "from-column"]}), takes_shown("in-batch")
        (True, False)
    """
    name, parameters = SAMPLERS.split(sampler)
    return getattr(SAMPLERS.get(name), "takes_shown", False) or any(map(takes_shown, parameters.get("parts", ())))


def built_sampler(spec: Spec, item_counts: Tensor) -> Sampler:
    """Builds a sampler and lets it draw once, for the item with the most events.

    Raises:
        PartError: It lacks a method, does not draw item rows (n,), or its expected numbers (C,) are not > 0.
    """
    sampler: Sampler = SAMPLERS.build(spec, item_counts=item_counts)
    for method in ("draw", "expected"):
        if not callable(getattr(sampler, method, None)):
            problem = f"{described(sampler)} without {method}"
            raise SAMPLERS.part_error(spec, "have the methods draw and expected", problem)
    last, positives = len(item_counts) - 1, (item_counts[1:].argmax() + 1).expand(3)
    contract = f"draw item rows (n,) from 1 to {last}"
    with torch.random.fork_rng(devices=[]), SAMPLERS.errors_named(spec, contract):
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
        raise SAMPLERS.part_error(spec, contract, problem)
    rows = torch.unique(drawn)
    contract = "expect each of item rows (C,) a number of times > 0 (C,)"
    expected = try_part(SAMPLERS, spec, contract, (len(rows),), sampler.expected, rows, len(positives), finite=True)
    if not (expected > 0).all():
        problem = f"numbers from {expected.min().item()} to {expected.max().item()}"
        raise SAMPLERS.part_error(spec, contract, problem)
    return sampler
