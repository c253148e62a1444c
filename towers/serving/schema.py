"""What clients get, as the OpenAPI schema says it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StrictBool, WithJsonSchema, create_model


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


@dataclass(frozen=True)
class Limits:
    """What the service takes; more is refused, with the limit in the answer.

    Attributes:
        items: Items of one answer, >= 1.
        body: Bytes of a request's body, >= 1.
        batch: Questions that the model answers at once, >= 1.
        waiting: Questions that may wait for the model, >= 1; at the rates of one process more would be answered late.
    """

    items: int = 100
    body: int = 64 << 10
    batch: int = 64
    waiting: int = 1024


LONGEST_TEXT: Final = 200
LARGEST_NUMBER: Final = 2**63 - 1

ID_SCHEMA: Final = {
    "anyOf": [
        {"type": "integer", "minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER},
        {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT},
    ]
}
SCALAR_SCHEMA: Final = {"anyOf": [*ID_SCHEMA["anyOf"], {"type": "number"}, {"type": "null"}]}
VALUE_SCHEMA: Final = {
    "anyOf": [*SCALAR_SCHEMA["anyOf"], {"type": "array", "items": SCALAR_SCHEMA, "maxItems": LONGEST_TEXT}]
}


def _is_id(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= LARGEST_NUMBER
    return type(value) is str and 0 < len(value) <= LONGEST_TEXT


def _read_id(value: Any) -> int | str:
    if not _is_id(value):
        raise ValueError(f"must be a whole number or a text of at most {LONGEST_TEXT} letters")
    return value  # type: ignore[no-any-return]


def _read_value(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    plain = all(one is None or _is_id(one) or (type(one) is float and math.isfinite(one)) for one in values)
    if not plain or len(values) > LONGEST_TEXT:
        raise ValueError("must be a number, a text, null, or a list of such")
    return value


RawId = Annotated[Any, PlainValidator(_read_id), WithJsonSchema(ID_SCHEMA)]
"""A raw id, or a title where an item is meant."""
RawValue = Annotated[Any, PlainValidator(_read_value), WithJsonSchema(VALUE_SCHEMA)]
"""A raw value of a feature."""
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]


class Recommend(BaseModel):
    """Somebody to recommend for, and what may be recommended."""

    # Factories of empty lists, since pydantic copies an empty list of its own deeply for every request.
    model_config = ConfigDict(extra="forbid")

    run: Annotated[Name | None, Field(description="Which of the runs answers; the first one where none is named.")] = (
        None
    )
    user: Annotated[RawId | None, Field(description="Raw id of a known user; null for somebody new.")] = None
    features: Annotated[
        dict[Name, RawValue],
        Field(
            default_factory=dict,
            max_length=64,
            description="Features of somebody new, or in place of a user's own; unknown values are told.",
        ),
    ]
    liked: Annotated[
        list[RawId], Field(default_factory=list, max_length=200, description="Items they like: raw ids or titles.")
    ]
    disliked: Annotated[
        list[RawId], Field(default_factory=list, max_length=200, description="Items they dislike: raw ids or titles.")
    ]
    exclude: Annotated[
        list[RawId], Field(default_factory=list, max_length=1000, description="Items that are not to be recommended.")
    ]
    where: Annotated[
        list[Name],
        Field(
            default_factory=list,
            max_length=20,
            description="Conditions that all must be met, such as genres=Drama, year>=1990, genres!=War.",
        ),
    ]
    keep_seen: Annotated[StrictBool, Field(description="Whether items that the user has met may be recommended.")] = (
        False
    )
    details: Annotated[
        StrictBool,
        Field(description="Whether to tell each item's features, and what it is like of what they have met."),
    ] = False
    k: int = 10


def recommend_model(limits: Limits) -> type[Recommend]:
    """Returns `Recommend` with the service's own limit of items, so that its OpenAPI schema says it."""
    k = Annotated[int, Field(ge=1, le=limits.items, strict=True, description="How many items.")]
    return create_model("Recommend", __base__=Recommend, k=(k, min(10, limits.items)))
