"""The driver's side of a worker: starts it, asks it, and reports why it does not answer."""

from __future__ import annotations

import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from towerzoo.benchmarks.measure.processes import LineProcess
from towerzoo.benchmarks.peers.systems import WORKERS, Settings, System
from towerzoo.registry.errors import PeerError

FIGURES: Final = ("seconds", "samples", "auc", "epochs")
"""The figures of answers, which must be positive."""
TAIL: Final = 8
"""Lines of a dead worker's standard error that are shown."""


class WorkerProcess(LineProcess):
    """A system's worker in its own process, which answers one command at a time.

    Args:
        system: The system.
        settings: The settings of the run.
        patience: Seconds to wait for an answer.

    Attributes:
        versions: Versions of the system's packages.
        started: The time.perf_counter() at which the process was started.

    Raises:
        PeerError: The system is not installed, or its worker does not start.
    """

    def __init__(self, system: System, settings: Settings, *, patience: float = 3600.0) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="towerzoo-peers-", ignore_cleanup_errors=True)
        scratch, threads = Path(self._scratch.name), str(settings.threads)
        self._errors = (scratch / "stderr.txt").open("w+b")
        self.started = time.perf_counter()
        try:
            super().__init__(
                system.name,
                [str(system.python), str(WORKERS / "serve.py"), str(system.worker)],
                patience=patience,
                stderr=self._errors,
                cwd=scratch,  # libraries leave folders of logs behind
                env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
            )
        except OSError as error:
            self._errors.close()
            self._scratch.cleanup()
            raise PeerError(
                f"{system.name} has no Python at {system.python}: {error.strerror}. "
                "Run make bench-peers, set PEERS_VENV to the peers' environment, or leave it out."
            ) from None
        try:
            self.versions: dict[str, str] = self.ask_line(settings.line(system, scratch), "its settings")["versions"]
        except BaseException:
            self.close()
            raise

    def ask(self, command: str) -> dict[str, Any]:
        """Returns the answer to `prepare`, `train`, `evaluate` or `time-to-auc`.

        Raises:
            PeerError: The worker died, or gave no valid answer in time.
        """
        answer: dict[str, Any] = self.ask_line(command, repr(command))
        for name in answer.keys() & FIGURES:
            if not 0 < answer[name] < math.inf:
                raise PeerError(
                    f"{self.name}'s {name} in the answer to {command!r} must be positive, got {answer[name]}."
                )
        return answer

    def last_words(self) -> str:
        """Returns the last lines of the process's standard error."""
        self._errors.seek(0)
        # Progress bars overwrite their line with carriage returns.
        lines = self._errors.read().decode(errors="replace").replace("\r", "\n").strip().splitlines()
        return "The last lines of its standard error:\n" + "\n".join(f"    {line}" for line in lines[-TAIL:])

    def close(self) -> None:
        """Ends the process and removes its folder."""
        super().close()
        self._errors.close()
        self._scratch.cleanup()
