"""Measures TowerZoo, its peers and the original script in turn, prints a table and keeps the records.

make bench-peers
python -m towerzoo.benchmarks.peers.run --quick
python -m towerzoo.benchmarks.peers.run --towerzoo "tanh_bn_dropout_first trainer.precision=bf16-mixed" --auc 0.8
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from towerzoo.benchmarks.measure.origin import here, usable_cores
from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.measure.result_file import Result, make_folder, results_folder, write_result
from towerzoo.benchmarks.measure.summary import quantity
from towerzoo.benchmarks.peers.comparison import SUITE
from towerzoo.benchmarks.peers.ml_1m_files import EVENTS, find_or_generate
from towerzoo.benchmarks.peers.rates import measure_rates
from towerzoo.benchmarks.peers.settings import Settings
from towerzoo.benchmarks.peers.systems import BASELINES, baseline_systems, towerzoo_system
from towerzoo.benchmarks.peers.time_to_auc import time_to_auc
from towerzoo.benchmarks.suites.run import raised_signals
from towerzoo.registry.errors import Interrupted, PeerError, TowerZooError


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with MovieLens-1M's files; without it $TOWERZOO_DATA/ml-1m, else data is generated.",
)
@click.option(
    "--towerzoo",
    "configs",
    multiple=True,
    default=["tanh_bn_dropout_first"],
    show_default=True,
    metavar="'CONFIG [KEY.PATH=VALUE ...]'",
    help="A config of TowerZoo with overrides; may be repeated.",
)
@click.option("--peers", default=",".join(BASELINES), show_default=True, help="What to compare with.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of a timed training.  [default: 200; quick: 20]")
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds that count.  [default: 5; quick: 2]")
@click.option("--threads", type=click.IntRange(min=1), default=usable_cores, help="CPU threads.  [default: all cores]")
@click.option("--auc", type=click.FloatRange(0.5, 1.0), help="Measure also how soon this validation AUC is reached.")
@click.option("--bound", type=click.FloatRange(min=1.0), default=600.0, show_default=True, help="Seconds to reach it.")
@click.option("--auc-rounds", type=click.IntRange(min=1), default=1, show_default=True, help="Runs to it of each.")
@click.option("--events", type=click.IntRange(min=1000), default=EVENTS, help="Events to generate.", show_default=True)
@click.option("--quick", is_flag=True, help="Fewer steps and rounds; records are kept with --out alone.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of records.  [default: benchmarks/results]"
)
def main(
    data: Path | None,
    configs: Sequence[str],
    peers: str,
    steps: int | None,
    rounds: int | None,
    threads: int,
    auc: float | None,
    bound: float,
    auc_rounds: int,
    events: int,
    quick: bool,
    out: Path | None,
) -> None:
    """Measure TowerZoo, its peers and the original script side by side on the CPU."""
    steps, rounds = steps or (20 if quick else 200), rounds or (2 if quick else 5)
    lost: set[str] = set()

    def failed(name: str, error: PeerError) -> None:
        lost.add(name)
        click.echo(f"left out: {error}", err=True)

    try:
        ours = [towerzoo_system(text) for text in dict.fromkeys(configs)]
        names = [system.name for system in ours]
        kept = out or (None if quick else results_folder())
        if kept:
            make_folder(kept)
        systems = {system.name: system for system in [*ours, *baseline_systems(peers.split(",") if peers else [])]}
        with raised_signals(), tempfile.TemporaryDirectory(prefix="towerzoo-peers-") as scratch:
            folder, data_name = find_or_generate(data, Path(scratch), events=events)
            settings = Settings(folder, threads=threads, steps=steps, target_auc=auc or 1.0, bound=bound)
            records, versions = measure_rates(systems, names, settings, rounds=rounds, failed=failed)
            if auc:
                left = {name: system for name, system in systems.items() if name not in lost}
                records += time_to_auc(left, names, settings, rounds=auc_rounds, failed=failed)
        origin = here("cpu", data=data_name, quick=quick)
        packages = {**versions, **origin.packages}
        result = Result(
            suite=SUITE, origin=origin.model_copy(update={"packages": packages, "threads": threads}), records=records
        )
        console = Console()
        # A file or a pipe has no width that a table must fit.
        console.width = console.width if console.is_terminal else 160
        console.print(_table(records))
        if kept:
            click.echo(f"records: {write_result(result, kept)}")
    except Interrupted as error:
        click.echo(str(error), err=True)
        sys.exit(128 + error.signal_number)
    except TowerZooError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _table(records: Sequence[Record]) -> Table:
    table = Table("measure", "TowerZoo", "value", "against", "value", "ratio (lowest to highest)", "target", box=None)
    for record in records:
        system, value = str(record.params["system"]), quantity(record.value, record.unit)
        if record.pair is None:
            table.add_row(record.name, system, value)
            continue
        pair = record.pair
        table.add_row(
            record.name,
            system,
            value,
            str(record.params["baseline"]).removeprefix("against "),
            quantity(pair.baseline, record.unit),
            f"{pair.ratio:.2f} ({pair.lowest:.2f} to {pair.highest:.2f})",
            f"{pair.target:g} {pair.verdict}",
        )
    return table


if __name__ == "__main__":
    main()
