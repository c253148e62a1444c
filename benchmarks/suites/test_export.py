"""Exported towers: how long one person waits for her factors."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.export.programs import export_tower
from towerzoo.towers.model.build import build_model, read_experiment

CALLS = 1_000


def test_onnx_user_tower(
    measure: Measure, overrides: list[str], load: Callable[[Experiment], TwoTowerData], tmp_path: Path
) -> None:
    """One user a call, on one thread, from encoded features to factors; the time does not depend on the weights."""
    onnxruntime = pytest.importorskip("onnxruntime")
    experiment, _ = read_experiment("tanh_bn", overrides)
    users = load(experiment).schema.users
    model = build_model(experiment, load(experiment).schema).eval().requires_grad_(False)
    programs = export_tower(model.user_tower, model.score, "user", users)
    programs.onnx.save(tmp_path / "user_tower.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(tmp_path / "user_tower.onnx", options, providers=["CPUExecutionProvider"])
    names = [some.name for some in programs.tower.inputs]
    columns = {name: users.columns[name].values.numpy().astype(np.int64) for name in names}
    people = [{name: values[row : row + 1] for name, values in columns.items()} for row in range(1, 65)]

    def run() -> float:
        seconds = []
        for call in range(CALLS):
            started = time.perf_counter()
            session.run(None, people[call % len(people)])
            seconds.append(time.perf_counter() - started)
        return float(np.median(seconds))

    measure.rate(run, unit="s", memory=False, percentile="p50")
