"""How a module is executed: as it is, compiled, or compiled into CUDA graphs."""

from __future__ import annotations

from torch import nn

MODES = {"eager": None, "compile": "default", "cuda-graphs": "reduce-overhead"}
"""torch.compile's mode of each execution; None does not compile."""


def why_not(execution: str, device: str, *, asked: bool) -> str | None:
    """Returns why an execution is not measured on a device; None where it is.

    Args:
        execution: One of `MODES`.
        device: `cpu` or `cuda`.
        asked: Whether compiling on a CPU was asked for.
    """
    if execution == "cuda-graphs" and device != "cuda":
        return "CUDA graphs need a GPU"
    if execution == "compile" and device != "cuda" and not asked:
        return "compiling on a CPU takes minutes; ask for it with --compile"
    return None


def prepare(module: nn.Module, execution: str) -> None:
    """Lets a module be compiled in place at its first call, unless it is to run as it is."""
    mode = MODES[execution]
    if mode is not None:
        module.compile(mode=mode)
