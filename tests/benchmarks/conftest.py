"""Made-up records and results, as suites leave them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from towerzoo.benchmarks.measure.origin import Origin, here
from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.measure.result_file import Result
from towerzoo.benchmarks.measure.roofline import Roofline

ORIGIN = here(
    "cpu", data="movielens-1m", quick=False, roofline=Roofline(float32=177e9, bf16=411e9, copy_rate=2e10)
).model_copy(update={"commit": "0123456789", "date": "2026-01-02"})


@pytest.fixture(scope="session")
def origin() -> Origin:
    """The origin of made-up results: this machine, at a clean commit."""
    return ORIGIN


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """Makes a record of 10,000 samples/s with a spread of 10 %, or with the given fields."""

    def make(value: float = 10_000.0, **changes: Any) -> Record:
        fields = {"suite": "training", "name": "training step", "params": {"batch_size": 1024}, "unit": "samples/s"}
        return Record.of([0.9 * value, value, 1.1 * value], **{**fields, **changes})

    return make


@pytest.fixture(scope="session")
def make_result(make_record: Callable[..., Record]) -> Callable[..., Result]:
    """Makes a result of some records, with changes to its origin."""

    def make(*records: Record, suite: str = "training", **changes: Any) -> Result:
        return Result(suite=suite, origin=ORIGIN.model_copy(update=changes), records=list(records) or [make_record()])

    return make
