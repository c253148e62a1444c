"""Runs suites, each in a pytest of its own, and keeps what they measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from towerzoo.benchmarks.measure.result_file import Result, make_folder, write_result
from towerzoo.benchmarks.suites.options import SuiteOptions
from towerzoo.registry.errors import Interrupted, RunError, name_hint
from towerzoo.registry.extras import require_extra

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FOLDER = Path(__file__).parent
PREFIX = "test_"


def interruption(number: int) -> Interrupted:
    """Returns what a command tells of a signal."""
    return Interrupted(
        f"{signal.Signals(number).name} ended the measurement. What was not done yet was not written.", number
    )


@contextmanager
def raised_signals() -> Iterator[None]:
    """Turns SIGINT and SIGTERM into an Interrupted while the block runs, so that all it opened is closed."""

    def receive(number: int, frame: FrameType | None) -> None:
        raise interruption(number)

    before = {number: signal.signal(number, receive) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def suite_names(folder: Path = FOLDER) -> list[str]:
    """Returns the names of all suites."""
    return sorted(file.stem.removeprefix(PREFIX) for file in folder.glob(f"{PREFIX}*.py"))


def require_suites(names: Sequence[str], folder: Path = FOLDER, *, where: str = "SUITES") -> list[str]:
    """Returns the named suites; without names, all of them.

    Args:
        names: Their names.
        folder: Where the suites are.
        where: The argument that names them.

    Raises:
        RunError: There are no such suites; all of them are told.
        ExtraError: pytest is not installed.
    """
    known = suite_names(folder)
    problems = [
        f"{where} must be suites of benchmarks, got {name!r}. {name_hint(name, known, 'Suites')}"
        for name in dict.fromkeys(names)
        if name not in known
    ]
    if problems:
        raise RunError("\n".join(problems))
    require_extra("bench", "measure")
    return list(dict.fromkeys(names)) or known


@raised_signals()
def run_suite(
    suite: str, options: SuiteOptions, *, folder: Path = FOLDER, environment: Mapping[str, str] | None = None
) -> Result:
    """Runs one suite; pytest's own output is shown as it comes.

    Args:
        suite: Its name.
        options: What to measure.
        folder: Where the suites are.
        environment: Variables that the process gets beside those of this one.

    Raises:
        RunError: A test failed, or nothing was measured.
        Interrupted: SIGINT or SIGTERM came, here or to pytest.
    """
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "measured.json"
        command = [
            *(sys.executable, "-m", "pytest", str(folder / f"{PREFIX}{suite}.py")),
            *("--import-mode=importlib", "-p", "no:cacheprovider", "-q", "-rs"),
            *("--benchmark-only", "--benchmark-quiet", f"--benchmark-json={file}"),
            *options.as_arguments(),
        ]
        variables = {**os.environ, **(environment or {})}
        if variables.get("TOWERZOO_DATA"):
            variables["TOWERZOO_DATA"] = str(Path(variables["TOWERZOO_DATA"]).expanduser().absolute())
        # Not in the folder of the caller, from which `-m` would import modules of any name.
        with subprocess.Popen(command, cwd=temporary, env=variables) as process:
            try:
                status = process.wait()
            except Interrupted:
                process.terminate()
                raise
        number = -status if status < 0 else status - 128
        if number in SIGNALS:
            raise interruption(number)
        if status:
            raise RunError(
                f"suite {suite} must pass, got exit status {status} of pytest. "
                "Its results were not written; the failure is above."
            )
        text = file.read_text() if file.exists() else ""  # empty or none where every test was skipped
        measured = json.loads(text) if text else {"benchmarks": []}
    records = [benchmark["extra_info"] for benchmark in measured["benchmarks"]]
    if not records:
        raise RunError(
            f"suite {suite} must measure something on {options.device_type}, got no records. "
            "Its tests were skipped for the reasons above."
        )
    return Result.model_validate({"suite": suite, "origin": measured["origin"], "records": records})


def run_suites(
    suites: Sequence[str],
    options: SuiteOptions,
    out: Path,
    *,
    tell: Callable[[str], None],
    run: Callable[[str, SuiteOptions], Result] = run_suite,
) -> None:
    """Runs suites and writes a file for each that passes.

    Args:
        suites: Their names.
        options: What to measure.
        out: Folder of the files.
        tell: Takes a line for each file that was written.
        run: Runs one suite.

    Raises:
        RunError: The folder cannot be made, said before anything runs; a suite failed, said after all others have run;
            or a file cannot be written.
        Interrupted: A signal ended a suite; those after it do not run.
    """
    # Before the minutes that measuring takes.
    make_folder(out)
    failures = []
    for suite in suites:
        try:
            result = run(suite, options)
        except RunError as error:
            failures.append(str(error))
            tell(f"failed: {error}")
            continue
        tell(f"results: {write_result(result, out)}")
    if failures:
        raise RunError("\n".join(failures))
