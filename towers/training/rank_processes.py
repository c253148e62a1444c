"""Starts, watches and ends the processes of the other ranks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Final

import torch
from torch import distributed
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from towerzoo.registry.errors import TowerZooError, TrainingError
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.ranks import Ranks

HOST: Final = "127.0.0.1"
FOLLOWER: Final = ("-m", "towerzoo.towers.training.follower")
LONGEST_WAIT: Final = timedelta(hours=12)
"""Longest time that ranks wait for each other, such as for the first one's validation; a dead rank shows at once."""
GRACE: Final = 10.0
"""Seconds for the failure of a rank to show in the others, and for ranks to end."""


@contextmanager
def several_ranks(
    run: RunFolder, size: int, device: torch.device, program: Sequence[str] = FOLLOWER
) -> Iterator[Ranks]:
    """Starts the other ranks of a run; this process is the first.

    The others need only the run folder. They end with this process, however it ends.

    Args:
        run: The run, with its config and tables.
        size: Number of ranks; 1 starts no process.
        device: The first rank's device; on GPUs, rank 1 uses the second GPU, and so on.
        program: Arguments of Python that start another rank, followed by those of `follower.py`.

    Raises:
        TrainingError: A rank ended before the others; the message holds its last lines of output.
    """
    if size == 1:
        yield Ranks()
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // size))
    store = TCPStore(HOST, 0, size, is_master=True, wait_for_workers=False, timeout=LONGEST_WAIT)
    others: list[_Follower] = []
    watch = _Watch(others)
    try:
        for rank in range(1, size):
            others.append(_Follower(rank, [*program, run.path.absolute(), rank, size, store.port, device.type]))
        _wait_until_ready(store, others)
        ranks = join(store, 0, size, device)
        watch.start()
        yield ranks
        watch.over.set()
        for other in others:
            other.wait(GRACE)
    except TowerZooError:
        raise
    except Exception as error:  # such as of a message to a rank that has ended
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and all(other.ended is None for other in others):
            time.sleep(0.1)
        _require_alive(others, error)
        raise
    finally:
        watch.over.set()
        for other in others:
            other.end()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        torch.set_num_threads(threads)


def join(store: Store, rank: int, size: int, device: torch.device) -> Ranks:
    """Joins the process group, once all ranks have."""
    if device.type == "cuda":
        torch.cuda.set_device(rank)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)
    return Ranks(rank, size)


def ready_key(rank: int) -> str:
    """Returns the key of the store that a rank sets once it has its data and model."""
    return f"ready/{rank}"


class _Follower:
    """The process of another rank."""

    def __init__(self, rank: int, arguments: Sequence[object]) -> None:
        self.rank = rank
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `end`)
        threads = str(torch.get_num_threads())
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, *map(str, arguments)],
            stdin=subprocess.PIPE,  # its end of file signals that this process has ended
            stdout=self._output,
            stderr=self._output,
            env={**os.environ, "OMP_NUM_THREADS": threads},
            start_new_session=True,  # Ctrl-C goes to the first rank, which ends the others
        )

    @property
    def ended(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> None:
        """Waits until it ends, or the time is over."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def last_lines(self) -> str:
        """Returns the last 20 lines of its output."""
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return "\n".join(f"    {line}" for line in lines[-20:])

    def end(self) -> None:
        """Kills it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._output.close()


def _wait_until_ready(store: Store, others: Sequence[_Follower]) -> None:
    waiting = [ready_key(other.rank) for other in others]
    while not store.check(waiting):
        _require_alive(others, None)
        time.sleep(0.05)


def _require_alive(others: Sequence[_Follower], error: Exception | None) -> None:
    for other in others:
        if other.ended:
            raise TrainingError(_failure(other)) from error


def _failure(other: _Follower) -> str:
    lines = other.last_lines() or "    (none)"
    return (
        f"The process of rank {other.rank} ended with exit status {other.ended}. "
        f"Fix its error and continue with --resume. Its last output:\n{lines}"
    )


class _Watch(threading.Thread):
    """Ends this process if another rank has ended and this one keeps waiting for it, as happens on GPUs."""

    def __init__(self, others: Sequence[_Follower]) -> None:
        super().__init__(daemon=True)
        self.others = others
        self.over = threading.Event()

    def run(self) -> None:
        """Checks twice a second."""
        while not self.over.wait(0.5):
            for other in self.others:
                if other.ended and not self.over.wait(2 * GRACE):
                    sys.stderr.write(f"error: {_failure(other)}\n")
                    sys.stderr.flush()
                    os._exit(1)
