"""Profiles tables, guesses what their columns mean, and writes a config that trains on them."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import reports_errors, terminal


@click.command("inspect-data")
@click.argument("files", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write a ready-to-train config to this file.")
@reports_errors
def main(files: tuple[str, ...], out: Path | None) -> None:
    """Profile FILES, one per table: a file, a quoted 'pattern' or a folder of CSV, TSV, Parquet or RecBole files.

    \b
    python tools/inspect_data.py ratings.csv users.csv movies.csv --out mine.yaml
    python tools/train.py mine.yaml
    """
    from rich.table import Table

    from towerzoo.datasets.inspection.labels import guess_label
    from towerzoo.datasets.inspection.profiles import profile_table
    from towerzoo.datasets.inspection.roles import guess_roles
    from towerzoo.datasets.inspection.starter_config import starter_config
    from towerzoo.registry.errors import shortened
    from towerzoo.towers.runs.files import require_writable, write_whole

    if out is not None:
        require_writable(out)
    tables = [profile_table(name) for name in files]
    guess = guess_roles(tables)
    label = guess_label(guess)
    console = terminal()
    names = {id(guess.events): "interactions", **{id(table): f"{side}s" for side, table in guess.tables.items()}}
    for table in tables:
        title = f"{table.files}: {names.get(id(table), 'not used')}, {len(table):,} rows"
        view = Table("column", "type", "distinct", "missing", "example", "role", "check", title=title)
        for column in table.columns.values():
            feedback = table is guess.events and column.name in label.feedback
            role = "feedback" if feedback else guess.role(table, column.name)
            kind = f"{column.type}, separated by {column.separator!r}" if column.separator else column.type
            counts = (f"{column.distinct:,}", f"{column.missing:,}")
            view.add_row(column.name, kind, *counts, shortened(column.example, 30), role, "; ".join(column.warnings))
        console.print(view)
    for note in (*guess.notes, *label.notes):
        console.print(note, soft_wrap=True)
    if label.rule == "implicit":
        console.print("No column gives labels of two classes, so every event is positive (label: implicit).")
    if out is not None:
        write_whole(out, starter_config(guess, label, str(out)))
        console.print(f"config: {out}", soft_wrap=True)


if __name__ == "__main__":
    main()
