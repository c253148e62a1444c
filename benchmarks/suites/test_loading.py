"""Loading data: MovieLens-1M's raw files and cache against pandas, a merge and encoding; then shuffled batches."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import pytest

from towerzoo.benchmarks.baselines.pandas_loading import load_with_pandas
from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.suites.options import Prepare, thorough
from towerzoo.registry import DATASETS

TARGETS = {"raw": 10.0, "cached": 50.0}


@pytest.mark.parametrize("source", ["raw", thorough("cached")])
def test_load_movielens_1m(
    measure: Measure, source: str, movielens_1m: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole star schema against the ratings with their users' and movies' columns, all as tensors."""
    if movielens_1m is None:
        pytest.skip("MovieLens-1M's files are needed: TOWERZOO_DATA holds no ml-1m, or --events asks for other data")
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


@pytest.mark.parametrize("batch_size", [1_024, thorough(2_048), thorough(4_096), 8_192, thorough(16_384), 32_768])
def test_epoch_of_batches(measure: Measure, batch_size: int, prepare: Prepare) -> None:
    """The batch loader alone: the whole batches of an epoch, reshuffled each time."""
    _, data = prepare("tanh_bn", f"data.batch_size={batch_size}")
    loader = data.train_batches()
    whole = len(data.train_rows) // batch_size
    if not whole:
        pytest.skip("the data has no whole batch of this size")

    def epoch() -> None:
        for _ in islice(loader, whole):
            pass

    measure.calls(epoch, samples=whole * batch_size)
