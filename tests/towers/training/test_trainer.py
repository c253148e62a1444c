from __future__ import annotations

import pytest
import torch

from towerzoo.registry.errors import ConfigError, TrainingError
from towerzoo.towers.device import torch_device
from towerzoo.towers.training.trainer import make_trainer


@pytest.mark.parametrize(("available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, available, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert torch_device("auto").type == expected
    assert torch_device("cpu").type == "cpu"


def test_a_missing_gpu_is_told(monkeypatch, make_experiment):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = r"--device must be a device of this machine, got 'cuda'\. Torch finds no GPU; use --device cpu\."
    with pytest.raises(TrainingError, match=message):
        torch_device("cuda")
    with pytest.raises(TrainingError, match=message):
        make_trainer(make_experiment(), "cuda", callbacks=[], logger=False)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"precision": "foo"}, "Precision 'foo' is invalid"),
        ({"gradient_clip_val": "x"}, "should be an int or a float"),
        ({"gradient_clip_algorithm": "foo"}, "Allowed algorithms"),
        ({"profiler": "foo"}, "profiler"),
        ({"benchmark": "foo"}, "expects a bool"),
        ({"limit_train_batches": -3}, "limit_train_batches"),
    ],
    ids=str,
)
def test_bad_arguments_are_told_with_lightnings_reason(make_experiment, arguments, reason):
    with pytest.raises(ConfigError) as told:
        make_trainer(make_experiment(trainer=arguments), "cpu", callbacks=[], logger=False)
    head, hint = str(told.value).split("\n", 1)
    assert head == f"trainer must be arguments that pytorch_lightning.Trainer accepts, got {arguments}."
    assert reason in hint


def test_the_persons_arguments_reach_the_trainer(make_experiment):
    arguments = {"gradient_clip_val": 0.5, "accumulate_grad_batches": 3, "precision": "bf16-mixed"}
    experiment = make_experiment(trainer=arguments, training={"max_epochs": 4})
    trainer = make_trainer(experiment, "cpu", callbacks=[], logger=False)
    assert trainer.gradient_clip_val == 0.5
    assert trainer.accumulate_grad_batches == 3
    assert trainer.precision == "bf16-mixed"
    assert trainer.max_epochs == 4


def test_they_win_over_towerzoos_own(make_experiment):
    assert make_trainer(make_experiment(), "cpu", callbacks=[], logger=False).num_sanity_val_steps == 0
    sane = make_experiment(trainer={"num_sanity_val_steps": 2})
    assert make_trainer(sane, "cpu", callbacks=[], logger=False).num_sanity_val_steps == 2
