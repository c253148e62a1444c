"""A small generated world, and what it takes to train on it in a test."""

from __future__ import annotations

import functools
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer

from towerzoo.datasets import StarSchema, Synthetic
from towerzoo.registry import imports
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.source_lines import CUSTOM_FILES

# The models of tests are so small that a second thread only waits, and on a busy machine for long. The variable is for
# the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# Nor are these processes workers of this test run: pytest-benchmark measures nothing in one that it takes for such.
os.environ.pop("PYTEST_XDIST_WORKER", None)

WORLD = {"users": 60, "items": 40, "interactions": 1_500, "seed": 3}


@contextmanager
def _room_for(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="session")
def room_for() -> Callable[[int], AbstractContextManager[None]]:
    """Lets no file grow beyond some bytes while its context is open, as on a full disk; Python ignores the signal.

    To be opened around the code under test alone: pytest's own output may go to a file.
    """
    return _room_for


@pytest.fixture(autouse=True)
def own_parts_end_with_their_test() -> Iterator[None]:
    """Forgets the parts that a config's own files registered, so that no later test finds them."""
    yield
    for name in [name for name in sys.modules if name.startswith(CUSTOM_FILES)]:
        imports._forget(name)


@pytest.fixture(scope="session")
def world() -> StarSchema:
    """60 users, 40 items and 1,500 events in the shape of MovieLens; no pair of user and item comes twice."""
    return Synthetic(**WORLD).load()


@pytest.fixture(scope="session")
def quick_exporter() -> Iterator[None]:
    """Lets torch's ONNX exporter read its operators once; by itself it reads them in every export, for two seconds."""
    pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="session")
def make_experiment() -> Callable[..., Experiment]:
    """Makes an experiment on the world, with any of its sections replaced and `data` merged."""

    def make(*, data: dict[str, Any] | None = None, **sections: Any) -> Experiment:
        tower = {
            "block": {"name": "linear-bn-tanh-dropout", "dropout": 0.5},
            "widths": [16, 8],
            "init": "xavier-normal",
        }
        embedding = {"encoder": "embedding", "dim": 4}
        bag = {"encoder": "embedding-bag", "dim": 4, "max_length": 6, "pooling": "mean"}
        standard: dict[str, Any] = {
            "seed": 7,
            "user_tower": {"features": dict.fromkeys(("user_id", "gender", "age", "occupation"), embedding), **tower},
            "item_tower": {"features": {"movie_id": embedding, "genres": bag}, **tower},
            "score": {"name": "cosine", "scale": 10.0},
            "loss": "bce-with-logits",
            "optimizer": {"name": "adam", "lr": 0.01},
        }
        chosen = {
            "name": "synthetic",
            **WORLD,
            "label": {"column": "rating", "positive_from": 4},
            "split": {"name": "random", "fractions": [0.8, 0.1, 0.1]},
            "batch_size": 128,
            **(data or {}),
        }
        return Experiment.model_validate({**standard, **sections, "data": chosen})

    return make


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Makes a Trainer on the CPU that prints and writes nothing."""

    def make(**arguments: Any) -> Trainer:
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        standard = {"accelerator": "cpu", "max_epochs": 1, "default_root_dir": tmp_path, **quiet}
        return Trainer(**{**standard, **arguments})

    return make
