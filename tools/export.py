"""Exports a finished run as a bundle that recommends without TowerZoo."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import tells_errors, terminal


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The bundle: a new or empty folder.")
@click.option("--force", is_flag=True, help="Replace an earlier bundle.")
@tells_errors
def main(run: Path, to: Path, force: bool) -> None:
    """Export RUN: both towers as ONNX and as torch.export programs, item vectors, vocabularies, and how to use them.

    The bundle needs numpy and onnxruntime. It is checked against the run before it takes its place.

    \b
    python tools/export.py runs/tanh_bn/2026-11-24T03-45-10 --to bundles/tanh_bn
    """
    from towerzoo.towers.export.bundle import export_run
    from towerzoo.towers.export.readme import export_lines

    console = terminal()
    with console.status("reading the run") as status:
        about = export_run(run, to, force=force, report=status.update)
    for line in export_lines(about, to):
        console.print(line, soft_wrap=True)


if __name__ == "__main__":
    main()
