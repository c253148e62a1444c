"""Runs suites, each in its own pytest process, and keeps their results."""

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
    """Returns the exception for a signal."""
    return Interrupted(f"{signal.Signals(number).name} ended the measurement. Unfinished results are not kept.", number)


@contextmanager
def raised_signals() -> Iterator[None]:
    """Raises Interrupted on SIGINT and SIGTERM while the block runs, so that everything it opened is closed."""

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


def require_suites(names: Sequence[str]) -> list[str]:
    """Returns the given suites, or all of them if none is given.

    Raises:
        RunError: Some suites do not exist; the message names them all.
        ExtraError: pytest is not installed.
    """
    known = suite_names()
    if problems := [
        f"a suite must be a file of benchmarks/suites, got {name!r}. {name_hint(name, known, 'Suites')}"
        for name in dict.fromkeys(names)
        if name not in known
    ]:
        raise RunError("\n".join(problems))
    require_extra("bench", "measure")
    return list(dict.fromkeys(names)) or known


@raised_signals()
def run_suite(
    suite: str, options: SuiteOptions, *, folder: Path = FOLDER, environment: Mapping[str, str] | None = None
) -> Result:
    """Runs one suite; pytest's output is shown as it comes.

    Args:
        suite: Its name.
        options: What to measure.
        folder: The folder of the suites.
        environment: Variables added to the environment of the process.

    Raises:
        RunError: A test failed, or nothing was measured.
        Interrupted: This process or pytest received SIGINT or SIGTERM.
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
        # An empty working directory: `-m` imports modules from it first.
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
            raise RunError(f"Suite {suite} failed with exit status {status}, see above. Its results are not kept.")
        text = file.read_text() if file.exists() else ""  # empty or missing if every test was skipped
    measured = json.loads(text or '{"benchmarks": []}')
    records = [benchmark["extra_info"] for benchmark in measured["benchmarks"]]
    if not records:
        raise RunError(f"Suite {suite} measured nothing on {options.device_type}: its tests were skipped, see above.")
    return Result.model_validate({"suite": suite, "origin": measured["origin"], "records": records})


def run_suites(
    suites: Sequence[str],
    options: SuiteOptions,
    out: Path,
    *,
    report: Callable[[str], None],
    run: Callable[[str, SuiteOptions], Result] = run_suite,
) -> None:
    """Runs suites and writes a file for each that passes.

    Args:
        suites: Their names.
        options: What to measure.
        out: Folder of the files.
        report: Receives a line for each suite.
        run: Runs one suite.

    Raises:
        RunError: The folder cannot be created, a suite failed (raised after all others have run), or a file cannot be
            written.
        Interrupted: A signal ended a suite; later ones do not run.
    """
    # Before the minutes that measuring takes.
    make_folder(out)
    failures = []
    for suite in suites:
        try:
            result = run(suite, options)
        except RunError as error:
            failures.append(str(error))
            report(f"failed: {error}")
            continue
        report(f"results: {write_result(result, out)}")
    if failures:
        raise RunError("\n".join(failures))
