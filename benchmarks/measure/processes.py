"""Measurements in a process of their own, with its own memory, threads and settings."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import torch
from typing_extensions import Self

from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.training_epoch import epoch_rate
from towerzoo.registry.errors import PeerError
from towerzoo.towers.device import settle_process
from towerzoo.towers.model.build import load_data, read_experiment

CONFIG = "tanh_bn_dropout_first"
"""The config that suites train, with generated data here."""


class LineProcess:
    """A process that answers each line on its standard input with a line of JSON, and sleeps in between.

    Args:
        name: Its name in errors.
        command: The command to run.
        patience: Seconds to wait for an answer.
        options: Further arguments of subprocess.Popen.

    Raises:
        OSError: The command cannot be started.
    """

    def __init__(self, name: str, command: Sequence[str], *, patience: float = 3600.0, **options: Any) -> None:
        self.name, self.patience = name, patience
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, **options)

    def ask_line(self, line: str, what: str) -> Any:
        """Returns the answer to a line, which errors call `what`.

        Raises:
            PeerError: The process has ended, or gave no valid answer in time.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(OSError):  # then there is no answer either
            stdin.write(line.encode() + b"\n")
        if not select.select([stdout], [], [], self.patience)[0]:
            raise PeerError(f"{self.name} did not answer {what} within {self.patience:g} s.")
        # Processes write whole lines, and only in answer to one.
        content = stdout.readline()
        if not content.endswith(b"\n"):
            status = self._process.wait()
            raise PeerError(f"{self.name} ended with status {status} instead of answering {what}. {self.last_words()}")
        try:
            return json.loads(content)
        except ValueError:
            raise PeerError(f"{self.name} answered {what} with {content[:120]!r} instead of JSON.") from None

    def last_words(self) -> str:
        """Returns where to find the error of a process that has ended."""
        return "Its error is above."

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RateProcess(LineProcess):
    """A process of a module whose main block calls `answer_rates`.

    Attributes:
        peak_memory: Its peak of resident bytes above those after its imports, or None if it is unknown.
    """

    peak_memory: int | None = None

    def __init__(self, module: str, arguments: Iterable[str]) -> None:
        # In a session of its own, so that Ctrl-C reaches the parent alone.
        super().__init__(module, [sys.executable, "-m", module, *arguments], start_new_session=True)

    def rate(self, steps: int) -> float:
        """Runs some steps and returns samples a second.

        Raises:
            PeerError: The process has ended.
        """
        answer = self.ask_line(str(steps), f"{steps} steps")
        self.peak_memory = answer["peak_memory"]
        return float(answer["rate"])


def answer_rates(rate: Callable[[int], float], peak_memory: Callable[[], int | None]) -> None:
    """Answers each line of standard input, a number of steps, with their rate and the peak of memory."""
    for line in sys.stdin:
        answer = {"rate": rate(int(line)), "peak_memory": peak_memory()}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def scaled_process(
    *, users: int, items: int, interactions: int, device: str, overrides: Sequence[str] = ()
) -> RateProcess:
    """Starts training on generated data of any size.

    Its rate is that of a new model's first steps, its memory that of the data and the training.
    """
    world = f"name: synthetic, users: {users}, items: {items}, interactions: {interactions}"
    data = f"data={{{world}, label: {{positive_from: 4}}, split: random, batch_size: 1024}}"
    return RateProcess("towerzoo.benchmarks.measure.processes", [device, data, *overrides])


if __name__ == "__main__":
    device = sys.argv[1]
    settle_process(torch.device(device))
    peak = PeakMemory(device)
    experiment, _ = read_experiment(CONFIG, sys.argv[2:])
    data = load_data(experiment)
    answer_rates(
        # The first step is skipped: an epoch starts by ordering all its events, which is not part of a step.
        lambda steps: epoch_rate(experiment, data, steps=steps + 1, skip=1, device=device),
        peak.growth,
    )
