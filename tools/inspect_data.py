"""Looks at a person's tables, says what they seem to hold, and writes a config that trains on them."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import tells_errors, terminal


@click.command("inspect-data")
@click.argument("files", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write a config that trains as it stands to this file.")
@tells_errors
def main(files: tuple[str, ...], out: Path | None) -> None:
    """Look at FILES, one a table: a file, a 'pattern' in quotes or a folder of CSV, TSV, Parquet or RecBole files.

    \b
    python tools/inspect_data.py ratings.csv users.csv movies.csv --out mine.yaml
    python tools/train.py mine.yaml
    """
    from rich.table import Table

    from towerzoo.datasets.inspection.labels import guess_label
    from towerzoo.datasets.inspection.profiles import profile_table
    from towerzoo.datasets.inspection.roles import guess_roles
    from towerzoo.datasets.inspection.starter_config import starter_config
    from towerzoo.towers.runs.files import require_writable, write_whole

    if out is not None:
        require_writable(out)
    tables = [profile_table(name) for name in files]
    guess = guess_roles(tables)
    label = guess_label(guess)
    console = terminal()
    for table in tables:
        names = {id(found): f"{side}s" for side, found in guess.tables.items()} | {id(guess.events): "interactions"}
        title = f"{table.files}: {names.get(id(table), 'not used')}, {len(table):,} rows"
        view = Table("column", "type", "distinct", "missing", "example", "role", "look at", title=title)
        for column in table.columns.values():
            measure = table is guess.events and column.name in label.measures
            kind = f"{column.type}, separated by {column.separator!r}" if column.separator else column.type
            shown = column.example if len(column.example) <= 30 else f"{column.example[:27]}..."
            role = "measure" if measure else guess.role(table, column.name)
            unscaled = [f"not scaled: {column.spread}"] if column.spread and role == "feature" else []
            cells = (column.name, kind, f"{column.distinct:,}", f"{column.missing:,}", shown, role)
            view.add_row(*cells, "; ".join([*column.warnings, *unscaled]))
        console.print(view)
    for note in (*guess.notes, *label.notes):
        console.print(note, soft_wrap=True)
    if label.rule == "implicit":
        console.print("No column gives labels of two classes: every event counts as positive (label: implicit).")
    if out is not None:
        write_whole(out, starter_config(guess, label, str(out)))
        console.print(f"config: {out}", soft_wrap=True)


if __name__ == "__main__":
    main()
