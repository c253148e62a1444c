"""Explains the score of an item for a person."""

from __future__ import annotations

import json
from typing import Any

import click

from towerzoo.tools.cli import device_option, tells_errors
from towerzoo.tools.person_options import index_option, json_option, person_of, person_options, print_rows


@click.command("explain")
@click.argument("run")
@person_options
@click.option("--item", required=True, metavar="ITEM", help="A raw id or title.")
@json_option
@index_option
@device_option
@tells_errors
def main(run: str, item: str, as_json: bool, with_index: bool, device: str, **options: Any) -> None:
    """Explain what RUN makes of an item for a person.

    Shows where the item ranks among all that the person has not met, how its score changes when one feature at a time
    is unknown, and which of the person's own items are nearest to it.

    \b
    python tools/explain.py RUN --user 42 --item 260
    """
    from towerzoo.towers.recommend.explanation import explain
    from towerzoo.towers.recommend.saved_index import open_recommender
    from towerzoo.towers.runs.folder import RunFolder

    recommender = open_recommender(RunFolder.open(run), with_index=with_index, device=device)
    names = recommender.names
    row = names.row(item)
    told = explain(recommender, person_of(recommender, options), row)
    for note in told.notes:
        click.echo(f"note: {note}", err=True)
    nearest = [
        {"id": names.id(near.row), "title": names.title(near.row), "cosine": near.cosine, "liked": near.liked}
        for near in told.nearest
    ]
    effects = [effect._asdict() for effect in told.effects]
    if as_json:
        about = {"id": names.id(row), "title": names.title(row), "rank": told.rank, "candidates": told.candidates}
        scores = {"logit": told.logit, "probability": told.probability}
        click.echo(json.dumps(about | scores | {"effects": effects, "nearest": nearest}, indent=2, ensure_ascii=False))
        return
    chance = "" if told.probability is None else f", probability {told.probability:.1%}"
    click.echo(f"{names.title(row)}: logit {told.logit:.3f}{chance}, rank {told.rank:,} of {told.candidates:,}")
    click.echo("\nwhat each feature adds to the logit, against an unknown one:")
    print_rows(effects)
    if nearest:
        click.echo("\nof the person's own items, nearest to it:")
        print_rows([{**near, "liked": "yes" if near["liked"] else "no"} for near in nearest])


if __name__ == "__main__":
    main()
