"""Rules: what relates the settings of a config, and how they run on one that has other problems."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from towerzoo.registry import BLOCKS
from towerzoo.registry.errors import NOTHING, InvalidSetting, PartError, Problem, name_hint
from towerzoo.registry.expectations import collection, element, is_model, without_null
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.registry import registry_of
from towerzoo.registry.yaml_file import Document, KeyPath

Rule = Callable[[Document, Experiment], Iterable[Problem]]
"""Yields the problems of settings that do not suit each other.

The experiment of a config with other problems lacks its invalid settings; reading one ends the rule.
"""


def rule_problems(
    rules: Sequence[Rule], document: Document, experiment: Experiment, reported: Sequence[Problem]
) -> list[Problem]:
    """Returns what rules find, except for settings that have a problem already."""
    problems: list[Problem] = []
    for rule in rules:
        known = {problem.where for problem in (*reported, *problems)}
        # Without a setting, a part may fail where a rule tries it.
        with contextlib.suppress(InvalidSetting, *([PartError] if reported else [])):
            for problem in rule(document, experiment):
                if problem.where not in known:
                    problems.append(problem)
    return problems


_INVALID: Final = object()


def valid_settings(annotation: Any, value: Any, path: KeyPath, invalid: set[KeyPath]) -> Any:
    """Returns a value of a config without its invalid settings.

    Args:
        annotation: The value's type; for a section, its class, of which an instance is returned.
        value: The value.
        path: Its key path.
        invalid: Key paths of the invalid settings.
    """
    annotation = without_null(annotation)
    registry = registry_of(annotation)
    if isinstance(value, Mapping) and (registry or is_model(annotation) or collection(annotation) is dict):
        if registry is not None and invalid & {path, (*path, registry.key)}:
            return _INVALID
        inner = {k: valid_settings(element(annotation, k), v, (*path, k), invalid) for k, v in value.items()}
        valid = {key: setting for key, setting in inner.items() if setting is not _INVALID}
        if not is_model(annotation):
            return valid
        section = annotation.model_construct(**valid)
        for name in annotation.model_fields.keys() - valid.keys():
            section.__dict__.pop(name, None)  # a default
        return section
    if any(other[: len(path)] == path for other in invalid):
        return _INVALID
    return annotation.model_validate(value) if is_model(annotation) and value is not None else value


def _blocks_and_widths(name: str, document: Document, experiment: Experiment) -> Iterator[Problem]:
    """A block needs widths, and widths a block."""
    tower = getattr(experiment, name)
    if name == "item_tower" and _shape(document, name) == _shape(document, "user_tower"):
        return  # as for an alias of the user tower, which is reported
    if tower.block is not None and not tower.widths:
        path, hint = (name, "widths"), "Add widths, one for each block, or remove the block."
        actual = tower.widths if path in document.origins else NOTHING
        yield document.problem(path, "a list of whole numbers >= 1 where a block is given", actual, hint)
    if tower.block is None and tower.widths:
        hint = f"Add a block, or remove the widths. {name_hint('', BLOCKS.names(), 'Registered')}"
        yield document.problem((name, "block"), "a registered block where widths are given", NOTHING, hint)


def _shape(document: Document, name: str) -> list[Any] | None:
    tower = document.value.get(name)
    return [tower.get("block"), tower.get("widths")] if isinstance(tower, Mapping) else None


def _equal_lengths(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """Both towers' vectors must have one length."""
    user, item = experiment.user_tower.widths, experiment.item_tower.widths
    if user and item and user[-1] != item[-1]:
        expected = f"a list that ends in {user[-1]}, as user_tower.widths does"
        hint = "The two vectors are compared, and need one length."
        yield document.problem(("item_tower", "widths"), expected, item, hint)


TOWER_RULES: Final[tuple[Rule, ...]] = (
    functools.partial(_blocks_and_widths, "user_tower"),
    functools.partial(_blocks_and_widths, "item_tower"),
    _equal_lengths,
)
