"""Trial calls: a part is called once with a few small tensors when it is built, so its mistakes show before training.

A trial leaves random generators, weights and buffers unchanged, and so changes no result. This module has what the
kinds share; the trial of each kind stands beside its contract.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from towerzoo.registry import Registry, Spec


def built_module(registry: Registry, spec: Spec, **context: Any) -> nn.Module:
    """Builds a part that must be an `nn.Module`; see `require_module`."""
    return require_module(registry, spec, registry.build(spec, **context))


def require_module(registry: Registry, spec: Spec, part: object) -> nn.Module:
    """Returns a built part, or a piece of one, if it is an `nn.Module` whose `__init__` called that of its parent.

    Raises:
        PartError: It is not.
    """
    if isinstance(part, nn.Module) and "_parameters" in vars(part):
        return part
    problem = " whose __init__ does not call super().__init__() first" if isinstance(part, nn.Module) else ""
    raise registry.part_error(spec, "return an nn.Module", described(part) + problem)


def try_part(
    registry: Registry,
    spec: Spec,
    contract: str,
    shape: tuple[int | None, ...],
    function: Callable[..., Any] | None,
    *inputs: Any,
    finite: bool = False,
    hint: str = "",
) -> Tensor:
    """Calls a part, or one of its methods, and returns the output if it has this shape and torch's default type.

    Args:
        registry: The registry of the part.
        spec: The part.
        contract: What the part must do, to be read after "must".
        shape: The shape of the output; None stands for any length.
        function: The part or method to call with `inputs`; None if it is missing.
        finite: Whether every number of the output must be finite.
        hint: What to do when the output is wrong.

    Raises:
        PartError: The function is missing or fails, or its output is something else.
    """
    if not callable(function):
        raise registry.part_error(spec, contract, "none", hint)
    with registry.errors_named(spec, contract), torch.random.fork_rng(devices=[]), torch.enable_grad():
        output = function(*inputs)
    if not isinstance(output, Tensor):
        problem = described(output)
    elif output.dim() != len(shape) or any(n not in (None, m) for n, m in zip(shape, output.shape, strict=True)):
        shapes = ", ".join(str(tuple(value.shape)) for value in inputs if isinstance(value, Tensor))
        problem = f"shape {tuple(output.shape)} for inputs of {shapes}"
    elif output.dtype != torch.get_default_dtype():
        problem = f"a tensor of {output.dtype}"
        hint = hint or f"Add .to({torch.get_default_dtype()})."
    elif finite and not output.isfinite().all():
        problem = "values that are not finite"
    else:
        return output
    raise registry.part_error(spec, contract, problem, hint)


def trial_numbers(*shape: int, seed: int = 0) -> Tensor:
    """Returns standard normal numbers, the same at every call, without touching torch's default generator."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def described(value: object) -> str:
    """Returns the type of a value with its article, for messages.

    Example:
        >>> described(None), described((1, 2))
        ('nothing: a return is missing', 'a tuple')
    """
    return "nothing: a return is missing" if value is None else f"a {type(value).__name__}"
