"""Loads a config: its bases, its overrides, its imports, and the place that each value came from."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from towerzoo.registry.errors import NOTHING, Problem, name_hint
from towerzoo.registry.imports import import_parts
from towerzoo.registry.yaml_file import Document, KeyPath, Origin, read_yaml, replace_origins, write_yaml

PART_KEYS = ("name", "encoder")
"""Keys that name a part; a mapping that names another part than its base replaces the base's mapping."""


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Document:
    """Loads a YAML config with its bases and overrides, and imports the person's own parts that it names.

    Args:
        path: A YAML file, or the name of a shipped config (`tanh_bn` or `configs/tanh_bn.yaml`).
        overrides: `KEY.PATH=VALUE` texts, the value read as YAML; applied after all files, those that name a part
            first, the others in their order.

    Returns:
        The merged config, always a mapping, with its problems so far. Nothing is raised for a bad config, so that its
        other problems can be found too.
    """
    document = _load_with_bases(find_config(path), "config", ())
    # A part's new name first, whatever their order: it would remove the parameters that another override gives.
    for override in sorted(overrides, key=lambda text: text.partition("=")[0].strip().split(".")[-1] not in PART_KEYS):
        document = merge(document, _read_override(override))
    import_parts(document)
    return document


def merge(base: Document, over: Document) -> Document:
    """Returns `base` overridden by `over`.

    Mappings merge key by key; everything else replaces. A mapping that names another part than the base's replaces it
    whole, so that no parameter of the old part is left behind. A null removes the inherited key.
    """
    origins = dict(base.origins)
    value = _merge(base.value, over.value, (), origins, over.origins)
    problems, unread = [*base.problems, *over.problems], base.unread | over.unread
    return Document(value, origins, problems, unread, base.incomplete or over.incomplete)


def find_config(path: str | Path) -> Path:
    """Returns the file itself, or the shipped config of that name where no such file exists."""
    file = Path(path)
    return file if file.is_file() else _shipped(file) or file


def _shipped(file: Path) -> Path | None:
    folder = Path(str(importlib.resources.files("towerzoo.configs")))
    name = Path(*file.parts[1:]) if file.parts[:1] == ("configs",) else file
    return next((found for found in (folder / name, folder / f"{name}.yaml") if found.is_file()), None)


def shipped_configs() -> list[Path]:
    """Returns every config that TowerZoo ships for running, without bases and records, by name."""
    folder = Path(str(importlib.resources.files("towerzoo.configs")))
    return sorted(file for file in folder.rglob("*.yaml") if file.name != "results.yaml" and "_base_" not in file.parts)


def display_path(path: str | Path) -> str:
    """Returns a path relative to the working folder where it lies inside it, as it is otherwise."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _load_with_bases(file: Path, where: str, chain: tuple[Path, ...]) -> Document:
    """Loads a file that `where` names; chain holds the files that have led to it."""
    shown = display_path(file)
    resolved = file.resolve()
    if resolved in chain:
        loop = " -> ".join(display_path(link) for link in (*chain[chain.index(resolved) :], resolved))
        return _unreadable(Problem(where, "free of loops", loop, "Remove one of these bases."))
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "Not a text file in UTF-8"
        hint = name_hint(file.stem, (config.stem for config in shipped_configs()), "Shipped configs")
        return _unreadable(Problem(where, "a readable YAML file", shown, f"{reason}. {hint}"))
    document = read_yaml(text, shown)
    if not isinstance(document.value, dict):
        found = NOTHING if document.value is None else document.value
        next_step = "Write `key: value` lines; configs/quickstart.yaml is one to start from."
        return _unreadable(*document.problems or [Problem(shown, "a mapping of settings", found, next_step)])
    bases = document.value.pop("base", [])
    _resolve_imports(document, file.parent)
    merged = Document({})
    for index, base in enumerate(bases if isinstance(bases, list) else [bases]):
        base_where = document.where(("base", index) if isinstance(bases, list) else ("base",))
        if isinstance(base, str):
            beside = file.parent / base
            base_file = beside if beside.exists() else _shipped(Path(base)) or beside
            merged = merge(merged, _load_with_bases(base_file, base_where, (*chain, resolved)))
        else:
            merged = merge(merged, _unreadable(Problem(base_where, "a path or a list of paths", base)))
    return merge(merged, document)


def _unreadable(*problems: Problem) -> Document:
    return Document({}, problems=list(problems), incomplete=True)


def _merge(
    base: Any, over: Any, path: KeyPath, origins: dict[KeyPath, Origin], over_origins: Mapping[KeyPath, Origin]
) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)) or _names_another_part(base, over):
        replace_origins(path, origins, over_origins)
        return over
    merged = dict(base)
    if path in over_origins and over_origins[path].line:  # where keys that are missing should be added
        origins[path] = over_origins[path]
    for key, value in over.items():
        child = (*path, key)
        if value is None and key in base:
            merged.pop(key, None)
            replace_origins(child, origins, {})
        elif key in base:
            merged[key] = _merge(base[key], value, child, origins, over_origins)
        else:
            merged[key] = value
            replace_origins(child, origins, over_origins)
    return merged


def _names_another_part(base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    # Only text names a part: a feature may be called `name`, and holds a mapping.
    return any(isinstance(over.get(key), str) and key in base and over[key] != base[key] for key in PART_KEYS)


def _read_override(text: str) -> Document:
    key, equals, value = text.partition("=")
    path: KeyPath = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        example = "Write it as --set training.max_epochs=2."
        return Document({}, problems=[Problem("--set", "KEY.PATH=VALUE", text, example)])
    parsed = read_yaml(value, "--set", under=path)
    if parsed.incomplete:
        return Document({}, problems=parsed.problems, incomplete=True)
    if path in parsed.unread:
        return Document({}, problems=parsed.problems, unread=parsed.unread)
    nested: Any = parsed.value
    for part in reversed(path):
        nested = {part: nested}
    origins = {path[:depth]: Origin("--set") for depth in range(1, len(path) + 1)} | parsed.origins
    document = Document(nested, origins, parsed.problems, parsed.unread)
    _resolve_imports(document, Path.cwd())
    return document


def _resolve_imports(document: Document, folder: Path) -> None:
    imports = document.value.get("imports")
    if isinstance(imports, list):
        document.value["imports"] = [str((folder / i).resolve()) if isinstance(i, str) else i for i in imports]


def annotated_yaml(value: Any, origins: Mapping[KeyPath, Origin], path: KeyPath = ()) -> Iterable[tuple[str, str]]:
    """Yields a config's YAML lines, each with the place that its value came from (`default` where no file gives it)."""
    indent = "  " * len(path)
    for key, child in value.items():
        child_path = (*path, key)
        if isinstance(child, Mapping) and child:
            yield f"{indent}{_inline_yaml(key)}:", ""
            yield from annotated_yaml(child, origins, child_path)
        else:
            # A part written as its bare name has that name from where the name stands.
            origin = origins.get(child_path) or (origins.get(path) if key in PART_KEYS else None)
            yield f"{indent}{_inline_yaml(key)}: {_inline_yaml(child)}", str(origin or "default")


def _inline_yaml(value: Any) -> str:
    return write_yaml(value, inline=True).removesuffix("\n...\n").strip()
