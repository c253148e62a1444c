"""The bare loop in a process of its own, whose memory and threads are as torch sets them and not as TowerZoo does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

from towerzoo.benchmarks.bare_loop import BareLoop
from towerzoo.registry.errors import RunError
from towerzoo.towers.assembly import load_data, read_experiment

CONFIG = "tanh_bn_dropout_first"
"""The config whose data and batch size the loop takes."""


class BareProcess:
    """Runs the bare loop whenever it is asked to, and sleeps in between.

    Args:
        device: `cpu` or `cuda`.
        overrides: Overrides of the config, for its data.
    """

    def __init__(self, device: str, overrides: Sequence[str]) -> None:
        command = [sys.executable, "-m", "towerzoo.benchmarks.bare_process", device, *overrides]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self, steps: int) -> float:
        """Trains a new model for some steps and returns samples a second.

        Raises:
            RunError: The process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # there will be no answer either
        answer = self._process.stdout.readline()
        if not answer:
            raise RunError(
                f"the process of the bare loop must answer, got exit status {self._process.wait()}. Its error is above."
            )
        return float(answer)

    def __enter__(self) -> BareProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Its input ends, so that it does.
        self._process.communicate()


def serve(device: str, overrides: Sequence[str]) -> None:
    """Answers each line of the input, a number of steps, by a line with the rate."""
    experiment, _ = read_experiment(CONFIG, overrides)
    data = load_data(experiment)
    size = experiment.data.batch_size
    loop = BareLoop(data.schema, data.labels, data.split.train, batch_size=size, device=device)
    for line in sys.stdin:
        sys.stdout.write(f"{loop.rate(int(line))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
