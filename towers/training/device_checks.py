"""What a config may not ask for where several devices train, since its batches could not be divided exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.metrics.plan import has_candidates
from towerzoo.towers.training.trainer import DEVICES, n_devices

ONE_DEVICE = "Or train on one device: trainer.devices=1."


def devices_problem(document: Document, trainer: Mapping[str, Any]) -> Problem | None:
    """Returns what is wrong with the number of devices in the `trainer` section."""
    found = trainer.get(DEVICES, 1)
    if isinstance(found, int) and not isinstance(found, bool) and found >= 1:
        return None
    hint = "Write how many processes train together, each on a device of its own."
    return Problem(document.where(("trainer", DEVICES)), "a whole number >= 1", found, hint)


def device_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what a checked experiment asks of several devices and cannot have, before anything is read."""
    devices, problems = n_devices(experiment), []
    if experiment.data.batch_size < devices:
        expected, hint = f"at least the {devices} of trainer.devices", "Each device trains a share of the batch."
        where = document.where(("data", "batch_size"))
        problems.append(Problem(where, expected, experiment.data.batch_size, hint))
    if devices > 1 and str(experiment.trainer.get("precision", "")).startswith("16"):
        hint = f"Each device would scale its loss by itself. Try bf16-mixed. {ONE_DEVICE}"
        where = document.where(("trainer", "precision"))
        expected = "one of bfloat16 or float32 where several devices train"
        problems.append(Problem(where, expected, experiment.trainer["precision"], hint))
    return problems


def require_divisible(experiment: Experiment, model: nn.Module) -> None:
    """Makes sure that the batches of a model can be divided between the experiment's devices.

    Raises:
        ConfigError: Blocks need statistics, or encoders a mean, of all that the devices encode together.
    """
    if n_devices(experiment) == 1:
        return
    problems = []
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        hint = f"Each device would normalise by its own share of a batch. Take linear-act-dropout. {ONE_DEVICE}"
        expected = "without batch normalisation where several devices train"
        problems.append(Problem("the towers' blocks", expected, "blocks with it", hint))
    penalised = any(getattr(module, "penalty", 0) for module in model.modules() if hasattr(module, "embedding"))
    if penalised and (experiment.training.unique or has_candidates(experiment)):
        hint = f"It is a mean over a batch's distinct users and items, who meet on several devices. {ONE_DEVICE}"
        expected = "0 where several devices train on distinct users and items"
        problems.append(Problem("the penalty of encoder 'embedding'", expected, "more", hint))
    if problems:
        raise ConfigError(problems)
