"""Adam that takes sparse gradients beside dense ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor


class _RowwiseSteps:
    """Adds steps of sparse gradients to one of torch's Adams, which see the dense ones alone.

    The rows that a gradient holds get Adam's update and weight decay; all others stay as they are, with their moments,
    as with torch's SparseAdam.
    """

    decoupled: ClassVar[bool]
    param_groups: list[dict[str, Any]]
    state: Any

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Does one step; `closure` computes the loss and its gradients anew.

        A scaler of half precision leaves it to a fused step to scale gradients back, and to do nothing where one has
        overflowed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sparse = [
            (group, parameter, parameter.grad)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and parameter.grad.is_sparse
        ]
        for _, parameter, _ in sparse:
            parameter.grad = None
        super().step()  # type: ignore[misc]
        scale, overflowed = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        skipped = bool(sparse) and overflowed is not None and bool(overflowed)
        with torch.no_grad():
            for group, parameter, gradient in sparse:
                if not skipped:
                    whole = gradient.coalesce()
                    self._update_rows(parameter, whole if scale is None else whole / scale, **group)
                parameter.grad = gradient
        return loss

    def _update_rows(
        self,
        parameter: Tensor,
        gradient: Tensor,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        **_: Any,
    ) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        # Not where a checkpoint that was loaded has put it: each step would wait for the GPU.
        state["step"] = state["step"].cpu() + 1
        rows, values = gradient.indices()[0], gradient.values()
        weights = parameter.index_select(0, rows)
        if weight_decay and self.decoupled:
            weights = weights * (1 - lr * weight_decay)
        elif weight_decay:
            values = values + weight_decay * weights
        first = state["exp_avg"].index_select(0, rows).lerp_(values, 1 - betas[0])
        second = state["exp_avg_sq"].index_select(0, rows).mul_(betas[1]).addcmul_(values, values, value=1 - betas[1])
        state["exp_avg"].index_copy_(0, rows, first)
        state["exp_avg_sq"].index_copy_(0, rows, second)
        corrections = [1 - beta ** state["step"].item() for beta in betas]
        update = first / (second / corrections[1]).sqrt_().add_(eps)
        parameter.index_copy_(0, rows, weights.sub_(update, alpha=lr / corrections[0]))


class Adam(_RowwiseSteps, torch.optim.Adam):
    """Torch's Adam, and row by row where gradients are sparse."""

    decoupled = False


class AdamW(_RowwiseSteps, torch.optim.AdamW):
    """Torch's AdamW, and row by row where gradients are sparse."""

    decoupled = True
