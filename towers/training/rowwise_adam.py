"""Adam for sparse and dense gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Adam(torch.optim.Adam):
    """Torch's Adam, or AdamW with `decoupled_weight_decay`, that also accepts sparse gradients.

    Only the rows in a sparse gradient are updated and decayed; all other rows keep their values and moments, as with
    torch's SparseAdam.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Does one step, and returns the loss of `closure`, which computes the loss and its gradients again.

        In half precision, the gradient scaler expects a fused optimizer to unscale the gradients, and to skip the step
        after an overflow.
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
        super().step()
        scale, overflowed = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        skipped = bool(sparse) and overflowed is not None and bool(overflowed)
        with torch.no_grad():
            for group, parameter, gradient in sparse:
                if not skipped:
                    summed = gradient.coalesce()
                    self._update_rows(parameter, summed if scale is None else summed / scale, **group)
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
        decoupled_weight_decay: bool,
        **_: Any,
    ) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        # Loading a checkpoint moves it to the GPU, which every step would have to wait for.
        state["step"] = state["step"].cpu() + 1
        rows, values = gradient.indices()[0], gradient.values()
        weights = parameter.index_select(0, rows)
        if weight_decay and decoupled_weight_decay:
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
