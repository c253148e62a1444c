"""Checks a loaded config against the experiment schema and the signature of every part that it names."""

from __future__ import annotations

import functools
import json
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from towerzoo.registry.catalogue import BLOCKS
from towerzoo.registry.errors import NOTHING, ConfigError, Problem, name_hint, nearest
from towerzoo.registry.expectations import (
    collection,
    element,
    expectation,
    is_model,
    locate,
    model_hints,
    union_members,
    without_null,
)
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.places import place
from towerzoo.registry.registry import REQUIRED, Registry, registry_of
from towerzoo.registry.yaml_file import Document, KeyPath, Origin, dotted, read_yaml


def check_experiment(document: Document, problems: Iterable[Problem] = ()) -> Experiment:
    """Returns the experiment that a loaded config describes, with every default filled in.

    Args:
        document: The loaded config.
        problems: Problems that the caller has found in it already.

    Raises:
        ConfigError: With all problems at once, file by file in the order of their lines.
    """
    checker = _Checker(document)
    value = checker.model(Experiment, document.value, ())
    checker.towers(document.value)
    found = [*document.problems, *checker.problems, *problems]
    if found:
        raise ConfigError(_in_order(found))
    return Experiment.model_validate(value)


def check_part(registry: Registry, text: str, where: str) -> dict[str, Any]:
    """Returns the part of a registry that a YAML text names, with every default filled in.

    Args:
        registry: The registry.
        text: Its bare name, or a mapping of name and parameters.
        where: What the text was given by, such as an option, for messages.

    Raises:
        ConfigError: With all problems at once.
    """
    document = read_yaml(text, where, under=())
    if document.incomplete:  # what it says is not known
        raise ConfigError(document.problems)
    document.origins.setdefault((), Origin(where))  # an empty text has no line
    checker = _Checker(document)
    part: dict[str, Any] = checker.part(registry, document.value, ())
    if found := [*document.problems, *checker.problems]:
        raise ConfigError(found)
    return part


class _Checker:
    """Walks a config along its types; collects problems and returns the config with parts and defaults filled in."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.told: set[tuple[Any, ...]] = set()

    def model(self, model: type[BaseModel], value: Any, path: KeyPath) -> Any:
        try:
            model.model_validate(value)
        except ValidationError as error:
            for details in error.errors():
                self.translate(details, model_hints(model), value, path)
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
        return {key: self.descend(model_hints(model).get(key, Any), v, (*path, key)) for key, v in filled.items()}

    def descend(self, annotation: Any, value: Any, path: KeyPath) -> Any:
        """Finds the parts inside a value of the given type."""
        registry = registry_of(annotation)
        if registry is not None:
            return self.part(registry, value, path)
        if is_model(annotation):
            return self.descend_model(annotation, value, path)
        if typing.get_origin(annotation) is Annotated:
            return self.descend(typing.get_args(annotation)[0], value, path)
        if union_members(annotation):
            plain = without_null(annotation)
            return value if value is None or union_members(plain) else self.descend(plain, value, path)
        if collection(annotation) is dict and isinstance(value, Mapping):
            return {key: self.descend(element(annotation, key), v, (*path, key)) for key, v in value.items()}
        if collection(annotation) is list and isinstance(value, list):
            return [self.descend(element(annotation, i), v, (*path, i)) for i, v in enumerate(value)]
        return value

    def part(self, registry: Registry, value: Any, path: KeyPath, also_known: tuple[str, ...] = ()) -> Any:
        """Checks a part's name and parameters against its signature."""
        name_path = path if isinstance(value, str) else (*path, registry.key)
        if (*path, registry.key) in self.document.unread:
            return value
        if not isinstance(value, str) and (not isinstance(value, Mapping) or registry.key not in value):
            self.add(path, registry.expected(), value, name_hint("", registry.names(), "Registered"))
            return value
        name, parameters = registry.split(value)
        if name not in registry:
            # Without a near spelling it may be a name that a file which could not be read registers.
            if not self.document.incomplete or nearest(name, registry.names()):
                hint = name_hint(name, registry.names(), "Registered")
                self.add(name_path, f"a registered {registry.kind}", name, hint)
            return value
        known = {p.name: p for p in registry.parameters(name)}
        hints = {p.name: p.annotation for p in known.values()}
        for key in parameters:
            if key in registry.context or not (key in known or registry.takes_any(name)):
                expected = f"a parameter of {registry.kind} {name!r}"
                expected += f" or a key of {dotted(path)}" if also_known else ""
                self.add((*path, key), expected, key, name_hint(key, (*known, *also_known), "Known"))
        for parameter in known.values():
            if parameter.default is REQUIRED and parameter.annotation is Any and parameter.name not in parameters:
                key, part = parameter.name, registry.get(name)
                hint = f"Add the key {key!r}, or give it a default at {place(part)}. "
                hint += f"{registry.a_kind.capitalize()} is {registry.contract}."
                self.add((*path, key), expectation(Any), NOTHING, hint)
        try:
            # As JSON, whose lists may be tuples: YAML has no others.
            text = json.dumps(parameters, default=str)
            _parameter_model(registry, name, registry.get(name)).model_validate_json(text)
        except ValidationError as error:
            for details in error.errors():
                self.translate(details, hints, parameters, path)
        filled = {p.name: p.default for p in known.values() if p.default is not REQUIRED} | parameters
        return {registry.key: name} | {
            key: self.descend(hints.get(key, Any), _plain(v), (*path, key)) for key, v in filled.items()
        }

    def translate(self, error: ErrorDetails, hints: Mapping[str, Any], value: Any, path: KeyPath) -> None:
        """Puts what pydantic has found into the words of the house."""
        location = error["loc"]
        holder = without_null(locate(hints, location[:-1])[0])
        annotation, depth = locate(hints, location)
        found = (
            NOTHING if error["type"] == "missing" else functools.reduce(lambda v, key: v[key], location[:depth], value)
        )
        expected, next_step = expectation(annotation), _hint(annotation, found, location[-1])
        registry = getattr(holder, "registry", None)
        if registry is not None and location[-1] == registry.key:
            if found is not NOTHING:
                return  # told by the check of the part
            expected = f"a registered {registry.kind}"
            next_step = f"{next_step} {name_hint('', registry.names(), 'Registered')}"
        elif error["type"] == "extra_forbidden":
            fields = holder.model_fields if is_model(holder) else Experiment.model_fields
            expected, found = "a known key", location[-1]
            next_step = name_hint(found, fields, "Known")
        elif error["type"] == "value_error":  # a validator's message reads on from "must be"
            expected = str(error["ctx"]["error"])
        elif error["type"] == "needs_python_object":
            next_step = "YAML holds no such value; annotate the parameter with a type of one that it holds."
        elif error["type"] == "finite_number":
            expected = expected.replace("a number", "a finite number", 1)
        elif not error["type"].endswith("_type") and error["type"] not in _TOLD_BY_TYPE:
            expected = f"{expected} ({error['msg']})"
        self.add((*path, *location[:depth]), expected, found, next_step)

    def towers(self, value: Mapping[str, Any]) -> None:
        """Checks what holds between keys; pydantic would do so only once each key is right."""
        last: list[Any] = []
        lines: list[Any] = [None]
        for key in ("user_tower", "item_tower"):
            tower = value.get(key)
            block, widths = (tower.get("block"), tower.get("widths")) if isinstance(tower, Mapping) else (None, None)
            last.append(widths[-1] if isinstance(widths, list) and widths else None)
            lines.append(self.document.origin((key, "widths" if block is None else "block"))[0])
            if lines[-1] == lines[-2]:  # one tower is an alias of the other
                continue
            if block is not None and not widths:
                next_step = "Add widths, one for each block, or remove the block."
                found = NOTHING if widths is None else widths
                self.add((key, "widths"), "a list of whole numbers >= 1 where a block is given", found, next_step)
            if widths and block is None:
                hint = f"Add a block, or remove the widths. {name_hint('', BLOCKS.names(), 'Registered')}"
                self.add((key, "block"), "a registered block where widths are given", NOTHING, hint)
        if None not in last and last[0] != last[1]:
            expected = f"a list that ends in {last[0]!r}, as user_tower.widths does"
            next_step = "The two vectors are compared, and so must be of equal length."
            self.add(("item_tower", "widths"), expected, value["item_tower"]["widths"], next_step)

    def add(self, path: KeyPath, expected: str, found: Any, next_step: str = "") -> None:
        if found is NOTHING and self.document.incomplete:
            return  # what could not be read may give it
        if (found is NOTHING or found is None) and path in self.document.unread:
            return  # it was given, but could not be read
        origin, rest = self.document.origin(path)
        mistake = (origin if origin and origin.line else path, rest, expected, repr(found))
        if mistake not in self.told:  # an alias repeats the mistakes of what it stands for
            self.told.add(mistake)
            self.problems.append(Problem(self.document.where(path) or "config", expected, found, next_step))


