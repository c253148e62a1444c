"""Lists every registered part with its parameters, and every shipped config."""

from __future__ import annotations

import inspect
import json
import types
import typing
from typing import Any

import click

from towerzoo.tools.cli import tells_errors


@click.command("zoo")
@click.argument("kinds", nargs=-1)
@tells_errors
def main(kinds: tuple[str, ...]) -> None:
    """List the parts of all KINDS (blocks, poolings, datasets, ...), with parameters and defaults, and all configs.

    \b
    python tools/zoo.py
    python tools/zoo.py blocks poolings
    """
    import towerzoo.towers  # noqa: F401  (registers the parts)
    from towerzoo.registry import CATALOGUE
    from towerzoo.registry.config import shipped_configs
    from towerzoo.registry.errors import RegistryError, name_hint

    unknown = [kind for kind in kinds if kind not in (*CATALOGUE, "configs")]
    if unknown:
        hint = name_hint(unknown[0], (*CATALOGUE, "configs"), "Kinds")
        raise RegistryError(f"KINDS must be kinds of parts, got {unknown[0]!r}. {hint}")
    for kind, registry in CATALOGUE.items():
        if kinds and kind not in kinds:
            continue
        click.secho(kind, bold=True)
        click.echo(f"  Each is {registry.contract}.")
        for name in registry:
            click.echo(f"  {name}: {registry.describe(name)}")
            for parameter in registry.parameters(name):
                default = _default_text(parameter.default)
                click.echo(f"      {parameter.name} ({_type_text(parameter.annotation)}, {default})")
        if not registry.names():
            click.echo("  none yet")
    if not kinds or "configs" in kinds:
        click.secho("configs", bold=True)
        for file in shipped_configs():
            click.echo(f"  {file.stem}: {file.read_text().splitlines()[0].removeprefix('# ')}")


def _default_text(default: Any) -> str:
    """Returns a default as a YAML writer would write it."""
    if default is inspect.Parameter.empty:
        return "required"
    return f"default {json.dumps(default) if default is None or isinstance(default, bool) else repr(default)}"


def _type_text(annotation: Any) -> str:
    """Returns a type as a YAML writer would call it."""
    from towerzoo.registry.registry import registry_of

    registry = registry_of(annotation)
    if registry is not None:
        return f"a registered {registry.kind}"
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        limits = [limit for extra in arguments[1:] for limit in getattr(extra, "metadata", [])]
        words = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
        ranges = [
            f"{word} {getattr(limit, key)}" for limit in limits for key, word in words.items() if hasattr(limit, key)
        ]
        return " ".join([_type_text(arguments[0]), *([" and ".join(ranges)] if ranges else [])])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_text(argument) for argument in arguments)
    if origin is typing.Literal:
        return " or ".join(repr(argument) for argument in arguments)
    if origin in (list, tuple):
        return f"list of {_type_text(arguments[0])}"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null", Any: "any"}
    return names.get(annotation, getattr(annotation, "__name__", "any"))


if __name__ == "__main__":
    main()
