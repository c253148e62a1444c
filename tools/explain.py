"""Explains the score of an item for a user."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from towerzoo.tools.cli import device_option, reports_errors
from towerzoo.tools.cli.person_options import index_option, json_option, person_options, print_notes, read_features


@click.command("explain")
@click.argument("run")
@person_options
@click.option("--item", required=True, metavar="ITEM", help="A raw id or title.")
@json_option
@index_option
@device_option
@reports_errors
def main(run: str, features: tuple[str, ...], as_json: bool, with_index: bool, device: str, **request: Any) -> None:
    """Explain the score that RUN gives an item for a user.

    Shows the item's rank among all that the user has not seen, the change of its score if one feature at a time were
    unknown, and the closest items that the user has seen.

    \b
    python tools/explain.py RUN --user 42 --item 260
    """
    request["features"] = read_features(features)
    from towerzoo.towers.recommend.recommender import Recommender

    explanation = Recommender.open(run, device=device, index=with_index).explain(**request)
    print_notes(explanation.notes)
    click.echo(json.dumps(asdict(explanation), indent=2, ensure_ascii=False) if as_json else explanation)


if __name__ == "__main__":
    main()
