"""What the suites of steps time: no step that compiles, and only the work of a step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn

from towerzoo.benchmarks.measure import training_epoch
from towerzoo.benchmarks.measure.measuring import measure_module
from towerzoo.benchmarks.measure.training_epoch import COMPILING_STEPS, Clock, epoch_rate
from towerzoo.towers.model.build import load_data
from towerzoo.towers.training import module


@pytest.mark.parametrize(
    ("execution", "batch_size", "trained", "skipped"),
    [
        ("eager", 64, 2, 0),
        ("compile", 64, 2 + COMPILING_STEPS, COMPILING_STEPS),
        ("compile", 600, 2, 1),  # an epoch has no more steps
    ],
)
def test_compiling_steps_are_not_timed(make_experiment, monkeypatch, execution, batch_size, trained, skipped):
    seen = []

    class Seen(Clock):
        def on_train_end(self, trainer, pl_module):
            super().on_train_end(trainer, pl_module)
            seen.append((trainer.global_step, self.skip))

    monkeypatch.setattr(training_epoch, "Clock", Seen)
    monkeypatch.setitem(module.EXECUTIONS, "compile", None)
    experiment = make_experiment(data={"batch_size": batch_size}, training={"execution": execution})
    data = load_data(experiment)
    assert epoch_rate(experiment, data, steps=2, device="cpu") > 0
    assert seen == [(trained, skipped)]


def test_the_clock_stops_before_the_model_leaves_its_device(make_experiment, monkeypatch):
    clocks = []
    teardown = SingleDeviceStrategy.teardown

    class Kept(Clock):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            clocks.append(self)

    def checked(strategy):
        assert clocks[0].seconds > 0
        teardown(strategy)

    monkeypatch.setattr(training_epoch, "Clock", Kept)
    monkeypatch.setattr(SingleDeviceStrategy, "teardown", checked)
    experiment = make_experiment()
    assert epoch_rate(experiment, load_data(experiment), steps=2, device="cpu") > 0


def test_gradients_do_not_accumulate_over_the_steps_of_a_part():
    given = torch.ones(3, 2, requires_grad=True)
    seen = []

    class Twice(nn.Module):
        def forward(self, values):
            seen.append(values)
            return 2 * values

    def three_times(step, **_):
        for _ in range(3):
            step()

    measure_module(SimpleNamespace(device="cpu", calls=three_times), Twice(), given, batch_size=3)
    assert given.grad is None
    assert torch.equal(seen[-1].grad, torch.full((3, 2), 2.0))
