"""Something that is measured in a process of its own, whenever it is asked to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from types import TracebackType

from towerzoo.registry.errors import RunError


class RateProcess:
    """A process with its own memory, threads and settings, that sleeps between measurements.

    Args:
        module: The module to run; its main block calls `answer_rates`.
        arguments: Its arguments.
    """

    def __init__(self, module: str, arguments: Iterable[str]) -> None:
        self.module = module
        command = [sys.executable, "-m", module, *arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the process that asks
        )

    def rate(self, steps: int) -> float:
        """Runs some steps and returns samples a second.

        Raises:
            RunError: The process has ended.
        """
        return float(self._ask(str(steps)))

    def peak_memory(self) -> int | None:
        """Returns the most bytes that the process has had resident above those after its imports, where known.

        Raises:
            RunError: The process has ended.
        """
        bytes_or_unknown = int(self._ask(MEMORY))
        return None if bytes_or_unknown < 0 else bytes_or_unknown

    def _ask(self, question: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{question}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # there will be no answer either
        answer = self._process.stdout.readline()
        if not answer:
            raise RunError(
                f"the process of {self.module} must answer, got exit status {self._process.wait()}. Its error is above."
            )
        return answer

    def __enter__(self) -> RateProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


MEMORY = "memory"


def answer_rates(rate: Callable[[int], float], peak_memory: Callable[[], int | None]) -> None:
    """Answers each line of the input: a number of steps by their rate, and `memory` by the peak in bytes, or -1."""
    for line in sys.stdin:
        peak = peak_memory() if line.strip() == MEMORY else None
        answer = rate(int(line)) if line.strip() != MEMORY else -1 if peak is None else peak
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
