"""Reads checkpoints without running code that is in them, and loads weights that fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from towerzoo.registry.errors import RunError, one_line, shortened


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without unpickling code.

    Raises:
        RunError: It is missing, truncated, or not a checkpoint of TowerZoo.
    """
    if not path.is_file():
        raise RunError(f"{path} must be a checkpoint, got no such file. Look into the run's checkpoints folder.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Torch's own message advises to load the file in a way that runs the code in it.
        foreign = isinstance(error, pickle.UnpicklingError)
        reason = "holds more than tensors and plain values" if foreign else "is damaged"
        raise RunError(f"The checkpoint {path} {reason}. Copy it again, or use another.") from error
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    whole = isinstance(state, Mapping) and all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    if not whole or not isinstance(checkpoint.get("epoch"), int):
        raise RunError(f"{path} must be a checkpoint of TowerZoo, got another file. Use a run's best.ckpt.")
    return dict(checkpoint)


def load_state(module: nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Loads a state dict that must fit the module exactly.

    Raises:
        RunError: It belongs to another architecture.
    """
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        # The first line says only in which class the others were found.
        differences = shortened(one_line(str(error).partition("\n")[2]), 300)
        raise RunError(
            f"{path} holds the weights of another architecture. {differences.rstrip('.')}. "
            "Use the config and the data that it was trained with."
        ) from None
