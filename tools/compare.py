"""Prints one table of several runs and draws their curves in one picture."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import tells_errors, terminal


@click.command("compare")
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("compare.png"),
    show_default=True,
    help="Picture of the curves.",
)
@tells_errors
def main(runs: tuple[str, ...], out: Path) -> None:
    """Compare the test figures of RUNS and draw their curves. Runs of different protocols are refused.

    \b
    python tools/compare.py runs/tanh_bn/* runs/relu/* --out curves.png
    """
    from towerzoo.towers.metrics.protocol import require_same_protocol
    from towerzoo.towers.runs.documents import Metrics
    from towerzoo.towers.runs.epochs import read_epochs
    from towerzoo.towers.runs.files import write_whole
    from towerzoo.towers.runs.folder import RunFolder
    from towerzoo.towers.runs.report import draw_curves
    from towerzoo.towers.runs.summary import runs_table

    # By the folder that is found: a path may name the newest of several runs, which another names itself.
    folders = list({run.path: run for run in (RunFolder.open(Path(path).resolve()) for path in runs)}.values())
    # The shortest of these that tells all runs apart: the config, the time as well, the path.
    names = [folder.name for folder in folders]
    timed = [f"{name} {folder.path.name}" for name, folder in zip(names, folders, strict=True)]
    styles = (names, timed, [str(folder.path) for folder in folders])
    labels = next(style for style in styles if len(set(style)) == len(style))
    by_label = dict(zip(labels, folders, strict=True))

    metrics = {label: run.read(Metrics) for label, run in by_label.items()}
    require_same_protocol({label: results.protocol for label, results in metrics.items()})
    picture = draw_curves({label: read_epochs(run) for label, run in by_label.items()})
    console = terminal()
    console.print(runs_table(metrics))
    write_whole(out, picture)
    console.print(f"curves: {out}", soft_wrap=True)


if __name__ == "__main__":
    main()
