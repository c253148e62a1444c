"""Train, evaluate and load runs from Python: what the commands do, one call each."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from towerzoo.registry.config import Config, Overrides
from towerzoo.registry.errors import ConfigError, DataError, Problem, RunError, one_line
from towerzoo.towers.runs.documents import Metrics
from towerzoo.towers.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from rich.console import Console

    from towerzoo.towers.recommend.recommender import Recommender

TABLES: Final = {
    "interactions": "data.interactions.files",
    "valid": "data.interactions.valid",
    "test": "data.interactions.test",
    "users": "data.users.files",
    "items": "data.items.files",
}
"""The tables that can be DataFrames, and the keys of a config that name their files."""


@dataclass(frozen=True)
class Run:
    """A run folder. Every function and every command that takes a run takes it as it is.

    Attributes:
        path: The folder.
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json: `valid`, `test`, `baselines`, `best_epoch`, `protocol` and more."""
        return RunFolder(self.path).read(Metrics).model_dump()

    @property
    def epochs(self) -> pd.DataFrame:
        """The figures of each epoch."""
        import pandas as pd

        from towerzoo.towers.runs.epochs import read_epochs

        table: pd.DataFrame = pd.DataFrame(read_epochs(RunFolder(self.path)))
        return table


def train(
    config: Config,
    *,
    overrides: Overrides | None = None,
    tables: Mapping[str, pd.DataFrame | pa.Table] | None = None,
    out: str | PathLike[str] = "runs",
    name: str | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Run:
    """Trains a config and tests its best weights.

    Args:
        config: A YAML file, the name of a shipped config such as `tanh_bn`, or the config as a dict.
        overrides: Values by key path, such as `{"training.max_epochs": 3}`, or `KEY.PATH=VALUE` texts.
        tables: DataFrames of the dataset `tabular`, in place of its `files`: `interactions`, `users` and `items`, and
            for a split of your own `valid` and `test`. They are saved as Parquet files in `out/tables`.
        out: Folder of all runs; the run is `out/NAME/TIME`.
        name: Name of the run; by default that of the config file, or `experiment` for a dict.
        device: `cpu`, `cuda` or `auto`, which takes a GPU if there is one.
        progress: Whether to print what `tools/train.py` prints.

    Returns:
        The finished run.

    Raises:
        ConfigError: The config or an override is wrong; the message lists all problems.
        DataError: The data is missing or wrong.
        TrainingError: The device is missing, or the loss is not finite.
        Interrupted: A signal stopped training; `resume` continues it.
    """
    from towerzoo.towers.model.build import read_experiment
    from towerzoo.towers.recipes import train as recipe
    from towerzoo.towers.training.rules import TRAINING_RULES

    if not isinstance(config, str | PathLike | Mapping):
        raise ConfigError([Problem("config", "a path, the name of a shipped config or a dict", config)])
    files = _save_tables(tables or {}, Path(out) / "tables")
    name = name or ("experiment" if isinstance(config, Mapping) else Path(config).stem)
    try:
        experiment, _ = read_experiment(config, _changes(overrides, files), TRAINING_RULES)
        with warnings.catch_warnings():
            run = recipe.train(experiment, name=name, out=Path(out), device=device, console=_console(progress))
    except DataError as error:
        message = str(error)
        for table, key in TABLES.items():
            message = message.replace(files.get(key, "\0"), f"tables[{table!r}]")
        raise DataError(message) from error
    return Run(run.path)


def resume(
    run: str | PathLike[str],
    *,
    overrides: Overrides | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Run:
    """Continues an interrupted run after its last finished epoch, or a finished one with more epochs.

    Args:
        run: The run folder.
        overrides: Changes of its config, such as `{"training.max_epochs": 20}`.
        device: `cpu`, `cuda` or `auto`.
        progress: Whether to print what `tools/train.py` prints.

    Raises:
        RunError: There is nothing left to train, or a file of the run is missing or damaged.
    """
    from towerzoo.towers.model.build import read_experiment
    from towerzoo.towers.recipes import train as recipe
    from towerzoo.towers.training.rules import TRAINING_RULES

    folder = RunFolder.open(Path(run), unfinished=True)
    experiment, _ = read_experiment(folder.config, _changes(overrides), TRAINING_RULES)
    with warnings.catch_warnings():
        recipe.resume(folder, experiment, device=device, console=_console(progress))
    return Run(folder.path)


def evaluate(
    run: str | PathLike[str],
    *,
    overrides: Overrides | None = None,
    mask: Sequence[str] = (),
    by: Sequence[str] = (),
    shots: Sequence[int] = (),
    device: str = "auto",
) -> dict[str, Any]:
    """Tests the weights of a finished run on its data, and stores the figures in its metrics.json.

    Args:
        run: The run folder.
        overrides: Changes of its config, such as `{"data.root": "/data"}` on another machine.
        mask: Features whose values are hidden from the model; nothing is stored then.
        by: Columns of users or items, or `user-warmth`, `item-warmth`, `popularity`, for figures of slices.
        shots: For figures of new users with the last k events of their histories only.
        device: `cpu`, `cuda` or `auto`.

    Returns:
        The content of metrics.json, with `valid`, `test` and `baselines`; with `by` also `slices`, with `shots` also
        `shots`.

    Raises:
        RunError: A file of the run is missing or damaged, or the data is not that of the run.
    """
    from towerzoo.towers.recipes.evaluate import evaluate_run

    with warnings.catch_warnings():
        return evaluate_run(
            RunFolder.open(Path(run)), _changes(overrides), device=device, mask=mask, by=by, shots=shots
        )


def load(run: str | PathLike[str], *, device: str = "cpu", index: bool = False) -> Recommender:
    """Opens a finished run to recommend, to find similar items and to explain.

    Args:
        run: The run folder, or a folder of runs, whose newest finished run is opened.
        device: `cpu`, `cuda` or `auto`.
        index: Whether to search the index that `tools/index.py` saved into the run.

    Raises:
        RunError: A file of the run is missing or damaged.
    """
    from towerzoo.towers.recommend.recommender import Recommender

    return Recommender.open(run, device=device, index=index)


def _changes(overrides: Overrides | None, files: Mapping[str, str] | None = None) -> Overrides:
    """Returns overrides with those of a config's files after them."""
    if isinstance(overrides, str):
        overrides = [overrides]
    if overrides is None:
        return dict(files or {})
    if isinstance(overrides, Mapping):
        return {**overrides, **(files or {})}
    return [*overrides, *(f"{key}={json.dumps(path)}" for key, path in (files or {}).items())]


