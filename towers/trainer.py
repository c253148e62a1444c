"""Lightning's Trainer, as TowerZoo sets it up."""

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


def make_trainer(experiment: Experiment, device: str, **arguments: Any) -> Trainer:
    """Returns a Trainer of an experiment's epochs and its `trainer` arguments.

    Args:
        experiment: The experiment.
        device: `cpu`, `cuda` or `auto`.
        arguments: Further arguments of the Trainer, `callbacks` among them.

    Raises:
        ConfigError: The Trainer does not accept the experiment's arguments.
        TrainingError: There is no such device.
    """
    callbacks = arguments["callbacks"]
    settings = {
        "accelerator": "gpu" if torch_device(device).type == "cuda" else "cpu",
        "devices": 1,
        "max_epochs": experiment.training.max_epochs,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
        **arguments,
    }
    try:
        return Trainer(**(settings | experiment.trainer))
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        expected = "arguments that pytorch_lightning.Trainer accepts"
        raise ConfigError([Problem("trainer", expected, experiment.trainer, str(error))]) from error


def quieten_lightning() -> None:
    """Leaves out Lightning's remarks on hardware and data loaders, which the summary replaces."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*")


def torch_device(device: str) -> torch.device:
    """Returns the device that a name stands for.

    Raises:
        TrainingError: It is `cuda`, and this machine has no GPU that torch can use.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "--device must be a device of this machine, got 'cuda'. Torch finds no GPU; use --device cpu."
        )
    return torch.device(device)
