"""Training speed: an epoch through Lightning against a bare PyTorch loop over the same tensors and model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from towerzoo.benchmarks.pairs import Pair, alternate
from towerzoo.towers.assembly import build_model, load_data, read_experiment
from towerzoo.towers.callbacks import EpochSeeds, FiniteLoss, StopOnSignal
from towerzoo.towers.run_folder import RunFolder
from towerzoo.towers.trainer import make_trainer, quieten_lightning

STEPS = 200


class Clock(Callback):
    """Times the epoch from its start to the end of its last step's bookkeeping."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Starts."""
        self.started = time.perf_counter()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Stops, after the epoch's metrics."""
        self.seconds = time.perf_counter() - self.started


@pytest.mark.parametrize("config", ["tanh_bn_dropout_first"])
def test_lightning_against_a_bare_loop(
    benchmark: Any, config: str, overrides: list[str], report: Callable[[Pair], None], tmp_path: Path
) -> None:
    """Loss, AUC, accuracy, seeds, signals and the check for finite losses cost less than 5 %."""
    quieten_lightning()
    experiment, _ = read_experiment(
        config, [*overrides, "training.max_epochs=1", f"trainer.limit_train_batches={STEPS}"]
    )
    data = load_data(experiment)
    events, rows, size = data.schema.interactions, data.split.train, experiment.data.batch_size
    user, item, label = events.user[rows], events.item[rows], data.labels[rows]

    def through_lightning() -> float:
        clock = Clock()
        callbacks = [EpochSeeds(experiment.seed), FiniteLoss(), StopOnSignal(RunFolder(tmp_path)), clock]
        trainer = make_trainer(experiment, "cpu", callbacks=callbacks, logger=False, limit_val_batches=0)
        trainer.fit(build_model(experiment, data.schema), data)
        return STEPS * size / clock.seconds

    def bare_loop() -> float:
        model = build_model(experiment, data.schema)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        loss_function = torch.nn.BCEWithLogitsLoss()
        model.train()
        started = time.perf_counter()
        order = torch.randperm(len(rows))
        for step in range(STEPS):
            batch = order[step * size : (step + 1) * size]
            loss = loss_function(model(user[batch], item[batch]), label[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return STEPS * size / (time.perf_counter() - started)

    pair = benchmark.pedantic(
        alternate,
        args=(f"train {config}, batch {size}, float32", through_lightning, bare_loop),
        kwargs={"unit": "samples/s", "target": 0.95},
    )
    benchmark.extra_info.update(pair.as_dict())
    report(pair)
