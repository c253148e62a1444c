"""Runs benchmark suites, compares their results, and makes the report and README's table of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from towerzoo.tools.cli import give_table, tells_errors, terminal, write_option

if TYPE_CHECKING:
    from towerzoo.benchmarks.report.comparison import Comparison
    from towerzoo.benchmarks.suites.options import SuiteOptions

FILES = click.argument("files", nargs=-1, type=click.Path(path_type=Path))
# Texts and not choices, so that a wrong one is answered like any other wrong value.
DEVICE = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, or auto: a GPU where there is one."
)
PRECISION = click.option("--precision", help="float32 or bf16 alone; without it, both.")
QUICK = click.option("--quick", is_flag=True, help="Fewer parameters and rounds.")
EVENTS = click.option("--events", type=int, help="Measure on so many generated events in place of MovieLens-1M.")
OF_COMMITS = ("suite", "rounds", "device", "precision", "quick", "events")
"""Parameters of `compare` that say how commits are measured."""


@click.group("benchmark")
def main() -> None:
    """Measure throughput, compare measurements, and report them."""


@main.command("run")
@click.argument("suites", nargs=-1)
@DEVICE
@PRECISION
@QUICK
@EVENTS
@click.option("--compile", "compiled", is_flag=True, help="Measure torch.compile on a CPU too; takes minutes.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the result files; without it benchmarks/results, or .benchmarks with --quick.",
)
@tells_errors
def run(
    suites: tuple[str, ...],
    device: str,
    precision: str | None,
    quick: bool,
    events: int | None,
    compiled: bool,
    out: Path | None,
) -> None:
    """Run SUITES, or all of them, and write a result file for each that passes.

    A suite is a file benchmarks/test_SUITE.py.

    \b
    python tools/benchmark.py run
    python tools/benchmark.py run training towers --precision bf16 --quick
    """
    from towerzoo.benchmarks.measure.result_file import results_folder
    from towerzoo.benchmarks.suites.options import SuiteOptions
    from towerzoo.benchmarks.suites.run import require_suites, run_suites

    names, options = _checked(
        lambda: require_suites(suites),
        lambda: SuiteOptions(device=device, precision=precision, quick=quick, events=events, compiled=compiled),
    )
    # A quick look must not take the place of the results that README's table is made from.
    folder = out or (Path(".benchmarks") if quick else results_folder())
    run_suites(names, options, folder, tell=click.echo)


@main.command("compare")
@click.argument("old")
@click.argument("new")
@click.option("--threshold", type=float, help="Exit with status 1 where a ratio is below this one, such as 0.9.")
@click.option("--force", is_flag=True, help="Of files: compare different machines, devices or versions, and say so.")
@click.option("--suite", default="training", show_default=True, help="Of commits: the suite to run.")
@click.option("--rounds", default=3, show_default=True, help="Of commits: how often each is run, in alternation.")
@DEVICE
@PRECISION
@QUICK
@EVENTS
@tells_errors
def compare(
    old: str,
    new: str,
    threshold: float | None,
    force: bool,
    suite: str,
    rounds: int,
    device: str,
    precision: str | None,
    quick: bool,
    events: int | None,
) -> None:
    """Compare two result files, or run a suite on two commits in alternation.

    Ratios above 1 mean that NEW is faster. Of files they are those of the medians, of commits the medians of the ratios
    round by round.

    \b
    python tools/benchmark.py compare before.json benchmarks/results/training-cpu-torch2.13.0.json
    python tools/benchmark.py compare main my-branch --suite training --quick --threshold 0.9
    """
    from towerzoo.benchmarks.measure.result_file import read_result
    from towerzoo.benchmarks.report.commits import require_commits
    from towerzoo.benchmarks.report.comparison import compare_results, comparison_table, remarks, threshold_problems
    from towerzoo.benchmarks.suites.options import SuiteOptions
    from towerzoo.benchmarks.suites.run import require_suites

    files = any(Path(name).suffix == ".json" or Path(name).is_file() for name in (old, new))
    problems = [*_without_effect(files), *threshold_problems(threshold)]
    if files and Path(old).resolve() == Path(new).resolve():
        problems.append(f"NEW must be another file than OLD, got {new!r} for both. Give one of another measurement.")
    if files:
        _checked(problems=problems)
        comparison = compare_results(read_result(Path(old)), read_result(Path(new)), force=force)
    else:
        _, _, options = _checked(
            lambda: require_commits(old, new, rounds=rounds),
            lambda: require_suites([suite], where="--suite"),
            lambda: SuiteOptions(device=device, precision=precision, quick=quick, events=events),
            problems=problems,
        )
        comparison = _compare_commits(old, new, suite, options, rounds)
    console = terminal()
    console.print(comparison_table(comparison))
    for remark in remarks(comparison, threshold):
        console.print(remark, soft_wrap=True)
    if threshold is not None and comparison.below(threshold):
        sys.exit(1)


def _checked(*checks: Callable[[], Any], problems: Sequence[str] = ()) -> list[Any]:
    """Returns what some checks return; raises a RunError with some problems and all that the checks raise."""
    from towerzoo.registry.errors import RunError, TowerZooError

    returned, told = [], [*problems]
    for check in checks:
        try:
            returned.append(check())
        except TowerZooError as error:
            told.append(str(error))
    if told:
        raise RunError("\n".join(told))
    return returned


def _without_effect(files: bool) -> list[str]:
    """Returns what is wrong with options that were given, of which files or commits take no notice."""
    context = click.get_current_context()
    what, others, why = (
        ("result files", OF_COMMITS, "Files hold what was measured; name two commits to measure them so.")
        if files
        else ("commits", ("force",), "Commits are measured alike, on one machine.")
    )
    return [
        f"--{name} must be left out where OLD and NEW are {what}, got {context.params[name]!r}. {why}"
        for name in others
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]


def _compare_commits(old: str, new: str, suite: str, options: SuiteOptions, rounds: int) -> Comparison:
    from towerzoo.benchmarks.report.commits import run_in_alternation
    from towerzoo.benchmarks.report.comparison import compare_runs
    from towerzoo.benchmarks.suites.run import run_suite

    results = run_in_alternation(
        old, new, lambda environment: run_suite(suite, options, environment=environment), rounds=rounds
    )
    return compare_runs(*results)


@main.command("report")
@FILES
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The page, such as benchmarks.html.")
@tells_errors
def report(files: tuple[Path, ...], out: Path) -> None:
    """Write one HTML page without outside assets about result FILES, or about all of benchmarks/results."""
    from towerzoo.benchmarks.measure.result_file import read_results
    from towerzoo.benchmarks.report.page import render_report
    from towerzoo.towers.runs.files import require_place, write_whole

    require_place(out)
    write_whole(out, render_report(read_results(list(files))))
    click.echo(f"report: {out}")


@main.command("table")
@FILES
@write_option
@tells_errors
def table(files: tuple[Path, ...], write: Path | None) -> None:
    """Print result FILES, or all of benchmarks/results, as a Markdown table, or write it into a file."""
    from towerzoo.benchmarks.measure.result_file import read_results
    from towerzoo.benchmarks.report.table import markdown_table

    give_table(markdown_table(read_results(list(files))), "benchmarks", write)


if __name__ == "__main__":
    main()
