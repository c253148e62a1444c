"""Compares several runs: one table of their test figures, and their curves in one picture."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import reports_errors, terminal


@click.command("compare")
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("compare.png"),
    show_default=True,
    help="Picture of the curves.",
)
@reports_errors
def main(runs: tuple[str, ...], out: Path) -> None:
    """Compare the test figures of RUNS and draw their curves. Runs with different protocols are refused.

    \b
    python tools/measure/compare.py runs/tanh_bn/* runs/relu/* --out curves.png
    """
    from towerzoo.towers.metrics.protocol import require_same_protocol
    from towerzoo.towers.runs.documents import Metrics
    from towerzoo.towers.runs.epochs import read_epochs
    from towerzoo.towers.runs.files import write_whole
    from towerzoo.towers.runs.folder import open_runs
    from towerzoo.towers.runs.report import draw_curves
    from towerzoo.towers.runs.summary import runs_table

    folders = open_runs(runs)
    metrics = {label: run.read(Metrics) for label, run in folders.items()}
    require_same_protocol({label: results.protocol for label, results in metrics.items()})
    picture = draw_curves({label: read_epochs(run) for label, run in folders.items()})
    console = terminal()
    console.print(runs_table(metrics))
    write_whole(out, picture)
    console.print(f"curves: {out}", soft_wrap=True)


if __name__ == "__main__":
    main()
