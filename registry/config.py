"""Loads a config: its bases, its overrides, its imports, and the place that each value came from."""

from __future__ import annotations

import hashlib
import importlib.resources
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from towerzoo.registry.errors import NOTHING, Problem, TowerZooError
from towerzoo.registry.yaml_file import Document, KeyPath, Origin, read_yaml

PART_KEYS = ("name", "encoder")
"""Keys that name a part; a mapping that names another part than its base replaces the base's mapping."""


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Document:
    """Loads a YAML config with its bases and overrides, and imports the person's own parts that it names.

    Args:
        path: A YAML file, or the name of a shipped config (`tanh_bn` or `configs/tanh_bn.yaml`).
        overrides: `KEY.PATH=VALUE` texts, the value read as YAML; applied in order, after all files.

    Returns:
        The merged config with its problems so far. Nothing is raised for a bad config, so that its other problems
        can be found too.
    """
    document = _load_with_bases(find_config(path), ())
    if not document.problems and not isinstance(document.value, Mapping):
        next_step = "Start from a copy of configs/quickstart.yaml."
        document.problems.append(Problem(display_path(path), "a mapping of settings", NOTHING, next_step))
    if not isinstance(document.value, Mapping):
        document.value = {}
    for override in overrides:
        document = merge(document, _read_override(override))
    imports = document.value.get("imports", [])
    if isinstance(imports, list):
        for index, file in enumerate(imports):
            _import_parts(document, file, ("imports", index))
    return document


def merge(base: Document, over: Document) -> Document:
    """Returns `base` overridden by `over`.

    Mappings merge key by key; everything else replaces. A mapping that names another part than the base's replaces it
    whole, so that no parameter of the old part is left behind. A null removes the inherited key.
    """
    origins = dict(base.origins)
    value = _merge(base.value, over.value, (), origins, over.origins)
    return Document(value, origins, [*base.problems, *over.problems])


def find_config(path: str | Path) -> Path:
    """Returns the file itself, or the shipped config of that name where no such file exists."""
    file = Path(path)
    if file.exists():
        return file
    shipped = Path(str(importlib.resources.files("towerzoo.configs")))
    name = Path(*file.parts[1:]) if file.parts[:1] == ("configs",) else file
    for candidate in (shipped / name, shipped / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    return file


def shipped_configs() -> list[Path]:
    """Returns every config that TowerZoo ships for running, without bases and records, by name."""
    folder = Path(str(importlib.resources.files("towerzoo.configs")))
    return sorted(file for file in folder.rglob("*.yaml") if file.name != "results.yaml" and "_base_" not in file.parts)


def display_path(path: str | Path) -> str:
    """Returns a path relative to the working folder where it lies inside it, as it is otherwise."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _load_with_bases(file: Path, chain: tuple[Path, ...]) -> Document:
    shown = display_path(file)
    resolved = file.resolve()
    if resolved in chain:
        loop = " -> ".join(display_path(link) for link in (*chain, resolved))
        return Document(None, {}, [Problem(f"{display_path(chain[-1])}: base", "free of loops", loop, "Remove one base.")])
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file in UTF-8"
        next_step = f"Shipped configs: {', '.join(config.stem for config in shipped_configs())}."
        where = f"{display_path(chain[-1])}: base" if chain else "config"
        return Document(None, {}, [Problem(where, "a readable YAML file", f"{shown} ({reason})", next_step)])
    document = read_yaml(text, shown)
    if not isinstance(document.value, dict):
        if document.value is not None:
            document.problems.append(Problem(shown, "a mapping of settings", document.value, "Write `key: value` lines."))
        return document
    bases = document.value.pop("base", [])
    _resolve_imports(document, file.parent)
    merged = Document()
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str):
            merged.problems.append(Problem(document.where(("base",)), "a path or a list of paths", base))
            continue
        base_file = file.parent / base
        below = _load_with_bases(base_file if base_file.exists() else find_config(base), (*chain, resolved))
        merged = merge(merged, below) if merged.value is not None else below
    return merge(merged, document) if merged.value is not None else _with_problems(document, merged.problems)


def _with_problems(document: Document, problems: list[Problem]) -> Document:
    document.problems = [*problems, *document.problems]
    return document


def _merge(
    base: Any, over: Any, path: KeyPath, origins: dict[KeyPath, Origin], over_origins: Mapping[KeyPath, Origin]
) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)) or _names_another_part(base, over):
        _replace_origins(path, origins, over_origins)
        return over
    merged = dict(base)
    for key, value in over.items():
        child = (*path, key)
        if value is None and key in base:
            merged.pop(key, None)
            _replace_origins(child, origins, {})
        elif key in base:
            merged[key] = _merge(base[key], value, child, origins, over_origins)
        else:
            merged[key] = value
            _replace_origins(child, origins, over_origins)
    return merged


def _names_another_part(base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    return any(key in over and over[key] != base.get(key) for key in PART_KEYS)


def _replace_origins(path: KeyPath, origins: dict[KeyPath, Origin], new: Mapping[KeyPath, Origin]) -> None:
    def below(key: KeyPath) -> bool:
        return key[: len(path)] == path

    for key in [key for key in origins if below(key)]:
        del origins[key]
    origins.update({key: origin for key, origin in new.items() if below(key)})


def _read_override(text: str) -> Document:
    key, equals, value = text.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        example = "Write it as --set training.max_epochs=2."
        return Document({}, {}, [Problem("--set", "KEY.PATH=VALUE", text, example)])
    parsed = read_yaml(value, f"--set {key}")
    nested: Any = parsed.value
    for part in reversed(path):
        nested = {part: nested}
    origins = {path[:depth]: Origin("--set") for depth in range(1, len(path) + 1)}
    origins.update({(*path, *below): Origin("--set") for below in parsed.origins})
    return Document(nested, origins, parsed.problems)


def _resolve_imports(document: Document, folder: Path) -> None:
    imports = document.value.get("imports")
    if isinstance(imports, list):
        document.value["imports"] = [str((folder / i).resolve()) if isinstance(i, str) else i for i in imports]


def _import_parts(document: Document, file: Any, path: KeyPath) -> None:
    """Imports a Python file once per content, so that a run's copy of it does not register its parts again."""
    where = document.where(path)
    if not isinstance(file, str) or not Path(file).is_file():
        document.problems.append(Problem(where, "a Python file", file, "Paths are relative to the config."))
        return
    name = f"towerzoo_imports_{hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        reason = str(error) if isinstance(error, TowerZooError) else f"{type(error).__name__}: {error}"
        document.problems.append(Problem(where, "a Python file that imports", reason, f"Run python {file} to see where."))


def annotated_yaml(value: Any, origins: Mapping[KeyPath, Origin], path: KeyPath = ()) -> Iterable[tuple[str, str]]:
    """Yields a config's YAML lines, each with the place that its value came from (`default` where no file gives it)."""
    indent = "  " * len(path)
    for key, child in value.items():
        child_path = (*path, key)
        if isinstance(child, Mapping) and child:
            yield f"{indent}{key}:", ""
            yield from annotated_yaml(child, origins, child_path)
        else:
            yield f"{indent}{key}: {_inline_yaml(child)}", str(origins.get(child_path, "default"))


def _inline_yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("\n...\n").strip()

