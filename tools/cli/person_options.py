"""Options and output of the commands that answer from a run."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from towerzoo.tools.cli import terminal

Function = TypeVar("Function", bound=Callable[..., Any])

EVERYONE = "all"

OPTIONS = (
    click.option("--user", metavar="ID", help="A user's raw id."),
    click.option("--features", multiple=True, metavar="NAME=VALUE,...", help="Features that replace the user's."),
    click.option("--liked", multiple=True, metavar="ITEM", help="A raw id or title of a liked item; may be repeated."),
    click.option("--disliked", multiple=True, metavar="ITEM", help="A raw id or title of a disliked item."),
)

index_option = click.option(
    "--index",
    "with_index",
    is_flag=True,
    help="Search the index that tools/index.py saved into RUN, with the items that were added to it.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def person_options(function: Function) -> Function:
    """Adds --user, --features, --liked and --disliked."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(OPTIONS), function)


def read_features(texts: Sequence[str]) -> dict[str, str]:
    """Returns features by name. Commas separate them; a value may contain commas, too.

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


def read_ids(path: Path) -> list[str]:
    """Returns the raw ids of a file, one per line; none for the path `all`.

    Raises:
        RequestError: The file cannot be read, or is empty.
    """
    from towerzoo.registry.errors import RequestError

    if str(path) == EVERYONE:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file in UTF-8"
        raise RequestError(f"--users must be a file of raw ids, one per line, got {str(path)!r}: {reason}.") from None
    if ids := [line.strip() for line in lines if line.strip()]:
        return ids
    raise RequestError(f"{path} is empty. Give at least one raw id.")


def print_notes(notes: Sequence[str]) -> None:
    """Prints notes on unknown values to the standard error."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool = False, csv_header: Sequence[str] = ()) -> None:
    """Prints rows as a table, as JSON, or as CSV if a header is given."""
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
        click.echo("No item is left to recommend.")
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
