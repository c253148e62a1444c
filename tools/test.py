"""Tests a finished run, or a checkpoint of a config."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from towerzoo.tools.cli import config_options, device_option, reports_errors, terminal


def _counts(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    texts = [text.strip() for text in value.split(",")] if value is not None else []
    if not all(text.isdecimal() and text.isascii() for text in texts):
        raise click.BadParameter(f"must be whole numbers >= 0, got {value!r}. Write them as 0,1,2,4.")
    return tuple(sorted({int(text) for text in texts}))


@click.command("test")
@click.argument("run_or_config")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Test this checkpoint with the given CONFIG.")
@click.option("--mask", multiple=True, metavar="FEATURE", help="Hide a feature from the model. May be repeated.")
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Show figures by slice: a column of users or items, user-warmth, item-warmth or popularity. May be repeated.",
)
@click.option(
    "--shots",
    metavar="K,K,...",
    callback=_counts,
    help="Show figures of new users with only the last K events of their history known.",
)
@click.option("--check", is_flag=True, help="Exit with status 1 if a figure misses the config's record.")
@device_option
@config_options
@reports_errors
def main(
    run_or_config: str,
    checkpoint: Path | None,
    mask: tuple[str, ...],
    by: tuple[str, ...],
    shots: tuple[int, ...],
    check: bool,
    device: str,
    overrides: tuple[str, ...],
) -> None:
    """Test RUN, the folder of a finished run, or a CONFIG with --checkpoint.

    Prints the figures of the test split beside those of the baselines and of the config's record, and stores them in
    the run's metrics.json, or beside the checkpoint.

    \b
    python tools/test.py runs/tanh_bn/2026-11-24T03-45-10 --check
    python tools/test.py runs/tanh_bn/2026-11-24T03-45-10 --by gender --by popularity
    python tools/test.py runs/tanh_bn/2026-11-24T03-45-10 --mask movie_id
    python tools/test.py runs/history/2026-11-24T03-45-10 --shots 0,1,2,4,8,16,32
    python tools/test.py configs/tanh_bn.yaml --checkpoint best.ckpt
    """
    if checkpoint is not None and (mask or by or shots):
        raise click.UsageError("--mask, --by and --shots need a RUN; they cannot be used with --checkpoint.")
    if mask and check:
        raise click.UsageError("--check compares the unmasked run; it cannot be used with --mask.")

    from towerzoo.registry.errors import RunError
    from towerzoo.towers.recipes.evaluate import evaluate_checkpoint, evaluate_run
    from towerzoo.towers.runs.folder import RunFolder
    from towerzoo.towers.runs.records import compare, read_records
    from towerzoo.towers.runs.summary import record_table, result_table, shot_table, slice_table

    console = terminal()
    if checkpoint is None:
        run = RunFolder.open(run_or_config)
        name = run.name
        metrics = evaluate_run(run, overrides, device=device, mask=mask, by=by, shots=shots)
    else:
        if Path(run_or_config).is_dir():
            raise RunError(f"CONFIG must be a file with --checkpoint, got the folder {run_or_config!r}.")
        name = Path(run_or_config).stem
        metrics = evaluate_checkpoint(run_or_config, checkpoint, overrides, device=device)
    console.print(result_table(metrics))
    for slices in dict.fromkeys(by):  # the run may hold others from an earlier test
        console.print(slice_table(slices, metrics["slices"][slices]))
    if shots:
        console.print(shot_table(metrics["shots"]))
    console.print(
        f"scored {metrics['protocol']['events']['test'].partition(':')[0]} pairs in {metrics['test_seconds']:.3f} s"
    )

    if mask:
        console.print(f"hidden from the model: {', '.join(mask)}; nothing was stored.")
        return
    record = read_records().get(name)
    if record is None:
        console.print(f"configs/results.yaml has no record of {name}.")
        sys.exit(1 if check else 0)
    try:
        comparisons = compare(metrics, record)
    except RunError as error:
        if check:
            raise
        console.print(f"not compared with the record of {name}: {error}", soft_wrap=True)
        return
    console.print(record_table(comparisons))
    sys.exit(1 if check and not all(comparison.reached for comparison in comparisons) else 0)


if __name__ == "__main__":
    main()
