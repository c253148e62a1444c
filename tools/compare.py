"""Prints one table of several runs and draws their curves in one picture."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import tells_errors


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
    from rich.console import Console

    from towerzoo.towers.curves import draw_curves
    from towerzoo.towers.history import read_history
    from towerzoo.towers.protocol import require_same_protocol
    from towerzoo.towers.run_folder import RunFolder, told_as_run_error
    from towerzoo.towers.summary import runs_table

    folders = [RunFolder.open(path) for path in runs]
    names = [folder.name for folder in folders]
    labels = [
        name if names.count(name) == 1 else f"{name} {folder.path.name}"
        for name, folder in zip(names, folders, strict=True)
    ]
    metrics = {label: folder.read_json("metrics.json") for label, folder in zip(labels, folders, strict=True)}
    require_same_protocol({label: values["protocol"] for label, values in metrics.items()})
    picture = draw_curves({label: read_history(folder) for label, folder in zip(labels, folders, strict=True)})
    console = Console(highlight=False)
    console.print(runs_table(metrics))
    with told_as_run_error(out, "a file that can be written"):
        out.write_bytes(picture)
    console.print(f"curves: {out}", soft_wrap=True)


if __name__ == "__main__":
    main()
