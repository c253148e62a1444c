"""Requests and responses of the service, as the OpenAPI schema describes them, and their limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StrictBool, WithJsonSchema, create_model

from towerzoo.towers.recommend.explanation import Explanation
from towerzoo.towers.recommend.items import Item, ScoredItem

RunFolderName = Annotated[str, Field(description="Name of the run folder that answered.")]


@dataclass(frozen=True)
class RecommendedItem(ScoredItem):
    """A recommended item with `details`."""

    features: Annotated[dict[str, Any], Field(description="Raw values of the item's features.")]
    like: Annotated[list[Item], Field(description="The closest items that the user liked, nearest first.")]


@dataclass(frozen=True)
class Recommendations:
    """Items for one user, best first."""

    run: RunFolderName
    items: Sequence[RecommendedItem | ScoredItem]
    notes: Annotated[list[str], Field(description="Unknown values of the request, and why a list is empty.")]


@dataclass(frozen=True)
class SimilarItems:
    """Items similar to another, nearest first."""

    run: RunFolderName
    of: Item
    items: list[ScoredItem]


@dataclass(frozen=True, kw_only=True)
class RunExplanation(Explanation):
    """What speaks for and against an item."""

    run: RunFolderName


@dataclass(frozen=True)
class FoundItems:
    """Items whose title contains a text."""

    run: RunFolderName
    items: list[Item]


@dataclass(frozen=True)
class Feature:
    """A feature that a request may give or filter by."""

    name: str
    kind: Annotated[str, Field(description="`value`, `list` or `number`.")]
    values: Annotated[list[int | str], Field(description="Raw values; empty if there are too many to list.")]


@dataclass(frozen=True)
class RunAbout:
    """A served run."""

    name: Annotated[str, Field(description="Value of `run` in a request.")]
    run: RunFolderName
    users: int
    items: int
    most_items: Annotated[int, Field(description="Largest k.")]
    test: Annotated[dict[str, float], Field(description="Metrics of the test split.")]
    example_users: list[int | str]
    user_features: list[Feature]
    item_features: list[Feature]


@dataclass(frozen=True)
class Problems:
    """Why a request was rejected."""

    problems: Annotated[list[str], Field(description="Everything that is wrong with the request, a sentence each.")]


@dataclass(frozen=True)
class Limits:
    """Limits of the service; a response that rejects a request names the limit.

    Attributes:
        items: Largest k, >= 1.
        body: Bytes of a request body, >= 1.
        batch: Requests that the model answers in one batch, >= 1.
        waiting: Requests that may wait for the model, >= 1; with more, one process would answer them seconds late.
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
        raise ValueError(f"must be a whole number or a string of at most {LONGEST_TEXT} characters")
    return value  # type: ignore[no-any-return]


def _read_value(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    valid = all(one is None or _is_id(one) or (type(one) is float and math.isfinite(one)) for one in values)
    if not valid or len(values) > LONGEST_TEXT:
        raise ValueError("must be a number, a string, null, or a list of these")
    return value


RawId = Annotated[Any, PlainValidator(_read_id), WithJsonSchema(ID_SCHEMA)]
"""A raw id; for an item, a raw id or a title."""
RawValue = Annotated[Any, PlainValidator(_read_value), WithJsonSchema(VALUE_SCHEMA)]
"""A raw value of a feature."""
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]


def _list(most: int, description: str) -> Any:
    # A factory: pydantic makes a deep copy of a default list for every request.
    return Field(default_factory=list, max_length=most, description=description)


class RecommendRequest(BaseModel):
    """A user to recommend for, and the items that may be recommended."""

    model_config = ConfigDict(extra="forbid")

    run: Name | None = Field(None, description="Name of the run that answers; by default the first one.")
    user: RawId | None = Field(None, description="Raw id of a known user; null for a new user.")
    features: dict[Name, RawValue] = Field(
        default_factory=dict,
        max_length=64,
        description="Features of a new user, or values that replace a known user's. Notes report unknown values.",
    )
    liked: list[RawId] = _list(200, "Raw ids or titles of items that the user likes.")
    disliked: list[RawId] = _list(200, "Raw ids or titles of items that the user dislikes.")
    exclude: list[RawId] = _list(1000, "Raw ids or titles of items to leave out.")
    where: list[Name] = _list(20, "Conditions on items, all required, such as genres=Drama, year>=1990, genres!=War.")
    keep_seen: StrictBool = Field(False, description="Whether to recommend items that the user has seen.")
    details: StrictBool = Field(False, description="Whether to add features and similar liked items to each item.")
    k: int = 10


def recommend_request(limits: Limits) -> type[RecommendRequest]:
    """Returns `RecommendRequest` with the service's limit of k, which its OpenAPI schema then shows."""
    k = Annotated[int, Field(ge=1, le=limits.items, strict=True, description="Number of items.")]
    return create_model("RecommendRequest", __base__=RecommendRequest, k=(k, min(10, limits.items)))
