"""Runs benchmarks, compares results or commits, and reports results."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from towerzoo.tools.cli import Function, device_option, give_table, reports_errors, terminal, write_option

if TYPE_CHECKING:
    from towerzoo.benchmarks.report.comparison import Comparison

FILES = click.argument("files", nargs=-1, type=click.Path(path_type=Path))
THRESHOLD = click.option(
    "--threshold", type=click.FloatRange(min=0, min_open=True), help="Exit with status 1 if a ratio is below, e.g. 0.9."
)


def suite_options(function: Function) -> Function:
    """Adds the options that say what a suite measures."""
    for option in (
        device_option,
        click.option("--precision", type=click.Choice(["float32", "bf16"]), help="The one precision to measure."),
        click.option("--quick", is_flag=True, help="Measure fewer parameters and rounds."),
        click.option(
            "--events", type=click.IntRange(min=100), help="Measure on N generated events instead of MovieLens-1M."
        ),
    ):
        function = option(function)
    return function


@click.group("benchmark")
def main() -> None:
    """Measure throughput, compare measurements, and report them."""


@main.command("run")
@click.argument("suites", nargs=-1)
@suite_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the result files.  [default: benchmarks/results; .benchmarks with --quick]",
)
@reports_errors
def run(suites: tuple[str, ...], out: Path | None, **options: Any) -> None:
    """Run SUITES, by default all, and write a result file for each that passes.

    A suite is a file benchmarks/suites/test_SUITE.py.

    \b
    python tools/measure/benchmark.py run
    python tools/measure/benchmark.py run training towers --precision bf16 --quick
    """
    from towerzoo.benchmarks.measure.result_file import results_folder
    from towerzoo.benchmarks.suites.options import SuiteOptions
    from towerzoo.benchmarks.suites.run import require_suites, run_suites

    names, checked = require_suites(suites), SuiteOptions(**options)
    # A quick run must not replace the checked-in results, from which the tables of the documentation are made.
    folder = out or (Path(".benchmarks") if checked.quick else results_folder())
    run_suites(names, checked, folder, report=click.echo)


@main.command("compare")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@THRESHOLD
@click.option("--force", is_flag=True, help="Compare despite different machines, devices or versions.")
@reports_errors
def compare(old: Path, new: Path, threshold: float | None, force: bool) -> None:
    """Compare two result files of a suite by the ratios of their medians; above 1, NEW is faster.

    \b
    python tools/measure/benchmark.py compare before.json benchmarks/results/training-cpu-torch2.13.0.json
    """
    from towerzoo.benchmarks.measure.result_file import read_result
    from towerzoo.benchmarks.report.comparison import compare_results

    if old.resolve() == new.resolve():
        raise click.UsageError("OLD and NEW are the same file.")
    _show(compare_results(read_result(old), read_result(new), force=force), threshold)


@main.command("compare-commits")
@click.argument("old")
@click.argument("new")
@THRESHOLD
@click.option("--suite", default="training", show_default=True, help="The suite to run.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each commit.")
@suite_options
@reports_errors
def compare_commits(old: str, new: str, threshold: float | None, suite: str, rounds: int, **options: Any) -> None:
    """Run a suite on two commits in alternation, and compare them by the medians of the ratios round by round.

    The suites are those of this checkout; they measure only commits that have its layout of modules.

    \b
    python tools/measure/benchmark.py compare-commits main my-branch --suite training --quick --threshold 0.9
    """
    from towerzoo.benchmarks.report.commits import run_in_alternation
    from towerzoo.benchmarks.report.comparison import compare_runs
    from towerzoo.benchmarks.suites.options import SuiteOptions
    from towerzoo.benchmarks.suites.run import require_suites, run_suite

    (name,), checked = require_suites([suite]), SuiteOptions(**options)
    results = run_in_alternation(
        old, new, lambda environment: run_suite(name, checked, environment=environment), rounds=rounds
    )
    _show(compare_runs(*results), threshold)


def _show(comparison: Comparison, threshold: float | None) -> None:
    """Prints a comparison, and exits with status 1 if a ratio is below the threshold."""
    from towerzoo.benchmarks.report.comparison import comparison_table, remarks

    console = terminal()
    console.print(comparison_table(comparison))
    for remark in remarks(comparison, threshold):
        console.print(remark, soft_wrap=True)
    if threshold is not None and comparison.below(threshold):
        sys.exit(1)


@main.command("peers")
@click.option("--auc", type=click.FloatRange(0.5, 1.0), help="Measure how soon this validation AUC is reached.")
@click.option("--bound", type=click.FloatRange(min=0.0), default=600.0, show_default=True, help="Seconds to reach it.")
@click.option("--peer", "peers", multiple=True, help="A peer to measure; may be repeated.  [default: all]")
@click.option(
    "--towerzoo",
    "configs",
    multiple=True,
    metavar="'CONFIG [KEY.PATH=VALUE ...]'",
    help="A config of TowerZoo to measure; may be repeated.  [default: the rows of docs/benchmarks.md]",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of a system.  [default: all cores]")
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds that count.  [default: 5; 1 with --auc; quick: 2]")
@click.option("--quick", is_flag=True, help="Train fewer samples in fewer rounds.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of MovieLens-1M.  [default: found or downloaded]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the result file.  [default: benchmarks/results; .benchmarks with --quick]",
)
@reports_errors
def peers(
    auc: float | None,
    bound: float,
    peers: tuple[str, ...],
    configs: tuple[str, ...],
    threads: int | None,
    rounds: int | None,
    quick: bool,
    data: Path | None,
    out: Path | None,
) -> None:
    """Measure TowerZoo, its peers and the original script side by side on the CPU.

    The peers need an environment of their own, which `make bench-peers` installs.

    \b
    python tools/measure/benchmark.py peers
    python tools/measure/benchmark.py peers --auc 0.78
    """
    from towerzoo.benchmarks.measure.origin import usable_cores
    from towerzoo.benchmarks.measure.result_file import make_folder, results_folder, write_result
    from towerzoo.benchmarks.measure.summary import summary_lines
    from towerzoo.benchmarks.peers.run import measure_peers
    from towerzoo.benchmarks.peers.systems import BATCH_SIZES, Settings, peer_systems
    from towerzoo.datasets.movielens.release import ML_1M, find

    folder = make_folder(out or (Path(".benchmarks") if quick else results_folder()))
    peer_systems(peers, BATCH_SIZES[0])  # a wrong name fails before data is looked for
    files = find(ML_1M, str(data) if data else None, offline=False)
    samples = 20_480 if quick else Settings.samples
    settings = Settings(files, threads or usable_cores(), samples, target_auc=auc, bound=bound)
    rounds = rounds or (1 if auc else 2 if quick else 5)
    result = measure_peers(settings, peers=peers, configs=configs, rounds=rounds, report=partial(click.echo, err=True))
    for line in summary_lines(result.records):
        click.echo(line)
    click.echo(f"results: {write_result(result, folder)}")


@main.command("load")
@click.argument("run")
@click.option("--clients", type=click.IntRange(1, 256), default=32, show_default=True, help="Concurrent clients.")
@click.option("--seconds", type=click.FloatRange(1, 600), default=60.0, show_default=True, help="Length of the load.")
@click.option("--top-k", "k", type=click.IntRange(1, 100), default=10, show_default=True, help="Items per answer.")
@click.option("--swaps", type=click.IntRange(0, 100), default=0, show_default=True, help="Reloads during the load.")
@reports_errors
def load(run: str, **options: Any) -> None:
    """Put a service on RUN under load on loopback, and print rate, latencies, errors and memory."""
    from towerzoo.benchmarks.load import load_service

    text, succeeded = load_service(run, **options)
    click.echo(text)
    sys.exit(0 if succeeded else 1)


@main.command("report")
@FILES
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The page, such as benchmarks.html.")
@reports_errors
def report(files: tuple[Path, ...], out: Path) -> None:
    """Write a self-contained HTML page about result FILES, by default all of benchmarks/results."""
    from towerzoo.benchmarks.measure.result_file import read_results
    from towerzoo.benchmarks.report.page import render_report
    from towerzoo.towers.runs.files import require_writable, write_whole

    require_writable(out)
    write_whole(out, render_report(read_results(list(files))))
    click.echo(f"report: {out}")


@main.command("table")
@FILES
@write_option
@reports_errors
def table(files: tuple[Path, ...], write: Path | None) -> None:
    """Print result FILES, by default all of benchmarks/results, as Markdown tables, or write them into a file."""
    from towerzoo.benchmarks.measure.result_file import read_results
    from towerzoo.benchmarks.report.table import markdown_tables

    for name, text in markdown_tables(read_results(list(files))).items():
        give_table(text, name, write)


if __name__ == "__main__":
    main()
