"""Operators of torch that its ONNX exporter does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch


def searchsorted(
    sorted_sequence: Any, values: Any, out_int32: bool = False, right: bool = False, side: str | None = None
) -> Any:
    """Counts the numbers of an ascending sequence (K,) that are below values (B,), or not above them, in (B, K)."""
    from onnxscript import INT32, INT64, opset18

    op: Any = opset18
    last = op.Constant(value_ints=[-1])
    compare = op.LessOrEqual if right or side == "right" else op.Less
    below = compare(sorted_sequence, op.Unsqueeze(values, last))
    counted = op.Cast(below, to=INT32.dtype if out_int32 else INT64.dtype)
    return op.ReduceSum(counted, last, keepdims=False)


TRANSLATIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {torch.ops.aten.searchsorted.Tensor: searchsorted}
"""ONNX has no operator that searches; few numbers are counted as fast."""
