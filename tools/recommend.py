"""Recommends items from a finished run."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

from towerzoo.tools.cli import device_option, tells_errors
from towerzoo.tools.person_options import index_option, json_option, person_of, person_options, print_rows


@click.command("recommend")
@click.argument("run")
@person_options
@click.option("--top-k", "k", type=int, default=10, show_default=True, help="Items a person.")
@click.option("--keep-seen", is_flag=True, help="Let items come that the person has met.")
@click.option("--exclude", multiple=True, metavar="ITEM", help="A raw id or title not to recommend; may be repeated.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="A condition on items; also !=, >= and <=.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option(
    "--users", type=click.Path(path_type=Path), help="A file of raw user ids, one a line; `all` for everyone."
)
@click.option("--out", type=click.Path(path_type=Path), help="With --users: the Parquet file to write.")
@index_option
@device_option
@tells_errors
def main(
    run: str,
    k: int,
    keep_seen: bool,
    exclude: tuple[str, ...],
    where: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
    users: Path | None,
    out: Path | None,
    with_index: bool,
    device: str,
    **options: Any,
) -> None:
    """Recommend items to a user of RUN, or to somebody new of whom features or a few liked items are known.

    What the person has met is left out, and so are liked and disliked items.

    \b
    python tools/recommend.py RUN --user 42 --top-k 10
    python tools/recommend.py RUN --user 42 --where "genres=Drama|War" --exclude "Heat (1995)"
    python tools/recommend.py RUN --features gender=F,age=25 --liked "Toy Story (1995)"
    python tools/recommend.py RUN --users all --out lists.parquet
    """
    if (users is None) != (out is None):
        raise click.UsageError("--users and --out come together.")
    if users is not None and (as_json or as_csv):
        raise click.UsageError("--users writes Parquet; it cannot be given with --json or --csv.")
    if users is not None and out is not None and users.resolve() == out.resolve():
        raise click.UsageError("--out must be another file than that of --users, which it would replace.")
    if as_json and as_csv:
        raise click.UsageError("Give either --json or --csv.")
    if users is not None and any(options.values()):
        raise click.UsageError(
            "--users names everyone; it cannot be given with --user, --features, --liked, --disliked."
        )
    from towerzoo.towers.recommend.items import ScoredItem, allowed_items
    from towerzoo.towers.recommend.lists import read_users, write_lists
    from towerzoo.towers.recommend.saved_index import open_recommender
    from towerzoo.towers.runs.files import require_writable
    from towerzoo.towers.runs.folder import RunFolder

    if out is not None:
        require_writable(out)
    recommender = open_recommender(RunFolder.open(run), with_index=with_index, device=device)
    allowed, notes = allowed_items(recommender.items, where)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if users is not None and out is not None:
        people = read_users(recommender, users, exclude=exclude)
        write_lists(recommender, people, recommender.recommend(people, k, keep_seen=keep_seen, allowed=allowed), out)
        click.echo(f"lists of {len(people):,} users: {out}")
        return
    person = person_of(recommender, options, exclude)
    top = recommender.recommend([person], k, keep_seen=keep_seen, allowed=allowed)
    (answers,) = recommender.answers(top, [person])
    rows = [{"rank": rank, **asdict(item)} for rank, item in enumerate(answers, start=1)]
    header = ("rank", *(field.name for field in fields(ScoredItem)))
    print_rows(rows, as_json=as_json, csv_header=header if as_csv else ())


if __name__ == "__main__":
    main()
