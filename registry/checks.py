"""Checks a loaded config: its schema, the signature of every part that it names, and rules that relate settings."""

from __future__ import annotations

import functools
import json
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from towerzoo.registry.errors import NOTHING, ConfigError, Problem, name_hint, nearest
from towerzoo.registry.expectations import (
    collection,
    element,
    expectation,
    is_model,
    locate,
    model_hints,
    without_null,
)
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.imports import SESSION, names_session
from towerzoo.registry.registry import REQUIRED, Registry, registry_of
from towerzoo.registry.rules import TOWER_RULES, Rule, rule_problems, valid_settings
from towerzoo.registry.yaml_file import Document, KeyPath, Origin, dotted, read_yaml


def check_experiment(document: Document, rules: Sequence[Rule] = ()) -> Experiment:
    """Returns the experiment that a loaded config describes, with every default filled in.

    Args:
        document: The loaded config.
        rules: What to check beyond the schema.

    Raises:
        ConfigError: With all problems at once, file by file in the order of their lines.
    """
    checker = _Checker(document)
    try:
        Experiment.model_validate(document.value)
    except ValidationError as error:
        for details in error.errors():
            checker.translate(details, model_hints(Experiment), document.value, ())
    value = checker.section(Experiment, document.value, ())
    problems = [*document.problems, *checker.problems]
    if problems:
        given = document.value if document.incomplete else value  # a base that was not read may replace defaults
        experiment: Experiment = valid_settings(Experiment, given, (), checker.invalid)
    else:
        if checker.session_parts and SESSION not in value["imports"]:
            value["imports"] = [*value["imports"], SESSION]
        experiment = Experiment.model_validate(value)
    problems += rule_problems((*TOWER_RULES, *rules), document, experiment, problems)
    if problems:
        raise ConfigError(_in_order(problems))
    return experiment


def check_part(registry: Registry, text: str, where: str) -> dict[str, Any]:
    """Returns the part of a registry that a YAML text names, with every default filled in.

    Args:
        registry: The registry.
        text: Its bare name, or a mapping of name and parameters.
        where: The source of the text in messages, such as an option.

    Raises:
        ConfigError: With all problems at once.
    """
    document = read_yaml(text, where, under=())
    document.origins.setdefault((), Origin(where))  # of an empty text
    checker = _Checker(document)
    part: dict[str, Any] = {} if document.incomplete else checker.part(registry, document.value, ())
    if problems := [*document.problems, *checker.problems]:
        raise ConfigError(problems)
    return part


