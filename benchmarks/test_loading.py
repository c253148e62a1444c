"""Loading MovieLens-1M: raw files to tensors against pandas' python engine on the ratings alone, and the cache."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from towerzoo.benchmarks.pairs import Pair, alternate
from towerzoo.datasets import MovieLens1M


@pytest.fixture
def folder() -> Path:
    """The official files."""
    path = Path(os.environ.get("TOWERZOO_DATA", "/nowhere")) / "ml-1m"
    if not path.is_dir():
        pytest.skip("TOWERZOO_DATA holds no ml-1m")
    return path


@pytest.mark.parametrize(("kind", "target"), [("raw", 5.0), ("cached", 25.0)])
def test_load_against_pandas(
    benchmark: Any,
    kind: str,
    target: float,
    folder: Path,
    report: Callable[[Pair], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole star schema is there sooner than pandas has read the ratings."""
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path))

    def ours() -> float:
        if kind == "raw":
            for file in tmp_path.rglob("*.safetensors"):
                file.unlink()
        started = time.perf_counter()
        MovieLens1M(root=str(folder), offline=True).load()
        return 1 / (time.perf_counter() - started)

    def pandas() -> float:
        started = time.perf_counter()
        pd.read_csv(folder / "ratings.dat", sep="::", engine="python", header=None, names=["u", "i", "r", "t"])
        return 1 / (time.perf_counter() - started)

    pair = benchmark.pedantic(
        alternate,
        args=(f"load MovieLens-1M, {kind}", ours, pandas),
        kwargs={"unit": "loads/s", "target": target, "rounds": 3},
    )
    benchmark.extra_info.update(pair.as_dict())
    report(pair)
