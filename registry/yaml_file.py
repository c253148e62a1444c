"""Reads YAML 1.2 into plain values and remembers where each of them was written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

import yaml

from towerzoo.registry.errors import Problem

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """Where a value was written: a file, a line from 1 and a column from 0; or a word such as `--set` and line 0."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass
class Document:
    """A YAML text as plain dicts, lists and scalars.

    Attributes:
        value: The content.
        origins: Where each key path was written.
        problems: The problems of the text itself.
        unread: Key paths of values that could not be read. Mappings lack them, so they change no base.
        incomplete: Whether a file or an import could not be read; keys and names may be missing for that reason alone.
    """

    value: Any = None
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread: set[KeyPath] = field(default_factory=set)
    incomplete: bool = False

    def origin(self, path: KeyPath) -> tuple[Origin | None, KeyPath]:
        """Returns where a value was written and `()`; for a missing one its holder's origin and the path from there."""
        known = path
        while known and known not in self.origins:
            known = known[:-1]
        return self.origins.get(known), path[len(known) :]

    def where(self, path: KeyPath) -> str:
        """Returns `file:line: key.path` of a value; for a missing one the line of its holder."""
        return ": ".join(str(part) for part in (self.origin(path)[0], dotted(path)) if part)

    def problem(self, path: KeyPath, expected: str, actual: Any, next_step: str = "") -> Problem:
        """Returns a problem with the value at a key path."""
        return Problem(self.where(path) or "config", expected, actual, next_step)


def dotted(path: KeyPath) -> str:
    """Returns a key path in the notation of messages and overrides.

    Example:
        >>> dotted(("user_tower", "widths", 0))
        'user_tower.widths[0]'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def replace_origins(path: KeyPath, origins: dict[KeyPath, Origin], new: Mapping[KeyPath, Origin]) -> None:
    """Replaces the origins of a value and of everything in it by those in `new`."""

    def below(key: KeyPath) -> bool:
        return key[: len(path)] == path

    for key in [key for key in origins if below(key)]:
        del origins[key]
    origins.update({key: origin for key, origin in new.items() if below(key)})


def read_yaml(text: str, file: str, under: KeyPath | None = None) -> Document:
    """Reads a YAML text.

    Only plain data: tags that would build objects are problems, as are duplicate keys, keys that are not text, and
    whole numbers with leading zeros (YAML 1.1 reads `010` as 8, YAML 1.2 as 10). `1e-3` is a number; `yes`, `no`,
    `on` and `off` are text.

    Args:
        text: The YAML text.
        file: Its name in messages.
        under: For the text of one value instead of a file: its key path. Messages then give no lines.

    Example:
        >>> document = read_yaml("optimizer: {lr: 1e-3}", "mine.yaml")
        >>> document.value
        {'optimizer': {'lr': 0.001}}
        >>> print(document.origins["optimizer", "lr"])
        mine.yaml:1
    """
    document = Document()
    path = under or ()
    try:
        loader = _Yaml12Loader(text)
        node = loader.get_single_node()
        if node is not None:
            value = _Converter(file, document, loader, under is not None).convert(node, path, node.start_mark)
            document.value = None if value is _UNREAD else value
    except (yaml.YAMLError, RecursionError) as error:
        lines = text.rstrip().splitlines() or [""]
        mark = getattr(error, "problem_mark", None)
        # A text that ends too early ends on an empty line, which would show nothing.
        line = min(mark.line, len(lines) - 1) if mark else 0
        parts = [str(getattr(error, name, None) or "") for name in ("context", "problem")]
        reason = " ".join(part for part in parts if part and "while" not in part) or str(error).splitlines()[0]
        where = Document(origins={(): Origin(file, 0 if under is not None else line + 1)}).where(path)
        next_step = f"{reason[:1].upper()}{reason[1:]}. Check indentation, quotes and colons near it."
        document.problems.append(Problem(where, "valid YAML", lines[line].strip(), next_step))
        document.incomplete = True
    return document


def write_yaml(value: Any, *, inline: bool = False) -> str:
    """Writes plain values in block style or on one line; readers of YAML 1.1 and 1.2 read the same values back.

    Raises:
        yaml.representer.RepresenterError: A value is none of YAML's.

    Example:
        >>> print(write_yaml({"lr": 0.001, "column": "1e-3", "answer": "yes"}), end="")
        lr: 0.001
        column: '1e-3'
        answer: 'yes'
    """
    width = float("inf") if inline else 120
    return str(
        yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=inline, width=width)
    )


class _Yaml12Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2's core schema."""


