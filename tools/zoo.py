"""Lists every registered part with its parameters, and every shipped config."""

from __future__ import annotations

import inspect
import json
from typing import Any

import click

from towerzoo.tools.cli import reports_errors


@click.command("zoo")
@click.argument("kinds", nargs=-1)
@reports_errors
def main(kinds: tuple[str, ...]) -> None:
    """List the parts of all KINDS (blocks, poolings, datasets, ...), with parameters and defaults, and all configs.

    \b
    python tools/zoo.py
    python tools/zoo.py blocks poolings
    """
    from towerzoo.registry import CATALOGUE
    from towerzoo.registry.config import shipped_configs
    from towerzoo.registry.errors import RegistryError, name_hint
    from towerzoo.registry.expectations import expectation, is_model, model_hints, without_null

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
                click.echo(f"      {parameter.name} ({expectation(parameter.annotation)}; {default})")
                section = without_null(parameter.annotation)
                for key, field in section.model_fields.items() if is_model(section) else ():
                    hint = expectation(model_hints(section)[key])
                    default = _default_text(inspect.Parameter.empty if field.is_required() else _value(field))
                    click.echo(f"          {key} ({hint}; {default})")
        if not registry.names():
            click.echo("  none yet")
    if not kinds or "configs" in kinds:
        click.secho("configs", bold=True)
        for file in shipped_configs():
            click.echo(f"  {file.stem}: {file.read_text().splitlines()[0].removeprefix('# ')}")


def _value(field: Any) -> Any:
    return field.get_default(call_default_factory=True)


def _default_text(default: Any) -> str:
    """Returns a default as a YAML writer would write it."""
    if default is inspect.Parameter.empty:
        return "required"
    return f"default {json.dumps(default) if default is None or isinstance(default, bool) else repr(default)}"


if __name__ == "__main__":
    main()
