"""Measurements in a process of their own, with its own memory, threads and settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

import torch

from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.training_epoch import epoch_rate
from towerzoo.registry.errors import RunError
from towerzoo.towers.device import settle_process
from towerzoo.towers.model.build import load_data, read_experiment

CONFIG = "tanh_bn_dropout_first"
MEMORY = "memory"


class RateProcess:
    """A process that measures on request and sleeps in between.

    Args:
        module: The module to run; its main block calls `answer_rates`.
        arguments: Its arguments.
    """

    def __init__(self, module: str, arguments: Iterable[str]) -> None:
        self.module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C reaches the parent alone
        )

    def rate(self, steps: int) -> float:
        """Runs some steps and returns samples a second.

        Raises:
            RunError: The process has ended.
        """
        return float(self._ask(str(steps)))

    def peak_memory(self) -> int | None:
        """Returns the peak of the process's resident bytes above those after its imports, or None if it is unknown.

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
            pass  # then there is no answer either
        answer = self._process.stdout.readline()
        if not answer:
            raise RunError(f"{self.module} ended with exit status {self._process.wait()}. Its error is above.")
        return answer

    def __enter__(self) -> RateProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def answer_rates(rate: Callable[[int], float], peak_memory: Callable[[], int | None]) -> None:
    """Answers each line of standard input: a number of steps with their rate, `memory` with the peak in bytes or -1."""
    for line in sys.stdin:
        peak = peak_memory() if line.strip() == MEMORY else None
        answer = rate(int(line)) if line.strip() != MEMORY else -1 if peak is None else peak
        sys.stdout.write(f"{answer}\n")
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
