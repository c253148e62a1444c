"""Measures how near sampled softmax losses come to the full softmax."""

from __future__ import annotations

import functools
from pathlib import Path

import click

from towerzoo.tools.cli import tells_errors, terminal

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
@click.option("--import", "imports", multiple=True, type=click.Path(path_type=Path), help="A file of own parts.")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True)
@click.option("--items", type=click.IntRange(2, 100_000), default=50, show_default=True, help="Items of the catalogue.")
@click.option("--batch-size", type=click.IntRange(2), default=1024, show_default=True, help="Pairs in a batch.")
@click.option("--draws", type=click.IntRange(2), default=250, show_default=True, help="Batches.")
@click.option("--seed", type=int, default=0, show_default=True)
@tells_errors
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

    A sampler is written as in YAML; without one, those of TowerZoo are compared. For `from-column`, five items are
    said to be shown with the pair; alone they stand for no catalogue, mixed with other samplers they do.

    \b
    python tools/verify_loss.py
    python tools/verify_loss.py "{name: uniform, n: 512}" --items 200
    """
    from towerzoo.registry import LOSSES
    from towerzoo.registry.checks import check_experiment
    from towerzoo.registry.config import load_config
    from towerzoo.towers.losses.lab import check_sampler
    from towerzoo.towers.runs.summary import loss_table

    files = f"imports={[str(file.resolve()) for file in imports]}"
    # As part of a config, whose check says what is wrong with a sampler.
    specs = {}
    for text in samplers or SAMPLERS:
        experiment = check_experiment(load_config(CONFIG, [files, f"loss.sampler={text}"]))
        _, parameters = LOSSES.split(experiment.loss)
        specs[text] = parameters["sampler"]
    check = functools.partial(
        check_sampler, temperature=temperature, items=items, batch_size=batch_size, draws=draws, seed=seed
    )
    checks = {(text, logq): check(spec, logq=logq) for text, spec in specs.items() for logq in (True, False)}
    terminal().print(loss_table(checks))


if __name__ == "__main__":
    main()
