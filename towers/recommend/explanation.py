"""Why a model gives an item its score for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.recommend.items import Item
from towerzoo.towers.recommend.people import Person
from towerzoo.towers.recommend.recommender import Recommender

NEAREST = 5
"""An explanation lists at most this many items that the person has seen."""
NUMBERS = ("change", "cosine")
STREAMED = (
    "training events were streamed: the rank counts items that the user saw in training, and none is listed as near"
)


@dataclass(frozen=True)
class Effect:
    """How one feature changes a score."""

    side: Annotated[str, Field(description="`user` or `item`.")]
    feature: Annotated[str, Field(description="Name; `bias` for the bias of the user or item.")]
    value: Annotated[str, Field(description="Value, as text.")]
    change: Annotated[float, Field(description="The score minus the score if the feature were unknown.")]


@dataclass(frozen=True)
class NearItem(Item):
    """An item that the user has seen, and how close it is to the explained item."""

    cosine: Annotated[float, Field(description="Cosine of the item tower's vectors, in [-1, 1].")]
    liked: Annotated[bool, Field(description="Whether the user liked it.")]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What speaks for and against an item; prints as text, and `pandas.DataFrame(explanation.effects)` is a table."""

    of: Annotated[Item, Field(description="The explained item.")]
    score: Annotated[float, Field(description="The item's logit.")]
    probability: Annotated[
        float | None, Field(description="Probability of a positive label, in [0, 1]; null if the score gives none.")
    ]
    rank: Annotated[int, Field(description="Rank of the item among the candidates, from 1.")]
    candidates: Annotated[int, Field(description="Number of items that the user has not seen, including this item.")]
    effects: Annotated[
        list[Effect], Field(description="Largest first; they need not add up, because features interact.")
    ]
    nearest: Annotated[list[NearItem], Field(description="The closest items that the user has seen, nearest first.")]
    notes: Annotated[list[str], Field(description="Unknown values and limits of the answer, for people to read.")]

    def __str__(self) -> str:
        chance = "" if self.probability is None else f", probability {self.probability:.1%}"
        rank = f"rank {self.rank:,} of {self.candidates:,}"
        lines = [f"{self.of.title}: logit {self.score:.3f}{chance}, {rank}"]
        lines += ["", "what each feature adds to the logit, compared with an unknown value:"]
        lines += _aligned(("side", "feature", "value", "change"), map(astuple, self.effects))
        if self.nearest:
            rows = [(str(near.id), near.title, near.cosine, "yes" if near.liked else "no") for near in self.nearest]
            lines += ["", "the closest items that the user has seen:"]
            lines += _aligned(("id", "title", "cosine", "liked"), rows)
        return "\n".join(lines)


def _aligned(header: Sequence[str], rows: Iterable[Sequence[str | float]]) -> list[str]:
    """Returns a table's lines, texts aligned left and numbers right."""
    table = [header, *([f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if name in NUMBERS else cell.ljust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in table
    ]


@torch.no_grad()
def explain(recommender: Recommender, person: Person, item: int) -> Explanation:
    """Explains the score of an item by scoring it again with one feature at a time unknown.

    Args:
        recommender: The run.
        person: The person.
        item: The item's row.
    """
    user = recommender.factors([person])[0]
    factors = recommender.item_vectors.factors
    scores = (user.unsqueeze(0) @ factors.T)[0]  # by the same product as lists, so that ranks agree with them
    score = scores[item]
    candidates = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    candidates[recommender.left_out([person]).of(torch.tensor([0]))[1].to(scores.device)] = False
    candidates[UNKNOWN] = False
    candidates[item] = True
    rows = torch.arange(len(scores), device=scores.device)
    before = (scores > score) | ((scores == score) & (rows < item))
    effects = [*_of_person(recommender, person, item, score), *_of_item(recommender, user, item, score)]
    return Explanation(
        of=recommender.names.item(item),
        score=score.item(),
        probability=score.double().sigmoid().item() if recommender.is_probability(person) else None,
        rank=int((before & candidates).sum()) + 1,
        candidates=int(candidates.sum()),
        effects=sorted(effects, key=lambda effect: -abs(effect.change)),
        nearest=_nearest(recommender, person, item),
        notes=[] if recommender.events.whole or person.row == UNKNOWN else [STREAMED],
    )


def _of_person(recommender: Recommender, person: Person, item: int, score: Tensor) -> list[Effect]:
    if recommender.by_likes_alone(person):
        return []
    row = torch.tensor([person.row], device=recommender.device)
    columns = recommender.person_vectors.inputs([person], row)
    against = recommender.item_vectors.factors[item]
    return _effects("user", recommender, columns, row, {}, lambda factors: score - factors @ against)


def _of_item(recommender: Recommender, user: Tensor, item: int, score: Tensor) -> list[Effect]:
    columns, row = recommender.item_vectors.columns(item)
    # The encoded text of an added item is not a row of the texts that the encoder knows.
    texts = {name: known[item] for name, known in recommender.items.texts.items()}
    return _effects("item", recommender, columns, row, texts, lambda factors: score - factors @ user)


def _effects(
    side: Literal["user", "item"],
    recommender: Recommender,
    columns: Mapping[str, Tensor],
    row: Tensor,
    texts: Mapping[str, str],
    change: Callable[[Tensor], Tensor],
) -> list[Effect]:
    model = recommender.model
    tower: Tower = getattr(model, f"{side}_tower")
    factors = getattr(model.score, f"{side}_factors")

    def vector(columns: Mapping[str, Tensor]) -> Tensor:
        return tower.encode(columns) if columns else tower(row)

    effects = []
    for name, values in columns.items():
        encoder = tower.encoder(name)
        without = change(factors(vector({**columns, name: encoder.unknown_like(values)}), row)[0])
        value = texts[name] or "unknown" if name in texts else encoder.describe(values[0])
        effects.append(Effect(side, name, value, without.item()))
    bias = model.bias(side)
    if bias is not None:
        without = change(factors(vector(columns), torch.zeros_like(row))[0])
        effects.append(Effect(side, "bias", f"{bias(row).item():+.3f}", without.item()))
    return effects


def _nearest(recommender: Recommender, person: Person, item: int) -> list[NearItem]:
    events = recommender.events
    seen = torch.nonzero(events.user == person.row)[:, 0] if person.row != UNKNOWN else torch.empty(0).long()
    liked = dict(zip(events.item[seen].tolist(), (events.label[seen] > 0.5).tolist(), strict=True))
    liked |= dict.fromkeys(person.liked, True) | dict.fromkeys(person.disliked, False)
    liked.pop(item, None)
    liked.pop(UNKNOWN, None)
    if not liked or recommender.item_vectors.directions.shape[1] == 0:
        return []
    rows = torch.tensor(sorted(liked), device=recommender.device)
    cosines = recommender.item_vectors.directions[rows] @ recommender.item_vectors.directions[item]
    order = cosines.argsort(descending=True, stable=True)[:NEAREST]
    return [
        NearItem(recommender.names.ids.values[row - 1], recommender.names.title(row), cosine, liked[row])
        for row, cosine in zip(rows[order].tolist(), cosines[order].tolist(), strict=True)
    ]
