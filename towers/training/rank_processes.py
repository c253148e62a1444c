"""The processes of several ranks: starts those beside this one, looks after them, and ends them."""

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
"""How long ranks wait for each other, such as for the first one's validation; a rank that died is told at once."""
GRACE: Final = 10.0
"""Seconds in which the failure of one rank shows in the others, and in which they end."""


@contextmanager
def several_ranks(
    run: RunFolder, size: int, device: torch.device, program: Sequence[str] = FOLLOWER
) -> Iterator[Ranks]:
    """Lets a run be trained by several ranks, of which this process is the first.

    The others are processes of their own that need nothing but the run folder. They end with this one, however it ends.

    Args:
        run: The run, with its config and tables.
        size: How many ranks; one is this process alone.
        device: Where the first one computes; on a GPU, rank 1 takes the second GPU, and so on.
        program: Arguments of Python that start another rank; those of `follower.py` go behind them.

    Raises:
        TrainingError: A rank ended before the others; with its last words.
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
    except Exception as error:  # what a message to a rank that has ended gives
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
    """Waits for all ranks and returns what this one does with them."""
    if device.type == "cuda":
        torch.cuda.set_device(rank)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)
    return Ranks(rank, size)


def ready_key(rank: int) -> str:
    """Returns the key that a rank sets in the store when it has data and model."""
    return f"ready/{rank}"


class _Follower:
    """A process of another rank."""

    def __init__(self, rank: int, arguments: Sequence[object]) -> None:
        self.rank = rank
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `end`)
        threads = str(torch.get_num_threads())
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, *map(str, arguments)],
            stdin=subprocess.PIPE,  # whose end tells it that this process has ended
            stdout=self._words,
            stderr=self._words,
            env={**os.environ, "OMP_NUM_THREADS": threads},
            start_new_session=True,  # Ctrl-C is for the first rank, which ends the others
        )

    @property
    def ended(self) -> int | None:
        """Its exit status, once it has ended."""
        return self._process.poll()

    def wait(self, seconds: float) -> None:
        """Waits for its end."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def last_words(self) -> str:
        """Returns the end of what it has printed."""
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return "\n".join(f"    {line}" for line in lines[-20:])

    def end(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._words.close()


def _wait_until_ready(store: Store, others: Sequence[_Follower]) -> None:
    waiting = [ready_key(other.rank) for other in others]
    while not store.check(waiting):
        _require_alive(others, None)
        time.sleep(0.05)


def _require_alive(others: Sequence[_Follower], error: Exception | None) -> None:
    for other in others:
        if other.ended:
            raise TrainingError(_trouble(other)) from error


def _trouble(other: _Follower) -> str:
    words = other.last_words() or "    (none)"
    return (
        f"rank {other.rank} must train as long as the others, got exit status {other.ended} from its process. "
        f"Go on with --resume once its trouble is mended. Its last words:\n{words}"
    )


class _Watch(threading.Thread):
    """Ends this process where another rank has ended and this one waits for it without noticing, as on GPUs."""

    def __init__(self, others: Sequence[_Follower]) -> None:
        super().__init__(daemon=True)
        self.others = others
        self.over = threading.Event()

    def run(self) -> None:
        """Looks twice a second."""
        while not self.over.wait(0.5):
            for other in self.others:
                if other.ended and not self.over.wait(2 * GRACE):
                    sys.stderr.write(f"error: {_trouble(other)}\n")
                    sys.stderr.flush()
                    os._exit(1)
