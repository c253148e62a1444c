"""Finds the items of a finished run that are nearest to one."""

from __future__ import annotations

import click

from towerzoo.tools.cli import device_option, tells_errors
from towerzoo.tools.person_options import index_option, json_option, print_rows


@click.command("similar")
@click.argument("run")
@click.option("--item", required=True, metavar="ITEM", help="A raw id or title.")
@click.option("--top-k", "k", type=int, default=10, show_default=True, help="How many.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="A condition on items; also !=, >= and <=.")
@json_option
@index_option
@device_option
@tells_errors
def main(run: str, item: str, k: int, where: tuple[str, ...], as_json: bool, with_index: bool, device: str) -> None:
    """Find the items of RUN nearest to one, by the cosine of the item tower's vectors.

    \b
    python tools/similar.py RUN --item "Heat (1995)"
    """
    import torch

    from towerzoo.towers.recommend.items import allowed_items
    from towerzoo.towers.recommend.saved_index import open_recommender
    from towerzoo.towers.runs.folder import RunFolder

    recommender = open_recommender(RunFolder.open(run), with_index=with_index, device=device)
    allowed, notes = allowed_items(recommender.items, where)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    row = recommender.names.row(item)
    (answers,) = recommender.answers(recommender.similar(torch.tensor([row]), k, allowed=allowed))
    rows = [
        {"rank": rank, "id": answer.id, "title": answer.title, "cosine": answer.score}
        for rank, answer in enumerate(answers, start=1)
    ]
    print_rows(rows, as_json=as_json)


if __name__ == "__main__":
    main()
