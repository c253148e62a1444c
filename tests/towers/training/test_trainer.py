from __future__ import annotations

import inspect

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer

from towerzoo.registry.errors import ConfigError, TrainingError
from towerzoo.registry.experiment import TrainerOptions
from towerzoo.towers.device import torch_device
from towerzoo.towers.training import trainer as trainer_module
from towerzoo.towers.training.trainer import make_trainer


@pytest.mark.parametrize(("available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_prefers_a_gpu(monkeypatch, available, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert torch_device("auto").type == expected
    assert torch_device("cpu").type == "cpu"


def test_a_missing_gpu_is_reported(monkeypatch, make_experiment):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = r"--device must be a device of this machine, got 'cuda'\. Torch finds no GPU; use --device cpu\."
    with pytest.raises(TrainingError, match=message):
        torch_device("cuda")
    with pytest.raises(TrainingError, match=message):
        make_trainer(make_experiment(), "cuda", callbacks=[], logger=False)


def test_the_options_of_a_config_reach_the_trainer(make_experiment):
    options = {"gradient_clip_val": 0.5, "accumulate_grad_batches": 3, "precision": "bf16-mixed", "devices": 2}
    options |= {"deterministic": "warn", "profiler": "simple", "limit_train_batches": 0.5, "num_sanity_val_steps": 2}
    experiment = make_experiment(trainer=options, training={"max_epochs": 4})
    trainer = make_trainer(experiment, "cpu", callbacks=[], logger=False)
    assert trainer.gradient_clip_val == 0.5
    assert trainer.accumulate_grad_batches == 3
    assert trainer.precision == "bf16-mixed"
    assert trainer.max_epochs == 4
    assert trainer.limit_train_batches == 0.5
    assert trainer.num_devices == 1


def test_every_option_is_an_argument_of_the_trainer_with_the_same_default():
    """Or one that TowerZoo sets itself; what is left at its default is not passed on."""
    parameters = inspect.signature(Trainer.__init__).parameters
    towerzoo = {"devices": 1, "enable_model_summary": False, "enable_progress_bar": False, "num_sanity_val_steps": 0}
    none_means = {
        "deterministic": False,
        "gradient_clip_algorithm": "norm",
        "log_every_n_steps": 50,
        "precision": "32-true",
    }
    for name, field in TrainerOptions.model_fields.items():
        default = (towerzoo | none_means).get(name, parameters[name].default)
        assert (field.default, name in parameters) == (default, True), name
    assert TrainerOptions.reserved.keys() <= parameters.keys()


def test_options_that_lightning_refuses_together_are_reported_with_its_reason(make_experiment, monkeypatch):
    monkeypatch.setattr(trainer_module, "Trainer", refuse)
    with pytest.raises(ConfigError, match=r"^trainer must be .* accepts, got \{'detect_anomaly': True\}\.\n    No\.$"):
        make_trainer(make_experiment(trainer={"detect_anomaly": True}), "cpu", callbacks=[], logger=False)


def refuse(**arguments):
    raise MisconfigurationException("No.")
