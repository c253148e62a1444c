"""The records of shipped configs: the results of their runs, against which later runs are checked."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from towerzoo.registry.checks import check_experiment
from towerzoo.registry.config import config_folder, load_config, shipped_configs
from towerzoo.registry.errors import RunError, one_line
from towerzoo.registry.yaml_file import write_yaml
from towerzoo.towers.metrics.plan import PAIR_METRICS, Figures, main_metrics, mode
from towerzoo.towers.runs.documents import Environment, Metrics
from towerzoo.towers.runs.files import write_whole
from towerzoo.towers.runs.folder import RunFolder

HEADINGS: Final = {"auc": "AUC", "recall@10": "Recall@10", "ndcg@10": "NDCG@10"}
"""Headings of metrics that differ from their name."""
TOLERANCES: Final = {"loss": 0.004, "auc": 0.002, "accuracy": 0.003}
TOLERANCE: Final = 0.005
"""How much worse than a record's mean a run may be; several times the spread between seeds on MovieLens-1M."""
LEFT_OPEN: Final = "auto"
"""The value of a config that is chosen by device."""


class RecordedRun(BaseModel):
    """One finished run of a shipped config: test figures of its best epoch, wall time of training, and where it ran."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    test: Figures
    epochs: int
    seconds: float
    device: str
    threads: int
    torch: str
    commit: str
    date: str


class Record(BaseModel):
    """The results of a config: its runs, one a seed, on one protocol, and how much worse than their mean a run may be.

    `published` holds the figures of the original's publication.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    published: Figures | None = None
    tolerance: Figures
    fingerprint: str
    runs: list[RecordedRun] = Field(min_length=1)

    @property
    def metrics(self) -> list[str]:
        """The metrics that all runs have."""
        return [name for name in self.runs[0].test if all(name in run.test for run in self.runs)]

    @property
    def mean(self) -> Figures:
        """Mean of each metric over the runs."""
        return {name: statistics.fmean(run.test[name] for run in self.runs) for name in self.metrics}

    @property
    def spread(self) -> Figures | None:
        """Sample standard deviation of each metric over the runs; None for a single run."""
        if len(self.runs) < 2:
            return None
        return {name: statistics.stdev(run.test[name] for run in self.runs) for name in self.metrics}


@dataclass(frozen=True)
class Comparison:
    """One metric of a run against its record: the actual value, the record's mean, and how much worse it may be."""

    metric: str
    actual: float
    expected: float
    tolerance: float

    @property
    def reached(self) -> bool:
        """Whether the run is no worse than expected, within the tolerance."""
        worse = self.expected - self.actual if mode(self.metric) == "max" else self.actual - self.expected
        return worse <= self.tolerance


def results_file() -> Path:
    """Returns the path of the shipped records, configs/results.yaml."""
    return config_folder() / "results.yaml"


def read_records(path: Path | None = None) -> dict[str, Record]:
    """Returns the records by the config's name; an empty dict if there is no file.

    Raises:
        RunError: The file is malformed.
    """
    file = path or results_file()
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        return {name: Record.model_validate(record) for name, record in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, AttributeError) as error:
        raise RunError(f"{file} is not a file of records: {one_line(error)}. Restore it from git.") from None


def write_records(records: Mapping[str, Record], path: Path | None = None) -> None:
    """Writes all records.

    Raises:
        RunError: The file cannot be written.
    """
    content = {name: record.model_dump(exclude_none=True) for name, record in records.items()}
    heading = "# Results of the shipped configs. Written by tools/measure/results.py; README's table is made from it.\n"
    write_whole(path or results_file(), heading + write_yaml(content))


def add_run(records: dict[str, Record], run: RunFolder) -> None:
    """Adds a finished run under its config's name, in place of an earlier one of the same seed.

    Raises:
        RunError: The run is not finished, has no clean commit, differs from the shipped config of its name, or follows
            another protocol than the record.
    """
    metrics, about = run.read(Metrics), run.read(Environment)
    if about.commit is None or about.commit.endswith("+"):
        raise RunError(f"{run.path} was not trained at a clean commit but at {about.commit}. Commit, then train.")
    _require_shipped_config(run)
    recorded = RecordedRun(
        seed=about.seed,
        test={name: round(value, 5) for name, value in metrics.test.items()},
        epochs=metrics.epochs,
        seconds=metrics.train_seconds,
        device=about.device,
        threads=about.threads,
        torch=str(about.packages.get("torch")),
        commit=about.commit,
        date=about.started[:10],
    )
    record = records.get(run.name)
    if record is None:
        tolerance = {name: TOLERANCES.get(name, TOLERANCE) for name in main_metrics(recorded.test)}
        records[run.name] = Record(tolerance=tolerance, fingerprint=metrics.fingerprint, runs=[recorded])
        return
    require_fingerprint(metrics.fingerprint, record)
    others = [other for other in record.runs if other.seed != recorded.seed]
    runs = sorted([*others, recorded], key=lambda other: other.seed)
    records[run.name] = record.model_copy(update={"runs": runs})


