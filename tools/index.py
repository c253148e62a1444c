"""Builds the index of a finished run's items, and adds new items to it."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import device_option, tells_errors


@click.command("index")
@click.argument("run")
@click.option(
    "--index",
    "spec",
    metavar="SPEC",
    help="The index as in YAML: a name, or {name: ..., parameter: ...}.  [default: exact]",
)
@click.option("--top-k", "k", type=click.IntRange(min=1), default=100, show_default=True, help="k of the recall.")
@click.option(
    "--add",
    type=click.Path(path_type=Path),
    metavar="ITEMS",
    help="Add the new items of this CSV or Parquet file to the index, without training.",
)
@device_option
@tells_errors
def main(run: str, spec: str | None, k: int, add: Path | None, device: str) -> None:
    """Build an index of the items of RUN and save it into the run, beside its recall against exact search.

    tools/recommend.py RUN --index then answers from it. Rebuilding forgets items that were added.

    \b
    python tools/index.py RUN --index "{name: faiss, factory: 'HNSW32,Flat', parameters: 'efSearch=256'}"
    python tools/index.py RUN --add new_items.csv
    """
    if spec is not None and add is not None:
        raise click.UsageError("--add goes on with the index that RUN has; it cannot be given with --index.")
    from towerzoo.registry import INDEXES
    from towerzoo.registry.checks import check_part
    from towerzoo.towers.recommend.new_items import read_new_items
    from towerzoo.towers.recommend.recommender import Recommender
    from towerzoo.towers.recommend.saved_index import RunIndex, has_index
    from towerzoo.towers.runs.folder import RunFolder

    checked = check_part(INDEXES, "exact" if spec is None else spec, "--index")
    folder = RunFolder.open(run)
    recommender = Recommender.open(folder.path, device=device)
    if add is None or not has_index(folder):
        index = RunIndex.build(folder, recommender, checked)
    else:
        index = RunIndex.open(folder, recommender)
    if add is not None:
        added, notes = read_new_items(add, recommender.items)
        for note in notes:
            click.echo(f"note: {note}", err=True)
        index = index.with_added(recommender, added)
        click.echo(f"added {len(added):,} items")
    recall = index.recall(recommender, k)
    index.save(recall)
    click.echo(recall)
    click.echo(f"index of {len(recommender.item_vectors.factors) - 1:,} items: {folder.path / 'index'}")


if __name__ == "__main__":
    main()
