"""Scaling: training over the number of events and over the size of the catalogue, each in its own process."""

from __future__ import annotations

import contextlib

import pytest

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.measure.processes import scaled_process
from towerzoo.benchmarks.suites.options import thorough

USERS, ITEMS = 20_000, 10_000
STEPS = 100
LARGEST_SHARE = 0.9
"""The rate on more events should be at least this share of the rate on a million."""


@pytest.mark.parametrize("rows", [thorough(1_000_000), thorough(10_000_000), thorough(100_000_000)])
def test_training_over_events(measure: Measure, device: str, rows: int) -> None:
    """The dropout-first structure at batch 1,024, in alternation with a million events of the same users and items."""
    with contextlib.ExitStack() as processes:
        one, many = (
            processes.enter_context(scaled_process(users=USERS, items=ITEMS, interactions=n, device=device))
            for n in (1_000_000, rows)
        )
        measure.pair(
            lambda: many.rate(STEPS),
            lambda: one.rate(STEPS),
            target=LARGEST_SHARE,
            memory=lambda: many.peak_memory,
            users=USERS,
        )


@pytest.mark.parametrize("sparse", [False, thorough(True)])
@pytest.mark.parametrize("catalogue", [4_000, thorough(100_000), thorough(1_000_000)])
def test_training_over_items(measure: Measure, device: str, catalogue: int, sparse: bool) -> None:
    """A million events; a step updates every item's vector with dense gradients, only its batch's with sparse ones."""
    settings = ["item_tower.features.movie_id.sparse=true", "user_tower.features.user_id.sparse=true"]
    process = scaled_process(
        users=USERS, items=catalogue, interactions=1_000_000, device=device, overrides=settings if sparse else []
    )
    with process:
        measure.rate(lambda: process.rate(STEPS), memory=lambda: process.peak_memory)
