"""What a config may not ask of Lightning's Trainer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError
from pytorch_lightning import Trainer
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from towerzoo.registry.errors import ConfigError, Problem, name_hint, nearest
from towerzoo.registry.expectations import expectation
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.ranges import Count, NonNegative
from towerzoo.registry.yaml_file import Document, dotted
from towerzoo.towers.device import AUTO
from towerzoo.towers.metrics.plan import has_candidates
from towerzoo.towers.training.optimizers import built_optimizer
from towerzoo.towers.training.trainer import DEVICES, n_devices

TRAINER_KEYS_SET_ELSEWHERE = {
    "accelerator": "Use --device.",
    "barebones": "TowerZoo logs and saves every epoch.",
    "callbacks": "",
    "check_val_every_n_epoch": "TowerZoo validates after every epoch.",
    "default_root_dir": "Use --out.",
    "enable_checkpointing": "",
    "fast_dev_run": "Use --fast-dev-run.",
    "limit_test_batches": "Results are those of whole splits; use --fast-dev-run to try a config out.",
    "limit_val_batches": "Results are those of whole splits; use --fast-dev-run to try a config out.",
    "logger": "",
    "max_epochs": "Set training.max_epochs.",
    "max_steps": "TowerZoo trains whole epochs; set training.max_epochs or trainer.limit_train_batches.",
    "max_time": "TowerZoo trains whole epochs; set training.max_epochs.",
    "num_nodes": "TowerZoo trains on one machine; set trainer.devices.",
    "overfit_batches": "Results are those of whole splits; set trainer.limit_train_batches.",
    "strategy": "TowerZoo divides batches itself; set trainer.devices.",
    "val_check_interval": "TowerZoo validates after every epoch.",
}
"""Arguments of the Trainer that TowerZoo gives itself, and what a person should use instead."""

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"]
OlderPrecision = Literal[32, 16, 64, "32", "16", "64", "bf16"]

TRAINER_RANGES: Final[dict[str, Any]] = {
    "accumulate_grad_batches": Count,
    "gradient_clip_val": NonNegative | None,
    "limit_train_batches": Count | Annotated[float, Field(gt=0, le=1)] | None,
    "precision": Literal[Precision, OlderPrecision] | None,
}
"""Types of arguments that would end training, or be refused without their place, where the Trainer took them."""


def trainer_problems(document: Document) -> list[Problem]:
    """Returns what is wrong with the `trainer` section, whose keys are arguments of the Trainer."""
    trainer = document.value.get("trainer")
    if not isinstance(trainer, Mapping):
        return []
    known = set(inspect.signature(Trainer.__init__).parameters) - {"self", *TRAINER_KEYS_SET_ELSEWHERE}
    devices = devices_problem(document, trainer)
    problems = [devices] if devices else []
    for key in trainer:
        where = document.where(("trainer", key))
        meant = nearest(key, {*known, *TRAINER_KEYS_SET_ELSEWHERE}) if key not in known else None
        if meant in TRAINER_KEYS_SET_ELSEWHERE:
            hint = TRAINER_KEYS_SET_ELSEWHERE[meant] or "TowerZoo sets this itself; remove it."
            problems.append(Problem(where, "an argument that TowerZoo leaves to you", key, hint))
        elif key not in known:
            expected = "an argument of pytorch_lightning.Trainer"
            problems.append(Problem(where, expected, key, name_hint(key, known, "Arguments")))
        elif key in TRAINER_RANGES:
            try:
                TypeAdapter(TRAINER_RANGES[key]).validate_python(trainer[key], strict=True)
            except ValidationError:
                problems.append(Problem(where, expectation(TRAINER_RANGES[key]), trainer[key]))
    return problems


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


def execution_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what a checked experiment asks of CUDA graphs and cannot have: they are of one size, and of one batch."""
    if experiment.training.execution != "cuda-graphs":
        return []
    where, problems = document.where(("training", "execution")), []
    if _rows_vary(experiment):
        expected = "eager or compile where the distinct users and items of a batch are encoded"
        hint = "They are of another number in each batch, and a graph is not."
        problems.append(Problem(where, expected, "cuda-graphs", hint))
    if experiment.trainer.get("accumulate_grad_batches", 1) != 1:
        expected = "eager or compile where the gradients of several batches are added up"
        hint = "A graph writes those of the next batch over them. Or remove trainer.accumulate_grad_batches."
        problems.append(Problem(where, expected, "cuda-graphs", hint))
    return problems


def require_gpu(experiment: Experiment, device: torch.device) -> None:
    """Makes sure that the device gains by how the towers are executed.

    Raises:
        ConfigError: They are to be compiled for a CPU, where that takes away TowerZoo's own faster operations.
    """
    chosen = experiment.training.execution
    if chosen != "eager" and device.type != "cuda":
        hint = "Compiled towers take longer there (docs/performance.md). Add --set training.execution=eager."
        raise ConfigError([Problem("training.execution", f"eager on a {device.type.upper()}", chosen, hint)])


def _rows_vary(experiment: Experiment) -> bool:
    """Returns whether the towers encode another number of rows in each batch."""
    return experiment.training.unique or has_candidates(experiment)


def optimizer_problems(document: Document, experiment: Experiment) -> list[Problem]:
    """Returns what a checked experiment asks of its optimizer and cannot have; the optimizer is tried on one weight."""
    weight = nn.Parameter(torch.zeros(2, 1))
    optimizer = built_optimizer(experiment.optimizer, [weight])
    clip, precision = experiment.trainer.get("gradient_clip_val"), str(experiment.trainer.get("precision"))
    sparse = _sparse(experiment)
    problems = []
    # Lightning takes 16 for 16-mixed, and asks the optimizer this.
    mixed = precision in ("16", "bf16", AUTO) or precision.endswith("-mixed")
    if clip and mixed and getattr(optimizer, "_step_supports_amp_scaling", False):
        hint = "Add fused: false to the optimizer, or remove trainer.gradient_clip_val."
        where = document.where(("optimizer", "fused"))
        problems.append(Problem(where, "false where gradients are clipped in mixed precision", True, hint))
    if clip and sparse:
        hint = f"Torch cannot clip gradients of single vectors. Remove it, or `sparse: true` of {', '.join(sparse)}."
        where = document.where(("trainer", "gradient_clip_val"))
        problems.append(Problem(where, "null where encoders are sparse", clip, hint))
    if sparse:
        functional.embedding(torch.zeros(1, dtype=torch.int64), weight, sparse=True).sum().backward()  # type: ignore[no-untyped-call]
        try:
            optimizer.step()
        except RuntimeError as error:
            expected = f"one that updates single vectors, as `sparse: true` of {', '.join(sparse)} asks"
            hint = f"Torch says: {str(error).rstrip('.')}. Take adam or adamw, or remove weight_decay."
            problems.append(Problem(document.where(("optimizer",)), expected, experiment.optimizer, hint))
    return problems


def _sparse(experiment: Experiment) -> list[str]:
    """Returns the places of the encoders whose gradients are sparse."""
    return [
        dotted((tower, "features", feature))
        for tower in ("user_tower", "item_tower")
        for feature, encoder in getattr(experiment, tower).features.items()
        if encoder.get("sparse") is True
    ]
