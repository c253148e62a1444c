"""The file that a suite's records lie in, with what a number needs beside it: machine, versions, commit, date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from towerzoo.benchmarks.measure.origin import Origin
from towerzoo.benchmarks.measure.record import Record
from towerzoo.registry.errors import RunError
from towerzoo.towers.runs.files import told_as_run_error, write_whole

FORMAT = "towerzoo-benchmarks"
VERSION = 1
"""Raised whenever the layout of the file changes; files of another version are refused."""


class Result(BaseModel):
    """One run of a suite.

    Attributes:
        suite: The suite.
        origin: Where its records come from.
        records: What it measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    origin: Origin
    records: list[Record] = Field(min_length=1)

    @property
    def file_name(self) -> str:
        """Name of its file: a suite, a device and a version of torch have one."""
        version = (self.origin.packages.get("torch") or "").partition("+")[0]
        return f"{self.suite}-{self.origin.device_type}-torch{version}.json"


def results_folder() -> Path:
    """Returns the folder of the checked-in results, benchmarks/results; outside a checkout that of the caller."""
    beside = Path(__file__).parents[1]
    # What is installed has no results, and is no place to write them.
    return (beside if (beside.parent / "pyproject.toml").is_file() else Path("benchmarks")) / "results"


def make_folder(folder: Path) -> Path:
    """Makes a folder for results, where it is missing.

    Raises:
        RunError: The folder cannot be made, or something else has its name.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} must be a folder, got a file. Choose another place for the results.")
    with told_as_run_error(folder, "a folder that can be written"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_result(result: Result, folder: Path) -> Path:
    """Writes a result into a folder, in place of an earlier one of its suite, device and version of torch.

    Raises:
        RunError: The folder cannot be written.
    """
    file = make_folder(folder) / result.file_name
    content = {"format": FORMAT, "version": VERSION, **result.model_dump(exclude_none=True)}
    # What None says of an origin is to be read there.
    content["origin"] = result.origin.model_dump()
    write_whole(file, json.dumps(content, indent=1) + "\n")
    return file


def read_result(file: Path) -> Result:
    """Reads what `write_result` wrote.

    Raises:
        RunError: The file cannot be read, is cut off or foreign, is of another version, or holds no records.
    """
    again = "Measure again with tools/benchmark.py run."
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(
            f"{file} must be a result file that can be read, got {error.strerror!r}. "
            "Give a file of benchmarks/results, or make one with tools/benchmark.py run."
        ) from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file} must be a whole result file in JSON, got {str(error)!r}. {again}") from None
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != FORMAT:
        raise RunError(f"{file} must be a result file of format {FORMAT!r}, got {found!r}. {again}")
    if content.get("version") != VERSION:
        raise RunError(
            f"{file} must be a result file of version {VERSION}, got {content.get('version')!r}. "
            "Measure again with tools/benchmark.py run, or read it with the commit that it names."
        )
    if content.get("records") == []:
        raise RunError(f"{file} must hold records, got none. {again}")
    try:
        return Result.model_validate({key: content[key] for key in content.keys() - {"format", "version"}})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{file}: {where} must be as a result file has it, got {first['msg']!r}. {again}") from None


def read_results(files: list[Path]) -> list[Result]:
    """Reads result files; without any given, all of benchmarks/results.

    Raises:
        RunError: There are none, or one of them is not as it must be.
    """
    chosen = files or sorted(results_folder().glob("*.json"))
    if not chosen:
        raise RunError(
            f"FILES must be result files, got none in {str(results_folder())!r}. Make some with tools/benchmark.py run."
        )
    return [read_result(file) for file in chosen]
