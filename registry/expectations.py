"""What the type of a config value asks for, in words."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from towerzoo.registry.registry import registry_of

KeyPath = tuple[str | int, ...]
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "a mapping",
    list: "a list",
}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def expectation(annotation: Any) -> str:
    """Returns what a value of a type must be, to be read after "must be".

    Example:
        >>> from pydantic import Field
        >>> expectation(Annotated[int, Field(ge=1)]), expectation(Literal["train", "test"] | None)
        ('a whole number >= 1', "'train', 'test' or null")
    """
    registry = registry_of(annotation)
    if registry is not None:
        return registry.expected()
    if typing.get_origin(annotation) is Annotated:
        base, *extras = typing.get_args(annotation)
        limits = [limit for extra in extras if isinstance(extra, FieldInfo) for limit in extra.metadata]
        return expectation(base) + _limits(limits)
    if choices := _choices(annotation):
        return " or ".join(part for part in (", ".join(choices[:-1]), choices[-1]) if part)
    if is_model(annotation):
        if expected := getattr(annotation, "expected", None):
            return str(expected)
        required = [name for name, info in annotation.model_fields.items() if info.is_required()]
        return f"a mapping with {', '.join(required)}" if required else "a mapping"
    plain = collection(annotation) or annotation
    return _WORDS.get(plain, "any value" if plain is Any else f"a value of type {getattr(plain, '__name__', plain)}")


def locate(hints: Mapping[str, Any], location: KeyPath) -> tuple[Any, int]:
    """Follows a location that pydantic reports down the types.

    Returns:
        The type there, and how many keys of the location lead to it. Behind a union, a location names the member that
        did not suit; that is not followed.
    """
    annotation: Any = hints.get(str(location[0]), Any) if location else Any
    for depth, key in enumerate(location[1:], start=1):
        inner = element(annotation, key)
        if inner is None:
            return annotation, depth
        annotation = inner
    return annotation, len(location)


def element(annotation: Any, key: str | int) -> Any | None:
    """Returns the type of the value under a key of a collection; None where that is not a single type."""
    annotation = without_null(annotation)
    if typing.get_origin(annotation) is Annotated:
        return element(typing.get_args(annotation)[0], key)
    if is_model(annotation):
        return model_hints(annotation).get(str(key), Any)
    arguments = typing.get_args(annotation)
    kind = collection(annotation)
    if kind is dict and len(arguments) == 2:
        return arguments[1]
    if kind is list and arguments:
        several = typing.get_origin(annotation) is tuple and arguments[-1] is not ...
        return arguments[int(key) if several and int(key) < len(arguments) else 0]
    return None


def collection(annotation: Any) -> type | None:
    """Returns dict or list, the YAML collection that a type is written as; None for other types."""
    kind = typing.get_origin(annotation) or annotation
    if isinstance(kind, type) and not issubclass(kind, str):
        if issubclass(kind, Mapping):
            return dict
        if issubclass(kind, Sequence | set | frozenset):
            return list
    return None


def union_members(annotation: Any) -> tuple[Any, ...]:
    """Returns the members of a union, or nothing for any other type."""
    return typing.get_args(annotation) if typing.get_origin(annotation) in (Union, types.UnionType) else ()


def without_null(annotation: Any) -> Any:
    """Returns `T` for `T | None`, and any other type as it is."""
    members = [member for member in union_members(annotation) if member is not type(None)]
    return members[0] if len(members) == 1 else annotation


def is_model(annotation: Any) -> bool:
    """Returns whether a type is a pydantic model."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


@functools.cache
def model_hints(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the type of each field of a model with all its annotations."""
    return typing.get_type_hints(model, include_extras=True)


def _limits(limits: Sequence[Any]) -> str:
    names = (*_SIGNS, "min_length", "max_length")
    bounds = {name: getattr(limit, name) for limit in limits for name in names if hasattr(limit, name)}
    texts = [f"{sign} {bounds[name]:.10g}" for name, sign in _SIGNS.items() if name in bounds]
    if least := bounds.get("min_length"):
        texts.append(f"of length {'' if least == bounds.get('max_length') else '>= '}{least}")
    return f" {' and '.join(texts)}" if texts else ""


def _choices(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is Literal:
        return [repr(choice) for choice in typing.get_args(annotation)]
    if annotation is type(None):
        return ["null"]
    return [choice for member in union_members(annotation) for choice in _choices(member) or [expectation(member)]]
