"""Finds the items of a finished run that are nearest to one."""

from __future__ import annotations

from typing import Any

import click

from towerzoo.tools.cli import device_option, reports_errors
from towerzoo.tools.cli.person_options import index_option, json_option, print_notes, print_rows


@click.command("similar")
@click.argument("run")
@click.option("--item", required=True, metavar="ITEM", help="A raw id or title.")
@click.option("--top-k", "k", type=int, default=10, show_default=True, help="Number of items.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="A condition on items; also !=, >= and <=.")
@json_option
@index_option
@device_option
@reports_errors
def main(run: str, as_json: bool, with_index: bool, device: str, **request: Any) -> None:
    """Find the items of RUN nearest to one, by the cosine of the item tower's vectors.

    \b
    python tools/similar.py RUN --item "Heat (1995)"
    """
    from towerzoo.towers.recommend.recommender import Recommender

    items, notes = Recommender.open(run, device=device, index=with_index).similar_items(**request)
    print_notes(notes)
    rows = [
        {"rank": rank, "id": item.id, "title": item.title, "cosine": item.score}
        for rank, item in enumerate(items, start=1)
    ]
    print_rows(rows, as_json=as_json)


if __name__ == "__main__":
    main()
