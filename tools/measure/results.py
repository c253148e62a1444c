"""Records finished runs of shipped configs, and generates README's table of results."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import give_table, marks, reports_errors, write_option

BEGIN, END = marks("results")


@click.group("results")
def main() -> None:
    """Maintain configs/results.yaml, and the table generated from it."""


@main.command("add")
@click.argument("runs", nargs=-1, required=True)
@reports_errors
def add(runs: tuple[str, ...]) -> None:
    """Add the test figures of finished RUNS to configs/results.yaml, in place of those of the same config and seed."""
    from towerzoo.towers.runs.folder import RunFolder
    from towerzoo.towers.runs.records import add_run, read_records, write_records

    records = read_records()
    for path in runs:
        add_run(records, RunFolder.open(path))
    write_records(records)
    click.echo(f"recorded {len(runs)} {'run' if len(runs) == 1 else 'runs'}")


@main.command("table")
@write_option
@reports_errors
def table(write: Path | None) -> None:
    """Print the records as a Markdown table, or write it to a file."""
    from towerzoo.towers.runs.records import read_records, results_table

    give_table(results_table(read_records()), "results", write)


if __name__ == "__main__":
    main()
