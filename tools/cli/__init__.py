"""The `towerzoo` command, and what all commands share: errors in a line, and fast help."""

from __future__ import annotations

import errno
import functools
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

COMMANDS = {
    "benchmark": "Run benchmark suites, compare their results, and report them.",
    "compare": "Print one table of several runs and draw their curves in one picture.",
    "explain": "Explain the score of an item for a person.",
    "export": "Export a finished run as a bundle that needs no TowerZoo: ONNX, item vectors, vocabularies.",
    "index": "Build an index of a run's items, measure its recall, and add new items.",
    "inspect_data": "Look at your own tables, and write a config that trains on them.",
    "recommend": "Recommend items from a finished run.",
    "results": "Record finished runs of shipped configs, and make README's table of them.",
    "serve": "Serve finished runs over HTTP, with a page to try them with.",
    "show_config": "Print a config as it is resolved, with the place that each value came from.",
    "similar": "Find the items of a finished run that are nearest to one.",
    "test": "Test a finished run, or a checkpoint of a config.",
    "train": "Train a config, test its best weights, and leave a run folder.",
    "verify_loss": "Measure how near sampled softmax losses come to the full softmax.",
    "zoo": "List every registered part with its parameters, and every shipped config.",
}
"""Every command and its one-line help, so that `towerzoo --help` imports none of them."""
MEASURE = ("benchmark", "compare", "results", "verify_loss")
"""The commands in tools/measure/."""

WIDEST = 1_000
"""Letters of a line of a table that goes to no terminal."""

Function = TypeVar("Function", bound=Callable[..., Any])


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name.replace("_", "-") for name in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = cmd_name.replace("-", "_")
        if name not in COMMANDS:
            return None
        module = f"measure.{name}" if name in MEASURE else name
        command: click.Command = importlib.import_module(f"towerzoo.tools.{module}").main
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name.replace("_", "-"), text) for name, text in COMMANDS.items()])


@click.group(cls=_LazyGroup)
@click.version_option(package_name="towerzoo")
def main() -> None:
    """Two-tower recommenders assembled in YAML: train, test, compare."""


def reports_errors(function: Function) -> Function:
    """Adds --debug to a command, and reports errors of TowerZoo, of users' own files and of the disk in a line.

    The exit status is 1; after a signal it is 128 plus the signal's number.
    """

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def run(*args: Any, debug: bool, **kwargs: Any) -> Any:
        from towerzoo.registry.errors import Interrupted, TowerZooError

        try:
            return function(*args, **kwargs)
        except TowerZooError as error:
            if debug:
                raise
            click.echo(f"{'' if isinstance(error, Interrupted) else 'error: '}{error}", err=True)
            sys.exit(128 + error.signal_number if isinstance(error, Interrupted) else 1)
        except Exception as error:
            message = None if debug else _message(error)
            if message is None:
                raise
            click.echo(f"error: {message}", err=True)
            sys.exit(1)

    return run  # type: ignore[return-value]


def _message(error: Exception) -> str | None:
    """Returns the message for an error that is not one of TowerZoo's; None where a traceback is needed."""
    from towerzoo.registry.files import os_problem
    from towerzoo.registry.source_lines import custom_error_line

    if where := custom_error_line(error):
        reason, *_ = str(error).strip().split("\n")
        found = f"{type(error).__name__}: {reason.removesuffix('.')}"
        return f"{where} must run without an error, got {found}. --debug shows the traceback."
    if isinstance(error, PermissionError) and error.filename is not None:
        return os_problem(error, error.filename, "opened")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return os_problem(error, error.filename or "The output")
    return None


@contextmanager
def without_collection() -> Iterator[None]:
    """Pauses garbage collection, a fifth of the time of large imports, and then never scans what they made."""
    gc.disable()
    try:
        yield
        if not gc.get_freeze_count():
            gc.freeze()
    finally:
        gc.enable()


def terminal() -> Console:
    """Returns a console that prints texts as they stand: titles, paths and values may hold brackets and colons.

    A file or a pipe has no width, so that no table is cropped for it.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDEST
    return console


def config_options(function: Function) -> Function:
    """Adds --set, the overrides of a config."""
    option = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY.PATH=VALUE",
        help="Override a value of the config; the value is read as YAML. May be repeated.",
    )
    return option(function)


device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU where there is one.",
)


write_option = click.option(
    "--write",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Put the table between the marks of this file.",
)


def marks(name: str) -> tuple[str, str]:
    """Returns the lines between which a generated table of a name stands in a Markdown file."""
    return f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->\n"


def give_table(text: str, name: str, file: Path | None) -> None:
    """Prints a generated table; with a file, puts it between the marks of its name, in place of what stands there.

    Raises:
        RunError: The file lacks a mark, or cannot be written.
    """
    if file is None:
        click.echo(text, nl=False)
        return
    from towerzoo.registry.errors import RunError
    from towerzoo.towers.runs.files import write_whole

    begin_mark, end_mark = marks(name)
    before, begin, rest = file.read_text(encoding="utf-8").partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end:
        missing = " and ".join(mark.strip() for mark, found in ((begin_mark, begin), (end_mark, end)) if not found)
        raise RunError(
            f"{file} must hold the lines {begin_mark.strip()} and, below it, {end_mark.strip()}, got no {missing}. "
            "Add them where the table shall stand."
        )
    write_whole(file, f"{before}{begin_mark}{text}{end_mark}{after}")
