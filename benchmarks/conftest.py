"""The data of the suites, and the report of their paired ratios."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from towerzoo.benchmarks.pairs import Pair

PAIRS = pytest.StashKey[list[Pair]]()


@pytest.fixture(scope="session")
def overrides() -> list[str]:
    """Overrides that make the shipped configs run here: generated data of MovieLens-1M's size where that is absent."""
    if (Path(os.environ.get("TOWERZOO_DATA", "/nowhere")) / "ml-1m").is_dir():
        return []
    world = (
        "{name: synthetic, users: 6040, items: 3706, interactions: 1000209, label: {positive_from: 4}, split: random}"
    )
    return [f"data={world}"]


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[Pair], None]:
    """Takes a pair into the report at the end of the session."""
    return request.config.stash.setdefault(PAIRS, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the paired ratios."""
    pairs = config.stash.get(PAIRS, [])
    if pairs:
        terminalreporter.section("paired ratios: median (lowest to highest)")
        for pair in pairs:
            terminalreporter.line(str(pair))
