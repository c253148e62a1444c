"""Builds the index of a finished run's items, and adds new items to it."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import device_option, reports_errors
from towerzoo.tools.cli.person_options import print_notes


@click.command("index")
@click.argument("run")
@click.option(
    "--index",
    "spec",
    metavar="SPEC",
    help="The index as in YAML: a name, or {name: ..., parameter: ...}.  [default: exact]",
)
@click.option(
    "--top-k",
    "k",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Measure the recall of lists of k.",
)
@click.option(
    "--add",
    type=click.Path(path_type=Path),
    metavar="ITEMS",
    help="Add the new items of this CSV or Parquet file to the index, without training.",
)
@device_option
@reports_errors
def main(run: str, spec: str | None, k: int, add: Path | None, device: str) -> None:
    """Build an index of the items of RUN, measure its recall against exact search, and save it into the run.

    tools/recommend.py RUN --index then answers from it. Rebuilding an index removes items that were added to it.

    \b
    python tools/index.py RUN --index "{name: faiss, factory: 'HNSW32,Flat', parameters: 'efSearch=256'}"
    python tools/index.py RUN --add new_items.csv
    """
    if spec is not None and add is not None:
        raise click.UsageError("--add extends the index that RUN has; it cannot be combined with --index.")
    from towerzoo.towers.recommend.saved_index import build_index

    built = build_index(run, spec=spec, add=add, k=k, device=device)
    print_notes(built.notes)
    if add is not None:
        click.echo(f"added {built.added:,} items")
    click.echo(built.recall)
    click.echo(f"index of {built.items:,} items: {built.path}")


if __name__ == "__main__":
    main()
