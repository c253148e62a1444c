"""The records of shipped configs: what their runs gave, against which later runs are checked."""

from __future__ import annotations

import importlib.resources
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from towerzoo.registry.config import shipped_configs
from towerzoo.registry.errors import RunError
from towerzoo.registry.yaml_file import write_yaml
from towerzoo.towers.device import AUTO
from towerzoo.towers.metrics.plan import PAIR_METRICS, Figures, in_order, main_metrics, mode
from towerzoo.towers.model.build import read_experiment
from towerzoo.towers.runs.documents import Environment, Metrics
from towerzoo.towers.runs.files import write_whole
from towerzoo.towers.runs.folder import RunFolder

HEADINGS: Final = {"auc": "AUC", "recall@10": "Recall@10", "ndcg@10": "NDCG@10"}
"""How tables call metrics, where that differs from their name."""

TOLERANCES: Final = {"loss": 0.004, "auc": 0.002, "accuracy": 0.003}
TOLERANCE: Final = 0.005
"""How much worse than a record's mean a run may be; several times the spread between seeds on MovieLens-1M."""


class RecordedRun(BaseModel):
    """One finished run of a shipped config.

    Attributes:
        seed: The experiment's seed.
        test: Its test figures, of the best epoch's weights.
        epochs: Epochs that were trained.
        seconds: Wall time of training and validation, without loading.
        device: What it ran on.
        threads: CPU threads that torch used.
        torch: Version of torch.
        commit: TowerZoo's commit.
        date: Day on which it finished.
    """

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
    """What is known of a config's results.

    Attributes:
        published: The figures of the original's publication.
        tolerance: How much worse than the mean a run may be, by metric.
        fingerprint: Digest of the protocol that all runs share.
        runs: The runs, a seed each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    published: Figures | None = None
    tolerance: Figures
    fingerprint: str
    runs: list[RecordedRun] = Field(min_length=1)

    @property
    def mean(self) -> Figures:
        """Mean of each metric over the runs."""
        return {name: statistics.fmean(self._values(name)) for name in self.metrics}

    @property
    def spread(self) -> Figures | None:
        """Sample standard deviation of each metric over the runs; None of a single run."""
        if len(self.runs) < 2:
            return None
        return {name: statistics.stdev(self._values(name)) for name in self.metrics}

    @property
    def metrics(self) -> list[str]:
        """The metrics that all runs have."""
        return [name for name in self.runs[0].test if all(name in run.test for run in self.runs)]

    def _values(self, metric: str) -> list[float]:
        return [run.test[metric] for run in self.runs]


@dataclass(frozen=True)
class Comparison:
    """One metric of a run against its record.

    Attributes:
        metric: Its name.
        found: The run's value.
        expected: The record's mean.
        tolerance: How much worse the run may be.
    """

    metric: str
    found: float
    expected: float
    tolerance: float

    @property
    def reached(self) -> bool:
        """Whether the run is no worse than expected, within the tolerance."""
        worse = self.expected - self.found if mode(self.metric) == "max" else self.found - self.expected
        return worse <= self.tolerance


def results_file() -> Path:
    """Returns the path of the shipped records, configs/results.yaml."""
    return Path(str(importlib.resources.files("towerzoo.configs") / "results.yaml"))


def read_records(path: Path | None = None) -> dict[str, Record]:
    """Returns the records by the config's name; none where there is no file yet.

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
        raise RunError(f"{file} must be a file of records, got {error}. Restore it from git.") from None


def write_records(records: dict[str, Record], path: Path | None = None) -> None:
    """Writes all records, in the configs' order of first entry.

    Raises:
        RunError: The file cannot be written.
    """
    file = path or results_file()
    content = {name: record.model_dump(exclude_none=True) for name, record in records.items()}
    heading = "# Results of the shipped configs. Written by tools/results.py; README's table is made from it.\n"
    write_whole(file, heading + write_yaml(content))


