"""What a resumed run's optimizer takes over from the one before: its state, where it is of the same kind."""

from __future__ import annotations

from typing import Any, Final

import torch

KIND: Final = "optimizer"
"""The key of a checkpoint that says of which kind its optimizer is."""
UNNAMED: Final = "another kind"
"""What a checkpoint's optimizer is called that is not named, and lacks settings of the new one."""


def kind(optimizer: torch.optim.Optimizer) -> str:
    """Returns the name of an optimizer's class, since optimizers of one class understand each other's state."""
    return type(optimizer).__name__


def earlier_kind(checkpoint: dict[str, Any], optimizer: torch.optim.Optimizer) -> str | None:
    """Returns the kind of a checkpoint's optimizer, if it is another one than the new optimizer's.

    An optimizer that an older checkpoint does not name is of another kind if it lacks a setting of the new one.
    """
    own = kind(optimizer)
    earlier: str = checkpoint[KIND] if KIND in checkpoint else own if _alike(checkpoint, optimizer) else UNNAMED
    return None if earlier == own else earlier


def let_go_on(checkpoint: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Changes a checkpoint so that what is restored has the settings of a new optimizer, not those of before.

    An optimizer of another kind starts afresh: the state that the earlier one left means nothing to it.

    Args:
        checkpoint: What Lightning restores next.
        optimizer: One of the resumed run's config, that has done no step.
    """
    fresh = optimizer.state_dict()
    if earlier_kind(checkpoint, optimizer) is not None:
        checkpoint["optimizer_states"] = [fresh]
        return
    (state,) = checkpoint["optimizer_states"]
    pairs = zip(fresh["param_groups"], state["param_groups"], strict=True)
    state["param_groups"] = [group | {"params": saved["params"]} for group, saved in pairs]


def _alike(checkpoint: dict[str, Any], optimizer: torch.optim.Optimizer) -> bool:
    """Returns whether the optimizer of a checkpoint has all settings of a new one, by their names."""
    groups = [group for state in checkpoint.get("optimizer_states", ()) for group in state["param_groups"]]
    return all(optimizer.defaults.keys() <= group.keys() for group in groups)
