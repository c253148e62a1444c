"""Loads a config: its bases, its overrides, its imports, and where each value came from."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from towerzoo.registry.errors import NOTHING, Problem, name_hint
from towerzoo.registry.imports import SESSION, import_parts
from towerzoo.registry.yaml_file import Document, KeyPath, Origin, read_yaml, replace_origins, write_yaml

Config = str | Path | Mapping[str, Any]
"""A YAML file, the name of a shipped config (`tanh_bn` or `configs/tanh_bn.yaml`), or the config itself."""

Overrides = Sequence[str] | Mapping[str, Any]
"""`KEY.PATH=VALUE` texts, the value read as YAML; or values by key path, as in `{"training.max_epochs": 3}`."""

PART_KEYS = ("name", "encoder")
"""Keys that name a part; a mapping that names another part than its base replaces the base's mapping."""


def load_config(config: Config, overrides: Overrides = ()) -> Document:
    """Loads a config with its bases and overrides, and imports the files of custom parts that it names.

    Args:
        config: The config.
        overrides: Applied after all bases: those that name a part first, the others in their order.

    Returns:
        The merged config, always a mapping, with its problems so far. A bad config raises nothing, so that its other
        problems can be found too.
    """
    if isinstance(config, Mapping):
        document = _with_bases(_from_values(config, "config"), "config", Path.cwd(), ())
    else:
        document = _load_file(find_config(config), "config", ())
    if isinstance(overrides, Mapping):
        read = [(key, _from_values(value, "overrides", _key_path(key))) for key, value in overrides.items()]
    else:
        read = [(text.partition("=")[0], _read_override(text)) for text in overrides]
    # A part's new name first, whatever their order: it would remove the parameters that another override gives.
    for _, override in sorted(read, key=lambda pair: _key_path(pair[0])[-1] not in PART_KEYS):
        document = merge(document, override)
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


def config_folder() -> Path:
    """Returns the folder of the shipped configs."""
    spec = importlib.util.find_spec("towerzoo.configs")
    assert spec is not None
    return Path(next(iter(spec.submodule_search_locations or ())))


def shipped_configs() -> list[Path]:
    """Returns every config that TowerZoo ships for running, without bases and records, by name."""
    files = config_folder().rglob("*.yaml")
    return sorted(file for file in files if file.name != "results.yaml" and "_base_" not in file.parts)


def _shipped(file: Path) -> Path | None:
    name = Path(*file.parts[1:]) if file.parts[:1] == ("configs",) else file
    candidates = (config_folder() / name, config_folder() / f"{name}.yaml")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def display_path(path: str | Path) -> str:
    """Returns a path relative to the working folder if it lies inside it, otherwise unchanged."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _load_file(file: Path, where: str, chain: tuple[Path, ...]) -> Document:
    """Loads a file with its bases.

    Args:
        file: The file.
        where: The key that names it, for messages.
        chain: The files that led to it.
    """
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
    return _with_bases(read_yaml(text, shown), shown, file.parent, (*chain, resolved))


def _with_bases(document: Document, shown: str, folder: Path, chain: tuple[Path, ...]) -> Document:
    """Merges a document over its bases, which are shipped or relative to a folder, as its imports are."""
    if not isinstance(document.value, dict):
        actual = NOTHING if document.value is None else document.value
        next_step = "Write `key: value` lines; configs/quickstart.yaml is one to start from."
        return _unreadable(*document.problems or [Problem(shown, "a mapping of settings", actual, next_step)])
    bases = document.value.pop("base", [])
    _resolve_imports(document, folder)
    merged = Document({})
    for index, base in enumerate(bases if isinstance(bases, list) else [bases]):
        path: KeyPath = ("base", index) if isinstance(bases, list) else ("base",)
        if isinstance(base, str):
            beside = folder / base
            base_file = beside if beside.exists() else _shipped(Path(base)) or beside
            merged = merge(merged, _load_file(base_file, document.where(path), chain))
        else:
            merged = merge(merged, _unreadable(document.problem(path, "a path or a list of paths", base)))
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
    if path in over_origins and over_origins[path].line:  # where missing keys should be added
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


def _key_path(key: str) -> KeyPath:
    return tuple(part.strip() for part in key.split("."))


def _read_override(text: str) -> Document:
    key, equals, value = text.partition("=")
    if not equals or not all(_key_path(key)):
        example = "Write it as --set training.max_epochs=2."
        return Document({}, problems=[Problem("--set", "KEY.PATH=VALUE", text, example)])
    return _under(_key_path(key), read_yaml(value, "--set", under=_key_path(key)), "--set")


def _from_values(value: Any, source: str, path: KeyPath = ()) -> Document:
    """Returns values from Python as if they had been read from a file; `source` stands for its name."""
    try:
        text = write_yaml(value)
    except yaml.representer.RepresenterError as error:
        expected = "plain values: mappings, lists, text, numbers, true, false or None"
        problem = Document(origins={(): Origin(source)}).problem(path, expected, error.args[-1])
        return Document({}, problems=[problem], unread={path} if path else set(), incomplete=not path)
    return _under(path, read_yaml(text, source, under=path), source)


def _under(path: KeyPath, document: Document, source: str) -> Document:
    """Returns the document that holds the one of a single value at a key path."""
    if document.incomplete or (path and path in document.unread):
        return Document({}, problems=document.problems, unread=document.unread, incomplete=document.incomplete)
    for depth in range(len(path), 0, -1):
        document.value = {path[depth - 1]: document.value}
        document.origins.setdefault(path[:depth], Origin(source))
    if path:
        _resolve_imports(document, Path.cwd())
    return document


def _resolve_imports(document: Document, folder: Path) -> None:
    imports = document.value.get("imports")
    if isinstance(imports, list):
        document.value["imports"] = [
            str((folder / file).resolve()) if isinstance(file, str) and file != SESSION else file for file in imports
        ]
