"""Sets up Lightning's Trainer."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Checkpoint

from towerzoo.registry.errors import ConfigError, Problem, TrainingError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.device import settled_precision, torch_device


def make_trainer(experiment: Experiment, device: str, *, rank: int | None = None, **arguments: Any) -> Trainer:
    """Returns a Trainer with the experiment's epochs and `trainer` arguments, on one device.

    Lightning does not know about other ranks: `GradientSums` keeps their steps equal.

    Args:
        experiment: The experiment.
        device: `cpu`, `cuda` or `auto`.
        rank: Index of the GPU; None means the first one.
        arguments: Further arguments of the Trainer, including `callbacks`.

    Raises:
        ConfigError: The Trainer does not accept the experiment's arguments.
        TrainingError: The device is not available.
    """
    _quieten_lightning()
    experiment = settled_precision(experiment, torch_device(device))
    callbacks = arguments["callbacks"]
    on_gpu = torch_device(device).type == "cuda"
    settings = {
        "accelerator": "gpu" if on_gpu else "cpu",
        "devices": [rank] if on_gpu and rank is not None else 1,
        "max_epochs": experiment.training.max_epochs,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
        **arguments,
    }
    chosen = experiment.trainer.model_dump(exclude={"devices"}, exclude_defaults=True)
    try:
        return Trainer(**(settings | chosen))
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        expected = "arguments that pytorch_lightning.Trainer accepts"
        raise ConfigError([Problem("trainer", expected, chosen, str(error))]) from error


def _quieten_lightning() -> None:
    """Hides Lightning's remarks about hardware and data loaders; TowerZoo prints its own summary."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*It is recommended to use `self.log.*sync_dist.*")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*")


def require_devices(experiment: Experiment, device: str) -> None:
    """Checks that every rank of an experiment has a device.

    Raises:
        TrainingError: There are fewer GPUs than ranks.
    """
    wanted = experiment.trainer.devices
    if torch_device(device).type == "cuda" and wanted > torch.cuda.device_count():
        raise TrainingError(
            f"trainer.devices must be at most the {torch.cuda.device_count()} GPUs that torch finds, got {wanted}. "
            "Lower it, or use --device cpu."
        )
