"""What a config may not ask of its optimizer, since training would end at the first step."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from towerzoo.registry.errors import Problem
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.yaml_file import Document, dotted
from towerzoo.towers.device import AUTO
from towerzoo.towers.layers.trials import built_optimizer


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
