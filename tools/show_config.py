"""Prints a resolved config, with the origin of each value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from towerzoo.tools.cli import config_options, reports_errors

if TYPE_CHECKING:
    from towerzoo.registry.yaml_file import KeyPath, Origin


@click.command("show-config")
@click.argument("config")
@config_options
@reports_errors
def main(config: str, overrides: tuple[str, ...]) -> None:
    """Print CONFIG with its bases, overrides and defaults resolved, and each value's file and line.

    \b
    python tools/show_config.py configs/tanh_bn.yaml --set seed=7
    """
    from towerzoo.towers.model.build import read_experiment
    from towerzoo.towers.training.rules import TRAINING_RULES

    experiment, document = read_experiment(config, overrides, TRAINING_RULES)
    lines = list(_annotated_yaml(experiment.model_dump(), document.origins))
    width = max(len(line) for line, origin in lines if origin)
    for line, origin in lines:
        click.echo(f"{line:<{width}}  # {origin}" if origin else line)


def _annotated_yaml(value: Any, origins: Mapping[KeyPath, Origin], path: KeyPath = ()) -> Iterator[tuple[str, str]]:
    """Yields a config's YAML lines, each with the origin of its value (`default` if nothing gives it)."""
    from towerzoo.registry.config import PART_KEYS
    from towerzoo.registry.yaml_file import write_yaml

    def inline(value: Any) -> str:
        return write_yaml(value, inline=True).removesuffix("\n...\n").strip()

    indent = "  " * len(path)
    for key, child in value.items():
        child_path = (*path, key)
        if isinstance(child, Mapping) and child:
            yield f"{indent}{inline(key)}:", ""
            yield from _annotated_yaml(child, origins, child_path)
        else:
            # A part written as its bare name takes the origin of that name.
            origin = origins.get(child_path) or (origins.get(path) if key in PART_KEYS else None)
            yield f"{indent}{inline(key)}: {inline(child)}", str(origin or "default")


if __name__ == "__main__":
    main()
