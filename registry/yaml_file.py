"""Reads YAML 1.2 into plain values and remembers where each of them stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from towerzoo.registry.errors import Problem

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """Where a value was written: a file and a line from 1, or a word such as `--set` and line 0."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass
class Document:
    """A YAML text as plain dicts, lists and scalars.

    Attributes:
        value: The content.
        origins: Where each key path was written.
        problems: What is wrong with the text itself.
    """

    value: Any = None
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def where(self, path: KeyPath) -> str:
        """Returns `file:line: key.path` of a value; for a missing one the line of what should hold it."""
        known = path
        while known and known not in self.origins:
            known = known[:-1]
        origin = self.origins.get(known)
        return ": ".join(str(part) for part in (origin, dotted(path)) if part)


def dotted(path: KeyPath) -> str:
    """Returns a key path as people write it.

    Example:
        >>> dotted(("user_tower", "widths", 0))
        'user_tower.widths[0]'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def read_yaml(text: str, file: str) -> Document:
    """Reads a YAML text.

    Only plain data: tags that would build objects are problems, as are duplicate keys, keys that are not text, and whole
    numbers with leading zeros (YAML 1.1 reads `010` as 8, YAML 1.2 as 10). `1e-3` is a number; `yes`, `no`, `on` and `off`
    are text.

    Args:
        text: The YAML text.
        file: The name that messages use for it.

    Example:
        >>> document = read_yaml("optimizer: {lr: 1e-3}", "mine.yaml")
        >>> document.value
        {'optimizer': {'lr': 0.001}}
        >>> print(document.origins["optimizer", "lr"])
        mine.yaml:1
    """
    document = Document()
    loader = _Yaml12Loader(text)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        found = " ".join(str(part) for part in (error.context, error.problem) if part)
        document.problems.append(
            Problem(str(Origin(file, line)), "valid YAML", found, "Check indentation, quotes and colons near this line.")
        )
    except yaml.YAMLError as error:
        document.problems.append(Problem(file, "valid YAML", str(error), "Is this a text file in UTF-8?"))
    else:
        if node is not None:
            document.value = _Converter(file, document).convert(node, (), node.start_mark.line + 1)
    finally:
        loader.dispose()
    return document


class _Yaml12Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: Final[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
    ("merge", r"^<<$", ["<"]),
):
    _Yaml12Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)

_LEADING_ZERO = re.compile(r"^[-+]?0[0-9]+$")


class _Converter:
    def __init__(self, file: str, document: Document) -> None:
        self.file = file
        self.document = document
        self.open_nodes: set[int] = set()

    def convert(self, node: yaml.Node, path: KeyPath, line: int) -> Any:
        self.document.origins[path] = Origin(self.file, line)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        if id(node) in self.open_nodes:
            return self.problem(path, "free of loops", "an alias of what holds it", "Remove the alias.")
        self.open_nodes.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
                return [
                    self.convert(child, (*path, index), child.start_mark.line + 1)
                    for index, child in enumerate(node.value)
                ]
            if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
                return self.mapping(node, path)
            return self.problem(path, "plain YAML without tags", node.tag, "Remove the tag.")
        finally:
            self.open_nodes.remove(id(node))

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        merges = [value for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
        for merged in merges:
            for source in merged.value if isinstance(merged, yaml.SequenceNode) else [merged]:
                value = self.convert(source, path, source.start_mark.line + 1)
                if isinstance(value, Mapping):
                    result.update(value)
                else:
                    self.problem(path, "merged (<<) from a mapping", value, "Give an alias of a mapping.")
        for key_node, value_node in node.value:
            if value_node in merges:
                continue
            line = key_node.start_mark.line + 1
            if key_node.tag != "tag:yaml.org,2002:str":
                found = getattr(key_node, "value", "a list or mapping")
                self.problem((*path, str(found)), "a text key", found, "Put the key in quotes.", line)
                continue
            key = key_node.value
            if key in first_lines:
                self.problem(
                    (*path, key), "given once", key, f"It stands in line {first_lines[key]} already; remove one.", line
                )
            first_lines.setdefault(key, line)
            result[key] = self.convert(value_node, (*path, key), line)
        return result

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        text = node.value
        if node.style is None and _LEADING_ZERO.match(text):
            return self.problem(path, "a number without leading zeros", text, "Write 8 or 10, or quote it.")
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text, 0)
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if kind in ("str", "merge"):
            return text
        return self.problem(path, "plain YAML without tags", node.tag, "Remove the tag.")

    def problem(self, path: KeyPath, expected: str, found: Any, next_step: str, line: int = 0) -> Any:
        if line:
            self.document.origins[path] = Origin(self.file, line)
        self.document.problems.append(Problem(self.document.where(path), expected, found, next_step))
        return None

