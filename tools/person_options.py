"""What the commands that answer from a run share: who is meant, and how answers are printed."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from towerzoo.tools.cli import terminal

if TYPE_CHECKING:
    from towerzoo.towers.recommend.people import Person
    from towerzoo.towers.recommend.recommender import Recommender

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS = (
    click.option("--user", metavar="ID", help="A user's raw id."),
    click.option("--features", multiple=True, metavar="NAME=VALUE,...", help="Features, in place of what is known."),
    click.option("--liked", multiple=True, metavar="ITEM", help="A raw id or title that she likes; may be repeated."),
    click.option("--disliked", multiple=True, metavar="ITEM", help="A raw id or title that she does not like."),
)

index_option = click.option(
    "--index",
    "with_index",
    is_flag=True,
    help="Answer from the index that tools/index.py saved into RUN, with the items that were added to it.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def person_options(function: Function) -> Function:
    """Adds --user, --features, --liked and --disliked."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(OPTIONS), function)


def read_features(texts: Sequence[str]) -> dict[str, str]:
    """Returns features by name; several are parted by commas, and a value may hold some.

    Raises:
        click.UsageError: A text has no `=`, or a feature has two values.

    Example:
        >>> read_features(["gender=F,age=25", "tags=a|b", "shop=Home, Garden,town=Rome"])
        {'gender': 'F', 'age': '25', 'tags': 'a|b', 'shop': 'Home, Garden', 'town': 'Rome'}
    """
    pairs = [pair for text in texts for pair in re.split(r",(?=[^,]*=)", text) if pair]
    for pair in pairs:
        if "=" not in pair:
            raise click.UsageError(f"--features must be NAME=VALUE,..., got {pair!r}.")
    named = [(name.strip(), value.strip()) for name, _, value in (pair.partition("=") for pair in pairs)]
    for name, count in Counter(name for name, _ in named).items():
        if count > 1:
            raise click.UsageError(f"--features must name each feature once, got {name} {count} times.")
    return dict(named)


def person_of(recommender: Recommender, options: Mapping[str, Any], exclude: Sequence[str] = ()) -> Person:
    """Returns the person that the options of `person_options` mean, and tells what is not known of her."""
    person = recommender.person(
        options["user"],
        features=read_features(options["features"]),
        liked=options["liked"],
        disliked=options["disliked"],
        exclude=exclude,
    )
    for note in person.notes:
        click.echo(f"note: {note}", err=True)
    return person


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool = False, csv_header: Sequence[str] = ()) -> None:
    """Prints rows of one kind as a table, as JSON or, with the header of one, as CSV."""
    if as_json:
        click.echo(json.dumps(list(rows), indent=2, ensure_ascii=False))
        return
    if csv_header:
        text = io.StringIO()
        writer = csv.DictWriter(text, csv_header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        click.echo(text.getvalue(), nl=False)
        return
    if not rows:
        click.echo("nothing is left to recommend.")
        return
    from rich.table import Table

    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_text(row[name]) for name in names))
    terminal().print(table)


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
