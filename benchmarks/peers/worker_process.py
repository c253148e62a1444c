"""The driver's side of a worker: starts it, asks it, and tells what became of it when it does not answer."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from towerzoo.benchmarks.peers.settings import Settings
from towerzoo.benchmarks.peers.systems import WORKERS, System
from towerzoo.registry.errors import PeerError

FIGURES: Final = {
    "prepare": ("seconds", "samples"),
    "train": ("seconds", "samples"),
    "evaluate": ("seconds", "samples", "auc"),
    "time-to-auc": ("seconds", "auc", "epochs", "reached"),
}
"""What each command's answer must hold."""
LEAST, MOST = 1e-9, 1e15
"""What a figure may be, so that rates of it are finite and above 0."""
TAIL: Final = 8
"""Lines of a dead worker's standard error that are shown."""


class WorkerProcess:
    """A worker of a system, in a process of its own, that answers one command at a time.

    Args:
        system: The system.
        settings: What it is told at its start.
        patience: Seconds to wait for an answer.

    Attributes:
        versions: Versions of the system's packages.
        started: When the process was started, by time.perf_counter.

    Raises:
        PeerError: The system is not installed, or its worker does not start.
    """

    def __init__(self, system: System, settings: Settings, *, patience: float = 3600.0) -> None:
        self.system, self.patience = system, patience
        self._scratch = tempfile.TemporaryDirectory(prefix="towerzoo-peers-", ignore_cleanup_errors=True)
        scratch = Path(self._scratch.name)
        threads = str(settings.threads)
        self._errors = (scratch / "stderr.txt").open("w+b")
        self.started = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                [str(system.python), str(WORKERS / "serve.py"), str(system.worker)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                cwd=scratch,  # libraries leave folders of logs behind
                env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
            )
        except OSError as error:
            self._errors.close()
            self._scratch.cleanup()
            raise PeerError(
                f"{system.name} must have a Python that starts, got {error.strerror!r} of {str(system.python)!r}. "
                "Run make bench-peers, set PEERS_VENV to the peers' environment, or leave it out of --peers."
            ) from None
        try:
            self.versions: dict[str, str] = self._ask(settings.line(system, scratch), "its settings", ("versions",))[
                "versions"
            ]
        except BaseException:
            self.close()
            raise

    def ask(self, command: str) -> dict[str, Any]:
        """Returns the figures that a command gave.

        Args:
            command: A key of `FIGURES`.

        Raises:
            PeerError: The worker died, gave no answer in time, or one that cannot be read.
        """
        answer = self._ask(command, repr(command), FIGURES[command])
        for name in FIGURES[command]:
            value = answer[name]
            if name != "reached" and not (isinstance(value, int | float) and LEAST <= value <= MOST):
                raise PeerError(
                    f"{self.system.name}'s {name} in the answer to {command!r} must be a number from {LEAST:g} to "
                    f"{MOST:g}, got {value!r:.120}. Look at {self.system.worker}."
                )
        return answer

    def close(self) -> None:
        """Ends the process and removes its folder."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            stream.close()
        self._scratch.cleanup()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, line: str, what: str, names: tuple[str, ...]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(line.encode() + b"\n")
        except OSError:
            raise self._death(what) from None
        if not select.select([stdout], [], [], self.patience)[0]:
            raise PeerError(
                f"{self.system.name} must answer {what} within {self.patience:g} s, got nothing. "
                "Ask for fewer --steps, or leave it out of --peers."
            )
        # A worker writes a line at once, and only when it was asked.
        content = stdout.readline()
        if not content.endswith(b"\n"):
            raise self._death(what)
        try:
            answer = json.loads(content)
            missing = [name for name in names if name not in answer]
            assert isinstance(answer, dict)
        except (ValueError, TypeError, AssertionError):
            missing = list(names)
        if missing:
            raise PeerError(
                f"{self.system.name}'s answer to {what} must be a line of JSON with {', '.join(names)}, "
                f"got {content[:120].decode(errors='replace').strip()!r}. Look at {self.system.worker}."
            )
        return dict(answer)

    def _death(self, what: str) -> PeerError:
        status = self._process.wait()
        self._errors.seek(0)
        # Progress bars write over their line with carriage returns.
        lines = self._errors.read().decode(errors="replace").replace("\r", "\n").strip().splitlines()
        tail = "\n".join(f"    {line}" for line in lines[-TAIL:])
        return PeerError(
            f"{self.system.name} must answer {what}, got the end of its process with status {status}. "
            f"The last lines of its standard error:\n{tail or '    (none)'}"
        )
