"""Signals that end a measurement in good order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from towerzoo.registry.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
