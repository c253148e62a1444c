"""Exports a finished run as a bundle that recommends without TowerZoo."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import reports_errors, terminal


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), required=True, help="Folder for the bundle, new or empty.")
@click.option("--force", is_flag=True, help="Replace an earlier bundle.")
@reports_errors
def main(run: Path, to: Path, force: bool) -> None:
    """Export RUN as a bundle: both towers as ONNX and torch.export programs, item vectors, vocabularies, a README.

    The bundle needs only numpy and onnxruntime. It is checked against the run before it appears in the folder.

    \b
    python tools/export.py runs/tanh_bn/2026-11-24T03-45-10 --to bundles/tanh_bn
    """
    from towerzoo.towers.export.bundle import export_run
    from towerzoo.towers.export.readme import summary_lines

    console = terminal()
    with console.status("reading the run") as status:
        about = export_run(run, to, force=force, report=status.update)
    for line in summary_lines(about, to):
        console.print(line, soft_wrap=True)


if __name__ == "__main__":
    main()
