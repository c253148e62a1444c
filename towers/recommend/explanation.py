"""Why a model gives a person's item its score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.recommend.people import Person
from towerzoo.towers.recommend.recommender import Recommender

NEAREST = 5
"""Items of the person's own that an explanation names at most."""
STREAMED = (
    "training events were streamed: the rank counts the items that the person met in them, and none is told as near"
)


class Effect(NamedTuple):
    """What one feature does to a score.

    Attributes:
        side: `user` or `item`.
        feature: Its name; `bias` for the bias of the user or item.
        value: Its value, as text.
        change: The logit, less what it would be if the feature were unknown.
    """

    side: str
    feature: str
    value: str
    change: float


class Near(NamedTuple):
    """An item of the person's own, and how near it is to the one that is explained.

    Attributes:
        row: Its row.
        cosine: Of the item tower's vectors.
        liked: Whether it is one that she liked.
    """

    row: int
    cosine: float
    liked: bool


class Explanation(NamedTuple):
    """What speaks for and against an item.

    Attributes:
        logit: The item's score.
        probability: Of a positive label; None where the logit is no logit of one.
        rank: The item's place among all that she has not met, from 1, itself included.
        candidates: How many these are.
        effects: Of each feature, largest first; they need not add up, since features act together.
        nearest: Of the items that she has met, those nearest to it, nearest first.
        notes: What is not known of what she has met, for people to read.
    """

    logit: float
    probability: float | None
    rank: int
    candidates: int
    effects: list[Effect]
    nearest: list[Near]
    notes: tuple[str, ...] = ()


@torch.no_grad()
def explain(recommender: Recommender, person: Person, item: int) -> Explanation:
    """Explains the score of an item for a person by exact re-scoring, one unknown feature at a time.

    Args:
        recommender: The run.
        person: For whom.
        item: The item's row.
    """
    user = recommender.factors([person])[0]
    factors = recommender.item_vectors.factors
    scores = (user.unsqueeze(0) @ factors.T)[0]  # as lists are scored
    own = scores[item]
    candidates = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    candidates[recommender.left_out([person]).of(torch.tensor([0]))[1].to(scores.device)] = False
    candidates[UNKNOWN] = False
    candidates[item] = True
    rows = torch.arange(len(scores), device=scores.device)
    before = (scores > own) | ((scores == own) & (rows < item))
    effects = [*_of_person(recommender, person, item, own), *_of_item(recommender, user, item, own)]
    return Explanation(
        logit=own.item(),
        probability=own.double().sigmoid().item() if recommender.is_probability(person) else None,
        rank=int((before & candidates).sum()) + 1,
        candidates=int(candidates.sum()),
        effects=sorted(effects, key=lambda effect: -abs(effect.change)),
        nearest=_nearest(recommender, person, item),
        notes=() if recommender.events.whole or person.row == UNKNOWN else (STREAMED,),
    )


def _of_person(recommender: Recommender, person: Person, item: int, own: Tensor) -> list[Effect]:
    if recommender.by_likes_alone(person):
        return []
    row = torch.tensor([person.row], device=recommender.device)
    columns = recommender.person_vectors.inputs([person], row)
    against = recommender.item_vectors.factors[item]
    return _effects("user", recommender, columns, row, {}, lambda factors: own - factors @ against)


def _of_item(recommender: Recommender, user: Tensor, item: int, own: Tensor) -> list[Effect]:
    columns, row = recommender.item_vectors.columns(item)
    # Of an item that was added, the encoded text is no row of the table's texts.
    texts = {name: known[item] for name, known in recommender.items.texts.items()}
    return _effects("item", recommender, columns, row, texts, lambda factors: own - factors @ user)


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


def _nearest(recommender: Recommender, person: Person, item: int) -> list[Near]:
    events = recommender.events
    theirs = torch.nonzero(events.user == person.row)[:, 0] if person.row != UNKNOWN else torch.empty(0).long()
    liked = dict(zip(events.item[theirs].tolist(), (events.label[theirs] > 0.5).tolist(), strict=True))
    liked |= dict.fromkeys(person.liked, True) | dict.fromkeys(person.disliked, False)
    liked.pop(item, None)
    liked.pop(UNKNOWN, None)
    if not liked or recommender.item_vectors.directions.shape[1] == 0:
        return []
    rows = torch.tensor(sorted(liked), device=recommender.device)
    cosines = recommender.item_vectors.directions[rows] @ recommender.item_vectors.directions[item]
    order = cosines.argsort(descending=True, stable=True)[:NEAREST]
    return [
        Near(row, cosine, liked[row]) for row, cosine in zip(rows[order].tolist(), cosines[order].tolist(), strict=True)
    ]
