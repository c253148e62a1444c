"""Loading MovieLens-1M: raw files to tensors, and the cache, against pandas' python engine, a merge and encoding."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from towerzoo.benchmarks.baselines.pandas_loading import load_with_pandas
from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.suites.options import thorough
from towerzoo.registry import DATASETS

TARGETS = {"raw": 10.0, "cached": 50.0}


@pytest.mark.parametrize("source", ["raw", thorough("cached")])
def test_load_movielens_1m(
    measure: Measure, source: str, movielens_1m: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole star schema against the ratings with their users' and movies' columns, all as tensors."""
    if movielens_1m is None:
        pytest.skip("it reads MovieLens-1M's files: TOWERZOO_DATA holds no ml-1m, or --events asks for others")
    folder = movielens_1m
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path))

    def ours() -> float:
        if source == "raw":
            for file in tmp_path.rglob("*.safetensors"):
                file.unlink()
        started = time.perf_counter()
        DATASETS.build({"name": "movielens-1m", "root": str(folder), "offline": True}).load()
        return 1 / (time.perf_counter() - started)

    def pandas() -> float:
        started = time.perf_counter()
        load_with_pandas(folder)
        return 1 / (time.perf_counter() - started)

    measure.pair(ours, pandas, unit="loads/s", target=TARGETS[source])