_TOLD_BY_TYPE = {
    "greater_than", "greater_than_equal", "less_than", "less_than_equal", "int_from_float", "literal_error", "missing",
    "too_short", "too_long", "string_too_short", "string_too_long",
}  # fmt: skip
"""Pydantic's errors that the expectation of the type says all about, beside those that end in `_type`."""


def _hint(annotation: Any, found: Any, key: int | str) -> str:
    """Returns what to do about a value that is missing or does not suit its type."""
    registry = registry_of(annotation)
    if found is NOTHING:
        names = f" {name_hint('', registry.names(), 'Registered')}" if registry else ""
        return f"Add the key {key!r}.{names}" if isinstance(key, str) else ""
    if not isinstance(found, str):
        return ""
    expected = expectation(annotation)
    if "number" in expected and _NUMBER.match(found):
        return "Write it without quotes."
    if "true or false" in expected and found.lower() in _SWITCHES:
        return f"Write {_SWITCHES[found.lower()]}."
    near = nearest(found, re.findall(r"'([^']*)'", expected))
    return f"Did you mean {near!r}?" if near else ""


_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_SWITCHES = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | set | frozenset) else value


@functools.cache
def _parameter_model(registry: Registry, name: str, part: Any) -> type[BaseModel]:
    """Returns a model with a part's parameters as fields; aliases, since a parameter may be called `copy` or `_x`.

    The part itself is a key of the cache: another one may be registered under the name later.
    """
    fields: dict[str, Any] = {
        f"parameter_{index}": (
            parameter.annotation,
            Field(alias=parameter.name)
            if parameter.default is REQUIRED
            else Field(parameter.default, alias=parameter.name),
        )
        for index, parameter in enumerate(registry.parameters(name))
    }
    config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    return create_model(name, __config__=config, **fields)


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Returns problems file by file, each in the order of its lines; those without a line come first."""
    places = [(problem, re.match(r"(.+?):(\d+)(?::|$)", problem.where)) for problem in problems]
    files = list(dict.fromkeys(place[1] for _, place in places if place))
    keyed = [(files.index(place[1]) if place else -1, int(place[2]) if place else 0, p) for p, place in places]
    return [problem for *_, problem in sorted(keyed, key=lambda item: item[:2])]