def add_run(records: dict[str, Record], run: RunFolder) -> None:
    """Enters a finished run under its config's name, in place of an earlier one of the same seed.

    Raises:
        RunError: The run is not finished, has no clean commit, differs from the shipped config of its name, or follows
            another protocol than the record.
    """
    metrics, about = run.read(Metrics), run.read(Environment)
    if about.commit is None or about.commit.endswith("+"):
        raise RunError(
            f"{run.path} was trained at commit {about.commit}, which is not a clean one. Commit, then train."
        )
    _require_shipped_config(run)
    recorded = RecordedRun(
        seed=about.seed,
        test={name: round(value, 5) for name, value in metrics.test.items()},
        epochs=metrics.epochs,
        seconds=metrics.train_seconds,
        device=about.device,
        threads=about.threads,
        torch=about.packages.torch,
        commit=about.commit,
        date=about.started[:10],
    )
    before = records.get(run.name)
    if before is None:
        tolerance = {name: TOLERANCES.get(name, TOLERANCE) for name in main_metrics(recorded.test)}
        records[run.name] = Record(tolerance=tolerance, fingerprint=metrics.fingerprint, runs=[recorded])
        return
    require_fingerprint(metrics.fingerprint, before)
    others = [other for other in before.runs if other.seed != recorded.seed]
    runs = sorted([*others, recorded], key=lambda other: other.seed)
    records[run.name] = before.model_copy(update={"runs": runs})


def _require_shipped_config(run: RunFolder) -> None:
    """Raises a RunError where a run's config differs from the shipped one of its name in more than seed and place.

    What the shipped one leaves to the device is that of the run.
    """
    shipped = next((file for file in shipped_configs() if file.stem == run.name), None)
    if shipped is None:
        return
    own, theirs = (dict(_leaves(read_experiment(file)[0].model_dump())) for file in (run.config, shipped))
    left_open = {key for key, value in theirs.items() if value == AUTO}
    keys = sorted({*own, *theirs} - {"seed", "data.root", "data.offline"} - left_open)
    different = [key for key in keys if own.get(key) != theirs.get(key)]
    if different:
        raise RunError(
            f"{run.path} must be of the shipped config {run.name} to be recorded, got other values of "
            f"{', '.join(different)}. Train it as it is, or under another name."
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


def compare(metrics: dict[str, Any], record: Record) -> list[Comparison]:
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


def results_table(records: dict[str, Record]) -> str:
    """Returns the records as Markdown tables, one for each set of metrics that they are judged by."""
    tables: dict[tuple[str, ...], dict[str, Record]] = {} if records else {PAIR_METRICS: {}}
    for name, record in records.items():
        judged = tuple(in_order(metric for metric in record.metrics if metric in record.tolerance))
        tables.setdefault(judged, {})[name] = record
    lines = "\n\n".join("\n".join(_table(metrics, some)) for metrics, some in tables.items()).splitlines()
    commits = ", ".join(sorted({run.commit for record in records.values() for run in record.runs}))
    dates = sorted({run.date for record in records.values() for run in record.runs})
    devices = ", ".join(sorted({run.device for record in records.values() for run in record.runs}))
    if dates:
        span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        lines += ["", f"Mean ± standard deviation over seeds; {devices}; commit {commits}; {span}."]
    return "\n".join(lines) + "\n"


def _table(metrics: Sequence[str], records: Mapping[str, Record]) -> list[str]:
    names = [HEADINGS.get(metric, metric) for metric in metrics]
    published = any(record.published for record in records.values())
    last = [f"published {' / '.join(names)}"] if published else []
    header = ["config", f"test {names[0]}", *names[1:], "seeds", "epochs", *last]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for name, record in records.items():
        mean, spread = record.mean, record.spread
        cells = [f"`{name}.yaml`"]
        cells += [f"{mean[metric]:.4f}" + (f" ± {spread[metric]:.4f}" if spread else "") for metric in metrics]
        cells += [str(len(record.runs)), ", ".join(str(run.epochs) for run in record.runs)]
        if published:
            figures = record.published
            cells.append(" / ".join(_told(metric, figures[metric]) for metric in metrics) if figures else "-")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _told(metric: str, value: float) -> str:
    """Returns a published figure with the digits that it was published with."""
    return f"{value:.3f}" if metric == "loss" else f"{value:.4f}"
