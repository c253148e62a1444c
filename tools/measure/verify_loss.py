"""Checks sampled softmax losses against the full softmax."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import reports_errors, terminal

SAMPLERS = (
    "catalogue",
    "in-batch",
    "{name: uniform, n: 1024}",
    "{name: popularity, n: 1024}",
    "{name: mixed, parts: [in-batch, {name: uniform, n: 256}]}",
    "{name: mixed, parts: [from-column, {name: uniform, n: 1024}]}",
    "from-column",
)
CONFIG = "retrieval_bpr"
"""A shipped config whose loss takes a sampler."""


@click.command("verify-loss")
@click.argument("samplers", nargs=-1, metavar="[SAMPLER]...")
@click.option("--import", "imports", multiple=True, type=click.Path(path_type=Path), help="A file with your own parts.")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True)
@click.option("--items", type=click.IntRange(2, 100_000), default=50, show_default=True, help="Items of the catalogue.")
@click.option("--batch-size", type=click.IntRange(2), default=1024, show_default=True, help="Pairs in a batch.")
@click.option("--draws", type=click.IntRange(2), default=250, show_default=True, help="Batches.")
@click.option("--seed", type=int, default=0, show_default=True)
@reports_errors
def main(
    samplers: tuple[str, ...],
    imports: tuple[Path, ...],
    temperature: float,
    items: int,
    batch_size: int,
    draws: int,
    seed: int,
) -> None:
    """Compare the gradient of each SAMPLER, with and without the logQ correction, with that of the full softmax.

    Write a sampler as in YAML; without one, TowerZoo's own are compared. `from-column` gets five items that were shown
    with the pair. They do not stand for the catalogue on their own, but do when mixed with other samplers.

    \b
    python tools/measure/verify_loss.py
    python tools/measure/verify_loss.py "{name: uniform, n: 512}" --items 200
    """
    from towerzoo.registry import LOSSES
    from towerzoo.registry.checks import check_experiment
    from towerzoo.registry.config import load_config
    from towerzoo.towers.losses.lab import check_sampler
    from towerzoo.towers.runs.summary import loss_table

    files = f"imports={[str(file.resolve()) for file in imports]}"
    specs = {}
    for text in samplers or SAMPLERS:
        # As part of a config, so that a wrong sampler is reported as in any config, before any is measured.
        experiment = check_experiment(load_config(CONFIG, [files, f"loss.sampler={text}"]))
        specs[text] = LOSSES.split(experiment.loss)[1]["sampler"]
    settings = {"items": items, "batch_size": batch_size, "draws": draws, "seed": seed}
    checks = {
        (text, logq): check_sampler(spec, logq=logq, temperature=temperature, **settings)
        for text, spec in specs.items()
        for logq in (True, False)
    }
    terminal().print(loss_table(checks))


if __name__ == "__main__":
    main()
