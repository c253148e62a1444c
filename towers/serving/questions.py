"""What clients may ask, checked before a model sees it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StrictBool, WithJsonSchema, create_model

from towerzoo.towers.serving.limits import Limits

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
