"""Explains the score of an item for a person."""

from __future__ import annotations

import json
from dataclasses import asdict
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
    explanation = explain(recommender, person_of(recommender, options), recommender.names.row(item))
    for note in explanation.notes:
        click.echo(f"note: {note}", err=True)
    values = asdict(explanation)
    if as_json:
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
        return
    chance = "" if explanation.probability is None else f", probability {explanation.probability:.1%}"
    ranks = f"rank {explanation.rank:,} of {explanation.candidates:,}"
    click.echo(f"{explanation.of.title}: logit {explanation.score:.3f}{chance}, {ranks}")
    click.echo("\nwhat each feature adds to the logit, compared with an unknown value:")
    print_rows(values["effects"])
    if values["nearest"]:
        click.echo("\nthe closest items that the user has seen:")
        print_rows([{**near, "liked": "yes" if near["liked"] else "no"} for near in values["nearest"]])


if __name__ == "__main__":
    main()
