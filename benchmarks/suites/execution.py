"""Which executions of the towers are measured where."""

from __future__ import annotations


def why_not(execution: str, device: str, *, asked: bool) -> str | None:
    """Returns why an execution is not measured on a device; None where it is.

    Args:
        execution: As of `training.execution`.
        device: `cpu` or `cuda`.
        asked: Whether compiling on a CPU was asked for.
    """
    if execution == "cuda-graphs" and device != "cuda":
        return "CUDA graphs need a GPU"
    if execution == "compile" and device != "cuda" and not asked:
        return "compiling on a CPU takes minutes; ask for it with --compile"
    return None
