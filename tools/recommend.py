"""Recommends items from a finished run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from towerzoo.tools.cli import device_option, reports_errors
from towerzoo.tools.cli.person_options import (
    index_option,
    json_option,
    person_options,
    print_notes,
    print_rows,
    read_features,
    read_ids,
)

COLUMNS = ("rank", "id", "title", "score", "probability")


@click.command("recommend")
@click.argument("run")
@person_options
@click.option("--top-k", "k", type=int, default=10, show_default=True, help="Items per user.")
@click.option("--keep-seen", is_flag=True, help="Also recommend items that the user has seen.")
@click.option("--exclude", multiple=True, metavar="ITEM", help="A raw id or title not to recommend; may be repeated.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="A condition on items; also !=, >= and <=.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option(
    "--users", type=click.Path(path_type=Path), help="A file of raw user ids, one per line, or `all`; needs --out."
)
@click.option("--out", type=click.Path(path_type=Path), help="The Parquet file to write for --users.")
@index_option
@device_option
@reports_errors
def main(
    run: str,
    features: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
    users: Path | None,
    out: Path | None,
    with_index: bool,
    device: str,
    **request: Any,
) -> None:
    """Recommend items to a user of RUN, or to somebody new with known features or a few liked items.

    Leaves out items that the user has seen, and liked and disliked ones.

    \b
    python tools/recommend.py RUN --user 42 --top-k 10
    python tools/recommend.py RUN --user 42 --where "genres=Drama|War" --exclude "Heat (1995)"
    python tools/recommend.py RUN --features gender=F,age=25 --liked "Toy Story (1995)"
    python tools/recommend.py RUN --users all --out lists.parquet
    """
    if (users is None) != (out is None):
        raise click.UsageError("--users and --out must be given together.")
    if users is not None and (features or request["user"] or as_json or as_csv):
        raise click.UsageError("--users writes lists of many users; --user, --features, --json and --csv are for one.")
    if as_json and as_csv:
        raise click.UsageError("Give either --json or --csv.")
    request["features"] = read_features(features)
    from towerzoo.towers.recommend.recommender import Recommender
    from towerzoo.towers.runs.files import require_writable, write_whole_with

    if out is not None:
        require_writable(out)
    recommender = Recommender.open(run, device=device, index=with_index)
    if users is not None and out is not None:
        request["user"] = read_ids(users) or recommender.users.ids.values
        lists = recommender.recommend(**request)
        print_notes(lists.attrs.pop("notes"))
        write_whole_with(out, lists.rename(columns={"id": "item"}).to_parquet)
        click.echo(f"lists of {len(set(request['user'])):,} users: {out}")
        return
    items, notes = recommender.recommend_items(**request)
    print_notes(notes)
    rows = [{"rank": rank, **asdict(item)} for rank, item in enumerate(items, start=1)]
    print_rows(rows, as_json=as_json, csv_header=COLUMNS if as_csv else ())


if __name__ == "__main__":
    main()
