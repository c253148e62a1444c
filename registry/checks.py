"""Checks a loaded config against the experiment schema and the signature of every part that it names."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from towerzoo.registry.errors import NOTHING, ConfigError, Problem, name_hint
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.registry import REQUIRED, Registry, registry_of
from towerzoo.registry.yaml_file import Document, KeyPath

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "a number > {gt}",
    "greater_than_equal": "a number >= {ge}",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "a number < {lt}",
    "less_than_equal": "a number <= {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "mapping_type": "a mapping",
    "missing": "given",
    "model_type": "a mapping",
    "string_type": "text",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "value_error": "{error}",
}
"""What a value must be, by pydantic's type of error. A validator's ValueError reads on from "must be"."""


def check_experiment(document: Document, problems: Iterable[Problem] = ()) -> Experiment:
    """Returns the experiment that a loaded config describes, with every default filled in.

    Args:
        document: The loaded config.
        problems: Problems that the caller has found in it already.

    Raises:
        ConfigError: With all problems at once, in the order of their lines.
    """
    checker = _Checker(document)
    value = checker.model(Experiment, document.value, ())
    found = [*document.problems, *checker.problems, *problems]
    if found:
        raise ConfigError(found)
    return Experiment.model_validate(value)


class _Checker:
    """Walks a config along its types; collects problems and returns the config with parts and defaults filled in."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def model(self, model: type[BaseModel], value: Any, path: KeyPath) -> Any:
        self.validate(model, value, path)
        return self.descend_model(model, value, path)

    def descend_model(self, model: type[BaseModel], value: Any, path: KeyPath) -> Any:
        if not isinstance(value, Mapping):
            return value
        filled = {
            name: info.get_default(call_default_factory=True)
            for name, info in model.model_fields.items()
            if not info.is_required()
        }
        filled = {name: v.model_dump() if isinstance(v, BaseModel) else v for name, v in filled.items()} | dict(value)
        registry = getattr(model, "registry", None)
        if registry is not None and registry.key in value:
            own = {key: v for key, v in value.items() if key == registry.key or key not in model.model_fields}
            filled |= self.part(registry, own, path, also_known=tuple(model.model_fields)) or {}
        return {key: self.descend(_hints(model).get(key, Any), v, (*path, key)) for key, v in filled.items()}

    def descend(self, annotation: Any, value: Any, path: KeyPath) -> Any:
        """Finds the parts inside a value of the given type."""
        registry = registry_of(annotation)
        if registry is not None:
            return self.part(registry, value, path)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return self.descend_model(annotation, value, path)
        arguments = typing.get_args(annotation)
        if typing.get_origin(annotation) is dict and isinstance(value, Mapping):
            return {key: self.descend(arguments[1], v, (*path, key)) for key, v in value.items()}
        if typing.get_origin(annotation) is list and isinstance(value, list):
            return [self.descend(arguments[0], v, (*path, index)) for index, v in enumerate(value)]
        if type(None) in arguments and value is not None:
            return self.descend(next(a for a in arguments if a is not type(None)), value, path)
        return value

    def part(self, registry: Registry, value: Any, path: KeyPath, also_known: tuple[str, ...] = ()) -> Any:
        """Checks a part's name and parameters against its signature."""
        if isinstance(value, str):
            value = {registry.key: value}
            name_path = path
        else:
            name_path = (*path, registry.key)
        if not isinstance(value, Mapping) or registry.key not in value:
            expected = f"the name of a registered {registry.kind}, or a mapping with {registry.key!r}"
            self.add(path, expected, value, name_hint("", registry.names(), "Registered"))
            return value
        name, parameters = registry.split(value)
        if name not in registry:
            self.add(name_path, f"a registered {registry.kind}", name, name_hint(name, registry.names(), "Registered"))
            return value
        known = registry.parameters(name)
        self.validate(_parameter_model(registry, name), parameters, path, also_known)
        filled = {p.name: p.default for p in known if p.default is not REQUIRED} | parameters
        hints = {p.name: p.annotation for p in known}
        return {registry.key: name} | {
            key: self.descend(hints.get(key, Any), _plain(v), (*path, key)) for key, v in filled.items()
        }

    def validate(self, model: type[BaseModel], value: Any, path: KeyPath, also_known: tuple[str, ...] = ()) -> None:
        try:
            model.model_validate(value)
        except ValidationError as error:
            for details in error.errors():
                self.translate(model, details, path, also_known)

    def translate(self, model: type[BaseModel], error: ErrorDetails, path: KeyPath, also_known: tuple[str, ...]) -> None:
        location = error["loc"]
        found = NOTHING if error["type"] == "missing" else error["input"]
        next_step = ""
        if error["type"] == "extra_forbidden":
            expected, found = "a known key", location[-1]
            next_step = name_hint(found, (*_known_keys(model, location[:-1]), *also_known), "Known")
        else:
            template = _EXPECTED.get(error["type"])
            expected = template.format_map(error.get("ctx", {})) if template else f"valid ({error['msg']})"
        if isinstance(found, BaseModel):
            found = found.model_dump()
        self.add((*path, *location), expected, found, next_step)

    def add(self, path: KeyPath, expected: str, found: Any, next_step: str = "") -> None:
        self.problems.append(Problem(self.document.where(path) or "config", expected, found, next_step))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@functools.cache
def _hints(model: type[BaseModel]) -> dict[str, Any]:
    return typing.get_type_hints(model, include_extras=True)


@functools.cache
def _parameter_model(registry: Registry, name: str) -> type[BaseModel]:
    """Returns a model with a part's parameters as fields; aliases, since a parameter may be called `copy` or `_x`."""
    fields: dict[str, Any] = {
        f"parameter_{index}": (
            parameter.annotation,
            Field(alias=parameter.name) if parameter.default is REQUIRED else Field(parameter.default, alias=parameter.name),
        )
        for index, parameter in enumerate(registry.parameters(name))
    }
    config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    return create_model(name, __config__=config, **fields)


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for key in location:
        field = model.model_fields.get(str(key))
        candidates = [field.annotation, *typing.get_args(field.annotation)] if field else []
        nested = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if nested is None:
            return []
        model = nested
    return [field.alias or name for name, field in model.model_fields.items()]
