"""What clients get, as the OpenAPI schema says it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class NamedItem(BaseModel):
    """An item as people know it."""

    id: int | str = Field(description="Raw id.")
    title: str = Field(description="Its title, or its raw id where it has none.")


class ScoredItem(NamedItem):
    """An item that was recommended, or is similar to another."""

    score: float = Field(description="The model's logit; for similar items the cosine of their vectors.")
    probability: float | None = Field(description="Of a positive label; null where the score is no logit of one.")


class RecommendedItem(ScoredItem):
    """A recommended item; features and like come with `details` alone."""

    features: dict[str, Any] = Field(default_factory=dict, description="Raw values of the item's features.")
    like: list[NamedItem] = Field(default_factory=list, description="Nearest to it of what the person has liked.")


class Recommendations(BaseModel):
    """Items for one person, best first."""

    run: str = Field(description="The run folder that answered.")
    items: list[RecommendedItem]
    notes: list[str] = Field(description="What was asked with and is not known, and why a list is empty.")


class SimilarItems(BaseModel):
    """Items near to one, nearest first."""

    run: str
    of: NamedItem
    items: list[ScoredItem]


class Effect(BaseModel):
    """What one feature does to a score."""

    side: str = Field(description="user or item.")
    feature: str
    value: str
    change: float = Field(description="The score, less what it would be if the feature were unknown.")


class NearItem(NamedItem):
    """An item of the person's own."""

    cosine: float
    liked: bool


class Explanation(BaseModel):
    """What speaks for and against an item."""

    run: str
    of: NamedItem
    score: float
    probability: float | None
    rank: int = Field(description="Its place among all items that the person has not met, itself included.")
    candidates: int = Field(description="How many these are.")
    effects: list[Effect] = Field(description="Largest first; they need not add up, since features act together.")
    nearest: list[NearItem] = Field(description="Nearest to it of what the person has met.")
    notes: list[str]


class FoundItems(BaseModel):
    """Items whose title holds a text."""

    run: str
    items: list[NamedItem]


class AnyUser(BaseModel):
    """A known user."""

    run: str
    user: int | str


class Feature(BaseModel):
    """A feature that can be told of a person, or filtered by."""

    name: str
    kind: str = Field(description="value, list or number.")
    values: list[int | str] = Field(description="Its raw values, where there are not too many to choose from.")


class RunAbout(BaseModel):
    """A run that is served."""

    name: str = Field(description="What `run` takes.")
    run: str = Field(description="The run folder that answers.")
    users: int
    items: int
    most_items: int = Field(description="The largest k.")
    test: dict[str, float] = Field(description="Its test figures.")
    example_users: list[int | str]
    user_features: list[Feature]
    item_features: list[Feature]


class Runs(BaseModel):
    """The runs that are served, the first of which answers where none is named."""

    runs: list[RunAbout]


class Reloaded(BaseModel):
    """What answers after a reload."""

    runs: dict[str, str] = Field(description="The run folder of each name.")


class Health(BaseModel):
    """Whether the service answers."""

    status: str


class Problems(BaseModel):
    """Why a request was refused."""

    problems: list[str] = Field(
        description="All that is wrong, each: <where> must be <expected>, got <value>. <what to do next>"
    )