_Yaml12Loader.yaml_implicit_resolvers = {}
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


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as something else, and writes equal values out without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_multi_representer(PurePath, lambda dumper, path: dumper.represent_str(str(path)))
_Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, ()),
        *_Yaml12Loader.yaml_implicit_resolvers.get(first, ()),
    ]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Yaml12Loader.yaml_implicit_resolvers}
}


_UNREAD: Final = object()


class _Converter:
    def __init__(self, file: str, document: Document, loader: _Yaml12Loader, without_lines: bool) -> None:
        self.file = file
        self.document = document
        self.loader = loader
        self.without_lines = without_lines
        self.flattened: set[int] = set()
        self.reported: set[tuple[int, str]] = set()

    def convert(self, node: yaml.Node, path: KeyPath, mark: yaml.Mark) -> Any:
        self.document.origins[path] = self.origin(mark)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path, mark)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            values = [self.convert(child, (*path, i), child.start_mark) for i, child in enumerate(node.value)]
            return [None if value is _UNREAD else value for value in values]
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self.mapping(node, path)
        return self.tag_problem(node, path, mark)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        if id(node) not in self.flattened:  # an alias brings the same node again
            self.flattened.add(id(node))
            self.find_duplicates(node, path)
            self.loader.flatten_mapping(node)  # enters the keys of `<<`, before the mapping's own
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            if key_node.tag != "tag:yaml.org,2002:str" or not isinstance(key_node, yaml.ScalarNode):
                actual = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                self.problem(path, mark, "a mapping with text keys", actual, "Put the key in quotes if it is text.")
                continue
            key = key_node.value
            replace_origins((*path, key), self.document.origins, {})
            value = self.convert(value_node, (*path, key), mark)
            if value is not _UNREAD:
                result[key] = value
        return result

    def find_duplicates(self, node: yaml.MappingNode, path: KeyPath) -> None:
        first_lines: dict[str, int] = {}
        for key_node, _ in node.value:
            key, mark = key_node.value, key_node.start_mark
            if isinstance(key_node, yaml.ScalarNode) and key in first_lines:
                hint = f"It is given in line {first_lines[key]} already; remove one."
                self.problem((*path, key), mark, "given once", key, hint)
            elif isinstance(key_node, yaml.ScalarNode):
                first_lines[key] = mark.line + 1

    def scalar(self, node: yaml.ScalarNode, path: KeyPath, mark: yaml.Mark) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        text = node.value
        if kind in ("str", "merge"):
            return text
        # A tag that is written out, such as `!!int x`, must be the one that the text has by itself.
        if node.tag != self.loader.resolve(yaml.ScalarNode, text, (True, False)):  # type: ignore[no-untyped-call]
            return self.tag_problem(node, path, mark)
        if _LEADING_ZERO.match(text):
            next_step = f"Write {int(text)}, or put it in quotes if it is text."
            return self.problem(path, mark, "a number without leading zeros", text, next_step)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return int(text, 0)

    def origin(self, mark: yaml.Mark) -> Origin:
        return Origin(self.file) if self.without_lines else Origin(self.file, mark.line + 1, mark.column)

    def tag_problem(self, node: yaml.Node, path: KeyPath, mark: yaml.Mark) -> Any:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        return self.problem(path, mark, "plain YAML without tags", tag, "Remove the tag.")

    def problem(self, path: KeyPath, mark: yaml.Mark, expected: str, actual: Any, next_step: str) -> Any:
        self.document.unread.add(path)
        if (mark.index, expected) not in self.reported:  # an alias repeats the problems of its anchor
            self.reported.add((mark.index, expected))
            where = Document(origins={(): self.origin(mark)})
            self.document.problems.append(where.problem(path, expected, actual, next_step))
        return _UNREAD
