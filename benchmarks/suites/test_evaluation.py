"""Pair evaluation: the test split through the trainer, loss, AUC and accuracy included."""

from __future__ import annotations

import time

from towerzoo.benchmarks.measure.measuring import Measure
from towerzoo.benchmarks.measure.roofline import synchronize
from towerzoo.benchmarks.suites.options import Prepare
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module
from towerzoo.towers.training.trainer import make_trainer


def test_pair_evaluation(measure: Measure, device: str, prepare: Prepare) -> None:
    """The dropout-first structure, from encoding the first user to the last metric."""
    experiment, data = prepare("tanh_bn_dropout_first")
    module, batches = build_module(experiment, data.schema), DataModule(data)
    trainer = make_trainer(experiment, device, callbacks=[], logger=False)

    def test() -> float:
        synchronize(device)
        started = time.perf_counter()
        trainer.test(module, batches, verbose=False)
        synchronize(device)
        return len(data.split.test) / (time.perf_counter() - started)

    measure.rate(test, unit="pairs/s")
