"""What a config may not ask of Lightning's Trainer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pytorch_lightning import Trainer

from towerzoo.registry.errors import Problem, name_hint, nearest
from towerzoo.registry.expectations import expectation
from towerzoo.registry.ranges import Count, NonNegative
from towerzoo.registry.yaml_file import Document
from towerzoo.towers.training.device_checks import devices_problem

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
