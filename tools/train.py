"""Trains a config, tests its best weights, and writes a run folder."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import config_options, device_option, reports_errors, terminal, without_collection


@click.command("train")
@click.argument("config", required=False)
@click.option(
    "--resume", "resumed", metavar="RUN", help="Resume the training of a run folder instead of starting CONFIG."
)
@click.option("--seed", type=int, help="Seed of weights, dropout and batch order; same as --set seed=N.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder for all runs."
)
@click.option("--fast-dev-run", is_flag=True, help="Run one batch each of training, validation and test; save nothing.")
@click.option("--profile", is_flag=True, help="Train a few steps and print how long each part takes; save nothing.")
@device_option
@config_options
@reports_errors
def main(
    config: str | None,
    resumed: str | None,
    seed: int | None,
    out: Path,
    fast_dev_run: bool,
    profile: bool,
    device: str,
    overrides: tuple[str, ...],
) -> None:
    """Train CONFIG, a YAML file or the name of a shipped config, and test its best weights.

    \b
    python tools/train.py configs/tanh_bn.yaml
    python tools/train.py configs/tanh_bn.yaml --set training.max_epochs=5 --seed 7
    python tools/train.py configs/tanh_bn.yaml --profile
    python tools/train.py --resume runs/tanh_bn/2026-11-24T03-45-10
    """
    if (config is None) == (resumed is None):
        raise click.UsageError("Give either CONFIG or --resume RUN.")
    if resumed is not None and (fast_dev_run or profile):
        raise click.UsageError("--fast-dev-run and --profile train from the start; they cannot be used with --resume.")
    if seed is not None:
        overrides = (*overrides, f"seed={seed}")

    with without_collection():
        from towerzoo.towers.model.build import read_experiment
        from towerzoo.towers.recipes.train import profile_training, resume, train, try_out
        from towerzoo.towers.runs.folder import RunFolder
        from towerzoo.towers.training.rules import TRAINING_RULES

        run = RunFolder.open(resumed, unfinished=True) if resumed is not None else None
        experiment, _ = read_experiment(run.config if run else config or "", overrides, TRAINING_RULES)
    console = terminal()
    if run:
        resume(run, experiment, device=device, console=console)
    elif fast_dev_run:
        try_out(experiment, device=device, console=console)
    elif profile:
        profile_training(experiment, device=device, console=console)
    else:
        train(experiment, name=Path(config or "").stem, out=out, device=device, console=console)


if __name__ == "__main__":
    main()
