"""Exported towers: the latency of one user's vector."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.suites.options import Prepare
from towerzoo.towers.export.programs import export_tower
from towerzoo.towers.model.build import build_model

CALLS = 1_000


def test_onnx_user_tower(measure: Measure, prepare: Prepare, tmp_path: Path) -> None:
    """One user a call, on one thread, from encoded features to the vector; the time does not depend on the weights."""
    onnxruntime = pytest.importorskip("onnxruntime")
    experiment, data = prepare("tanh_bn")
    users = data.schema.users
    model = build_model(experiment, data.schema).eval().requires_grad_(False)
    programs = export_tower(model.user_tower, model.score, "user", users)
    programs.onnx.save(tmp_path / "user_tower.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(tmp_path / "user_tower.onnx", options, providers=["CPUExecutionProvider"])
    columns = {
        column.name: users.columns[column.name].values.numpy().astype(np.int64) for column in programs.tower.inputs
    }
    requests = [{name: values[row : row + 1] for name, values in columns.items()} for row in range(1, 65)]

    def run() -> float:
        seconds = []
        for call in range(CALLS):
            started = time.perf_counter()
            session.run(None, requests[call % len(requests)])
            seconds.append(time.perf_counter() - started)
        return float(np.median(seconds))

    measure.rate(run, unit="s", memory=False, percentile="p50")
