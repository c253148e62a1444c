"""Prints a config as it is resolved, with the place that each value came from."""

from __future__ import annotations

import click

from towerzoo.tools.cli import config_options, tells_errors


@click.command("show-config")
@click.argument("config")
@config_options
@tells_errors
def main(config: str, overrides: tuple[str, ...]) -> None:
    """Print CONFIG with its bases, overrides and defaults resolved, and each value's file and line.

    \b
    python tools/show_config.py configs/tanh_bn.yaml --set seed=7
    """
    from towerzoo.registry.config import annotated_yaml
    from towerzoo.towers.model.build import read_experiment

    experiment, document = read_experiment(config, overrides)
    lines = list(annotated_yaml(experiment.model_dump(), document.origins))
    width = max(len(line) for line, origin in lines if origin)
    for line, origin in lines:
        click.echo(f"{line:<{width}}  # {origin}" if origin else line)


if __name__ == "__main__":
    main()