def _save_tables(tables: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Writes tables as Parquet files that are named by their content, and returns the files by their keys of a config.

    Raises:
        ConfigError: A table has another name, or is not a table.
        DataError: A column cannot be written as Parquet, such as one of mixed types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from towerzoo.registry.files import os_errors_as
    from towerzoo.towers.runs.files import write_whole

    files = {}
    for name, frame in tables.items():
        if name not in TABLES:
            raise ConfigError([Problem("tables", f"named {', '.join(TABLES)}", name)])
        try:
            table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
            # Categories are values like others, and what pandas notes about the index is not content.
            plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema]
            sink = pa.BufferOutputStream()
            pq.write_table(table.cast(pa.schema(plain)), sink)
        except pa.ArrowException as error:
            raise DataError(f"tables[{name!r}] cannot be written as Parquet: {one_line(error)}.") from error
        except (AttributeError, TypeError):
            expected = "a pandas.DataFrame or a pyarrow.Table"
            raise ConfigError([Problem(f"tables[{name!r}]", expected, frame)]) from None
        content = sink.getvalue().to_pybytes()
        path = folder.absolute() / f"{hashlib.sha256(content).hexdigest()[:16]}.parquet"
        if not path.exists():
            with os_errors_as(RunError, folder, "created"):
                folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
        files[TABLES[name]] = str(path)
    return files


def _console(progress: bool) -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, quiet=not progress)