def _require_shipped_config(run: RunFolder) -> None:
    """Raises a RunError if a run's config differs from the shipped one of its name, except in seed and data folder."""
    shipped = next((file for file in shipped_configs() if file.stem == run.name), None)
    if shipped is None:
        return
    actual, expected = (dict(_leaves(check_experiment(load_config(f)).model_dump())) for f in (run.config, shipped))
    compared = {*actual, *expected} - {"seed", "data.root", "data.offline"}
    different = [key for key in sorted(compared) if expected.get(key) not in (actual.get(key), LEFT_OPEN)]
    if different:
        raise RunError(
            f"{run.path} differs from the shipped config {run.name} in {', '.join(different)}. "
            "Train it as it is, or under another name."
        )


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, child in value.items():
        if isinstance(child, Mapping):
            yield from _leaves(child, f"{path}{key}.")
        else:
            yield f"{path}{key}", child


def require_fingerprint(fingerprint: str, record: Record) -> None:
    """Raises a RunError unless a run follows the protocol of a record."""
    if fingerprint != record.fingerprint:
        raise RunError(
            f"The run has protocol {fingerprint}, and the record {record.fingerprint}. "
            "Results on other data, labels or splits cannot be compared."
        )


def compare(metrics: Mapping[str, Any], record: Record) -> list[Comparison]:
    """Compares a run's metrics.json with a record.

    Raises:
        RunError: The run follows another protocol than the record.
    """
    require_fingerprint(metrics["fingerprint"], record)
    mean = record.mean
    return [
        Comparison(name, metrics["test"][name], mean[name], tolerance)
        for name, tolerance in record.tolerance.items()
        if name in mean
    ]


def results_table(records: Mapping[str, Record]) -> str:
    """Returns the records as Markdown tables, one for each set of metrics that they are judged by."""
    tables: dict[tuple[str, ...], dict[str, Record]] = {} if records else {PAIR_METRICS: {}}
    for name, record in records.items():
        judged = tuple(metric for metric in record.tolerance if metric in record.metrics)
        tables.setdefault(judged, {})[name] = record
    text = "\n".join(_table(metrics, chunk) for metrics, chunk in tables.items())
    runs = [run for record in records.values() for run in record.runs]
    if runs:
        devices, commits, dates = (sorted({getattr(run, key) for run in runs}) for key in ("device", "commit", "date"))
        span = " to ".join(dict.fromkeys((dates[0], dates[-1])))
        text += f"\nMean ± standard deviation over seeds; {', '.join(devices)}; commit {', '.join(commits)}; {span}.\n"
    return text


def _table(metrics: Sequence[str], records: Mapping[str, Record]) -> str:
    names = [HEADINGS.get(metric, metric) for metric in metrics]
    published = any(record.published for record in records.values())
    header = ["config", f"test {names[0]}", *names[1:], "seeds", "epochs", "minutes"]
    header += [f"published {' / '.join(names)}"] if published else []
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for name, record in records.items():
        mean, spread = record.mean, record.spread
        cells = [f"`{name}.yaml`"]
        cells += [f"{mean[metric]:.4f}" + (f" ± {spread[metric]:.4f}" if spread else "") for metric in metrics]
        cells += [str(len(record.runs)), ", ".join(str(run.epochs) for run in record.runs)]
        cells.append(f"{statistics.mean(run.seconds for run in record.runs) / 60:.1f}")
        if published:
            # With as many digits as the publication has.
            figures = [(metric, record.published[metric]) for metric in metrics] if record.published else []
            cells.append(" / ".join(f"{value:.{3 if metric == 'loss' else 4}f}" for metric, value in figures) or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "".join(f"{line}\n" for line in lines)
