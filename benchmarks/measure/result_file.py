"""The file of a suite's records, with their machine, versions, commit and date."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from towerzoo.benchmarks.measure.origin import Origin
from towerzoo.benchmarks.measure.record import Record
from towerzoo.registry.errors import RunError
from towerzoo.registry.files import os_errors_as
from towerzoo.towers.runs.files import write_whole


class Result(BaseModel):
    """One run of a suite.

    Attributes:
        format: Marks the file as a result file.
        version: Version of the file's layout, raised whenever it changes; other versions are refused.
        suite: The suite.
        origin: Where its records come from.
        records: What it measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["towerzoo-benchmarks"] = "towerzoo-benchmarks"
    version: Literal[1] = 1
    suite: str
    origin: Origin
    records: list[Record] = Field(min_length=1)

    @property
    def file_name(self) -> str:
        """Name of its file; a suite, a device and a version of torch have one."""
        version = (self.origin.packages.get("torch") or "").partition("+")[0]
        return f"{self.suite}-{self.origin.device_type}-torch{version}.json"


def results_folder() -> Path:
    """Returns the folder of the checked-in results; outside a checkout, benchmarks/results of the working directory."""
    beside = Path(__file__).parents[1]
    # An installed package has no results and is no place to write any.
    return (beside if (beside.parent / "pyproject.toml").is_file() else Path("benchmarks")) / "results"


def make_folder(folder: Path) -> Path:
    """Creates a folder for results if it is missing.

    Raises:
        RunError: The folder cannot be created, or is a file.
    """
    with os_errors_as(RunError, folder, "created"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_result(result: Result, folder: Path) -> Path:
    """Writes a result into a folder, replacing an earlier one of its suite, device and version of torch.

    Raises:
        RunError: The folder cannot be written.
    """
    file = make_folder(folder) / result.file_name
    write_whole(file, result.model_dump_json(indent=1, exclude_none=True) + "\n")
    return file


def read_result(file: Path) -> Result:
    """Reads a file that `write_result` wrote.

    Raises:
        RunError: The file cannot be read, or is no whole result file of this version.
    """
    try:
        return Result.model_validate_json(file.read_bytes())
    except OSError as error:
        problem = error.strerror or str(error)
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    raise RunError(
        f"{file} must be a result file of this version of TowerZoo, got {problem!r}. "
        "Measure again with tools/measure/benchmark.py run, or give a file of benchmarks/results."
    )


def read_results(files: list[Path]) -> list[Result]:
    """Reads result files; without any given, all of benchmarks/results.

    Raises:
        RunError: There are none, or one of them is invalid.
    """
    chosen = files or sorted(results_folder().glob("*.json"))
    if not chosen:
        raise RunError(
            f"There are no result files in {results_folder()}. Make some with tools/measure/benchmark.py run."
        )
    return [read_result(file) for file in chosen]
