"""How much one client may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What the service takes; more is refused, with the limit in the answer.

    Attributes:
        items: Items of one answer, >= 1.
        body: Bytes of a request's body, >= 1.
        batch: Questions that the model answers at once, >= 1.
        waiting: Questions that may wait for the model, >= 1; at the rates of one process more would be answered late.
    """

    items: int = 100
    body: int = 64 << 10
    batch: int = 64
    waiting: int = 1024
