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
        problems: What is wrong with the text itself.
        unread: Where values stand that could not be read. Mappings are without them, so that they change no base.
        incomplete: Whether a file or an import could not be read, so that missing keys and names say nothing.
    """

    value: Any = None
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread: set[KeyPath] = field(default_factory=set)
    incomplete: bool = False

    def origin(self, path: KeyPath) -> tuple[Origin | None, KeyPath]:
        """Returns where a value was written and `()`; for a missing one, its holder's place and the path from there."""
        known = path
        while known and known not in self.origins:
            known = known[:-1]
        return self.origins.get(known), path[len(known) :]

    def where(self, path: KeyPath) -> str:
        """Returns `file:line: key.path` of a value; for a missing one the line of what should hold it."""
        return ": ".join(str(part) for part in (self.origin(path)[0], dotted(path)) if part)


def dotted(path: KeyPath) -> str:
    """Returns a key path as people write it.

    Example:
        >>> dotted(("user_tower", "widths", 0))
        'user_tower.widths[0]'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def replace_origins(path: KeyPath, origins: dict[KeyPath, Origin], new: Mapping[KeyPath, Origin]) -> None:
    """Replaces the origins of a value and of all that it holds by those in `new`."""

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
        file: The name that messages use for it.
        under: For a text that is no file but the value of a key: the path of that key. Messages then give no lines.

    Example:
        >>> document = read_yaml("optimizer: {lr: 1e-3}", "mine.yaml")
        >>> document.value
        {'optimizer': {'lr': 0.001}}
        >>> print(document.origins["optimizer", "lr"])
        mine.yaml:1
    """
    document = Document()
    path = under or ()

    def invalid(line: int, found: str, reason: str) -> None:
        origin = Document(origins={(): Origin(file, 0 if under else line)})
        next_step = f"{reason[:1].upper()}{reason[1:]}. Check indentation, quotes and colons near it."
        document.problems.append(Problem(origin.where(path), "valid YAML", found, next_step))
        document.incomplete = True

    try:
        loader = _Yaml12Loader(text)
        node = loader.get_single_node()
        if node is not None:
            value = _Converter(file, document, loader, bool(under)).convert(node, path, node.start_mark)
            document.value = None if value is _UNREAD else value
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        # A text that ends too early ends on an empty line, which would show nothing.
        line = min(line, len(text.rstrip().splitlines()) - 1)
        reason = " ".join(str(text) for text in (error.context, error.problem) if text and "while" not in text)
        invalid(line + 1, text.splitlines()[line].strip(), reason)
    except yaml.reader.ReaderError as error:
        found = chr(error.character) if isinstance(error.character, int) else str(error.character)
        invalid(text.count("\n", 0, error.position) + 1, found, "this character is not allowed in a text file")
    except RecursionError:
        invalid(1, f"{text[:20]}...", "it is nested too deeply")
    return document


def write_yaml(value: Any, *, inline: bool = False) -> str:
    """Writes plain values, all on one line if asked for, so that readers of YAML 1.1 and 1.2 read the same back.

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
    """Quotes text that would be something else under the rules of YAML 1.1 or 1.2."""

    def ignore_aliases(self, data: Any) -> bool:
        """Writes equal values out, each in its place."""
        return True


_Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, ()),
        *_Yaml12Loader.yaml_implicit_resolvers.get(first, ()),
    ]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Yaml12Loader.yaml_implicit_resolvers}
}


def _written(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


_UNREAD: Final = object()


class _Converter:
    def __init__(self, file: str, document: Document, loader: _Yaml12Loader, without_lines: bool) -> None:
        self.file = file
        self.document = document
        self.loader = loader
        self.without_lines = without_lines
        self.open_nodes: set[int] = set()
        self.told: set[tuple[int, str]] = set()

    def convert(self, node: yaml.Node, path: KeyPath, mark: yaml.Mark) -> Any:
        self.document.origins[path] = self.origin(mark)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path, mark)
        if id(node) in self.open_nodes:
            return self.problem(path, mark, "free of loops", "an alias of what holds it", "Remove the alias.")
        self.open_nodes.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
                values = [self.convert(child, (*path, i), child.start_mark) for i, child in enumerate(node.value)]
                return [None if value is _UNREAD else value for value in values]
            if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
                return self.mapping(node, path)
            return self.problem(path, mark, "plain YAML without tags", _written(node.tag), "Remove the tag.")
        finally:
            self.open_nodes.remove(id(node))

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                self.merge(value_node, path, result)
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            if key_node.tag == "tag:yaml.org,2002:merge":
                key = "<<"
            elif key_node.tag == "tag:yaml.org,2002:str" and isinstance(key_node, yaml.ScalarNode):
                key = key_node.value
            else:
                found = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                self.problem(path, mark, "a mapping with text keys", found, "Put the key in quotes if it is text.")
                continue
            if key in first_lines:
                next_step = f"It stands in line {first_lines[key]} already; remove one."
                self.problem((*path, key), mark, "given once", key, next_step)
            first_lines.setdefault(key, mark.line + 1)
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            replace_origins((*path, key), self.document.origins, {})
            value = self.convert(value_node, (*path, key), mark)
            if value is not _UNREAD:
                result[key] = value
        return result

    def merge(self, node: yaml.Node, path: KeyPath, result: dict[str, Any]) -> None:
        """Enters the keys of `<<: *alias` or `<<: [*first, *second]`; of a list, earlier mappings win."""
        outer = self.document.origins
        for source in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            self.document.origins = {}
            value = self.convert(source, path, source.start_mark)
            inner, self.document.origins = self.document.origins, outer
            if isinstance(value, Mapping):
                result.update(value)
                for key in value:
                    replace_origins((*path, key), outer, inner)
            elif value is not _UNREAD:
                next_step = "Give an alias of a mapping."
                self.problem((*path, "<<"), source.start_mark, "a mapping to merge", value, next_step)

    def scalar(self, node: yaml.ScalarNode, path: KeyPath, mark: yaml.Mark) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        text = node.value
        if kind in ("str", "merge"):
            return text
        # A tag written out, such as `!!int x`, is taken where it says what the text says by itself.
        if node.tag != self.loader.resolve(yaml.ScalarNode, text, (True, False)):  # type: ignore[no-untyped-call]
            return self.problem(path, mark, "plain YAML without tags", _written(node.tag), "Remove the tag.")
        if _LEADING_ZERO.match(text):
            next_step = f"Write {int(text)}, or put it in quotes if it is text."
            return self.problem(path, mark, "a number without leading zeros", text, next_step)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        try:
            return int(text, 0)
        except ValueError:  # Python reads no more than some thousand digits
            return self.problem(path, mark, "a number of fewer digits", text, "Put it in quotes if it is text.")

    def origin(self, mark: yaml.Mark) -> Origin:
        return Origin(self.file) if self.without_lines else Origin(self.file, mark.line + 1, mark.column)

    def problem(self, path: KeyPath, mark: yaml.Mark, expected: str, found: Any, next_step: str) -> Any:
        self.document.unread.add(path)
        if (mark.index, expected) not in self.told:  # what an alias repeats is told once
            self.told.add((mark.index, expected))
            where = Document(origins={(): self.origin(mark)}).where(path)
            self.document.problems.append(Problem(where, expected, found, next_step))
        return _UNREAD