class _Checker:
    """Walks a config along its types; collects problems and returns the config with parts and defaults filled in."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.invalid = set(document.unread)
        self.reported: set[tuple[Any, ...]] = set()
        self.session_parts = False

    def section(self, model: type[BaseModel], value: Any, path: KeyPath) -> Any:
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
            part = {key: v for key, v in value.items() if key == registry.key or key not in model.model_fields}
            filled |= self.part(registry, part, path, also_known=tuple(model.model_fields)) or {}
        return {key: self.descend(model_hints(model).get(key, Any), v, (*path, key)) for key, v in filled.items()}

    def descend(self, annotation: Any, value: Any, path: KeyPath) -> Any:
        """Finds the parts inside a value of the given type."""
        registry = registry_of(annotation)
        if registry is not None:
            return self.part(registry, value, path)
        if is_model(annotation):
            return self.section(annotation, value, path)
        if typing.get_origin(annotation) is Annotated:
            return self.descend(typing.get_args(annotation)[0], value, path)
        if value is not None and without_null(annotation) is not annotation:
            return self.descend(without_null(annotation), value, path)
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
            self.unknown_part(registry, name, name_path)
            return value
        self.session_parts |= registry.of_session(name)
        known = {p.name: p for p in registry.parameters(name)}
        hints = {p.name: p.annotation for p in known.values()}
        for key in parameters:
            if key in registry.context or not (key in known or registry.takes_any(name)):
                expected = f"a parameter of {registry.kind} {name!r}"
                expected += f" or a key of {dotted(path)}" if also_known else ""
                self.add((*path, key), expected, key, name_hint(key, (*known, *also_known), "Known"))
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

    def unknown_part(self, registry: Registry, name: Any, path: KeyPath) -> None:
        hint = name_hint(name, registry.names(), "Registered")
        if names_session(self.document):
            hint = (
                "It was registered in the session that trained this run, a notebook or script, and is in no file of "
                f"the run. Register it again before you open the run. {hint}"
            )
        # A file that could not be imported may register it, unless it is a misspelt name.
        if not self.document.incomplete or nearest(name, registry.names()):
            self.add(path, f"a registered {registry.kind}", name, hint)
        self.invalid.add(path)

    def translate(self, error: ErrorDetails, hints: Mapping[str, Any], value: Any, path: KeyPath) -> None:
        """Puts a finding of pydantic into TowerZoo's words."""
        location = error["loc"]
        holder = without_null(locate(hints, location[:-1])[0]) if location[:-1] else Experiment
        annotation, depth = locate(hints, location)
        actual = (
            NOTHING if error["type"] == "missing" else functools.reduce(lambda v, key: v[key], location[:depth], value)
        )
        expected, next_step = expectation(annotation), _hint(annotation, actual, location[-1])
        registry = getattr(holder, "registry", None)
        if registry is not None and location[-1] == registry.key:
            if actual is not NOTHING:
                return  # reported by the check of the part
            expected = f"a registered {registry.kind}"
            next_step = f"{next_step} {name_hint('', registry.names(), 'Registered')}"
        elif error["type"] == "extra_forbidden":
            expected, actual, reserved = "a known key", location[-1], getattr(holder, "reserved", {})
            near = nearest(actual, (*holder.model_fields, *reserved))
            next_step = reserved.get(near) or name_hint(actual, holder.model_fields, "Known")
        elif error["type"] == "value_error":  # a validator's message reads on from "must be"
            expected = str(error["ctx"]["error"])
        elif not error["type"].endswith("_type") and error["type"] not in _SAID_BY_TYPE:
            expected = f"{expected} ({error['msg']})"
        self.add((*path, *location[:depth]), expected, actual, next_step)

    def add(self, path: KeyPath, expected: str, actual: Any, next_step: str = "") -> None:
        self.invalid.add(path)
        if actual is NOTHING and self.document.incomplete:
            return  # a file that could not be read may give it
        if (actual is NOTHING or actual is None) and path in self.document.unread:
            return  # it is given, but could not be read
        origin, rest = self.document.origin(path)
        mistake = (origin if origin and origin.line else path, rest, expected, repr(actual))
        if mistake not in self.reported:  # an alias repeats the mistakes of its anchor
            self.reported.add(mistake)
            self.problems.append(self.document.problem(path, expected, actual, next_step))


_SAID_BY_TYPE = {
    "greater_than", "greater_than_equal", "less_than", "less_than_equal", "int_from_float", "literal_error", "missing",
    "too_short", "too_long", "string_too_short",
}  # fmt: skip
"""Pydantic's errors that say no more than the expectation of the type, as those that end in `_type`."""


def _hint(annotation: Any, actual: Any, key: int | str) -> str:
    """Returns what to do about a value that is missing or does not suit its type."""
    registry = registry_of(annotation)
    if actual is NOTHING:
        names = f" {name_hint('', registry.names(), 'Registered')}" if registry else ""
        return f"Add the key {key!r}.{names}" if isinstance(key, str) else ""
    if not isinstance(actual, str):
        return ""
    expected = expectation(annotation)
    if "number" in expected and _NUMBER.match(actual):
        return "Write it without quotes."
    if "true or false" in expected and actual.lower() in _SWITCHES:
        return f"Write {_SWITCHES[actual.lower()]}."
    near = nearest(actual, re.findall(r"'([^']*)'", expected))
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
    lines = [(problem, re.match(r"(.+?):(\d+)(?::|$)", problem.where)) for problem in problems]
    files = list(dict.fromkeys(line[1] for _, line in lines if line))
    keyed = [(files.index(line[1]) if line else -1, int(line[2]) if line else 0, p) for p, line in lines]
    return [problem for *_, problem in sorted(keyed, key=lambda item: item[:2])]
