"""Tries parts as they are built, so that one that is not what its kind has to be is told of before training.

A trial runs on a few numbers, in eval mode and, of blocks and losses, in training mode as well; it leaves generators,
weights and buffers as they are, so that it changes no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from towerzoo.datasets import Column
from towerzoo.registry import (
    BLOCKS,
    ENCODERS,
    INITIALIZERS,
    LOSSES,
    OPTIMIZERS,
    POOLINGS,
    SAMPLERS,
    SCORES,
    Registry,
    Spec,
)
from towerzoo.towers.losses.candidates import Candidates, Sampler
from towerzoo.towers.losses.sampled import CandidateLoss
from towerzoo.towers.losses.samplers import takes_shown
from towerzoo.towers.model.scores import pair_logits


def built_module(registry: Registry, spec: Spec, **context: Any) -> nn.Module:
    """Builds a part that has to be a module.

    Raises:
        PartError: It is none, or its `__init__` has not called that of nn.Module.
    """
    part = registry.build(spec, **context)
    if found := _no_module(part):
        raise registry.fault(spec, "return an nn.Module", found)
    assert isinstance(part, nn.Module)
    return part


def built_block(spec: Spec, in_features: int, out_features: int) -> list[nn.Module]:
    """Builds and tries a block.

    Raises:
        PartError: It does not consist of modules, or does not map (B, in_features) to (B, out_features) in both modes.
    """
    built = BLOCKS.build(spec, in_features=in_features, out_features=out_features)
    modules = built if isinstance(built, list) else [built]
    deed = f"be a module, or a list of them, from (B, {in_features}) to (B, {out_features})"
    if found := next(filter(None, map(_no_module, modules)), ""):
        raise BLOCKS.fault(spec, deed, found, "Return modules of these widths.")
    block = nn.Sequential(*modules).eval()
    for n_rows in (3, 1):  # one person alone is all that some requests are about
        _try(BLOCKS, spec, deed, (n_rows, out_features), block, _numbers(n_rows, in_features))
    _try(BLOCKS, spec, f"{deed} in training", (3, out_features), _both_ways, block, _numbers(3, in_features))
    return modules


def _both_ways(block: nn.Module, vectors: Tensor) -> Any:
    """Returns what a block makes of vectors in training, forwards and backwards; its weights and buffers stay."""
    tensors = (*block.named_parameters(), *block.named_buffers())
    copies = {name: value.detach().clone().requires_grad_(value.requires_grad) for name, value in tensors}
    with torch.enable_grad():
        result = torch.func.functional_call(block.train(), copies, (vectors.requires_grad_().clone(),))
        if isinstance(result, Tensor) and result.requires_grad:
            result.sum().backward()  # type: ignore[no-untyped-call]
    return result


def built_encoder(spec: Spec, column: Any) -> nn.Module:
    """Builds an encoder and tries it on the unknown row, the first and the one of the highest id.

    Args:
        spec: The encoder.
        column: A column of a table; for a history, the history, whose encoder maps rows.

    Raises:
        PartError: It is no module with `out_features`, or does not map the column's values to (B, out_features).
    """
    encoder = ENCODERS.build(spec, column=column)
    width = getattr(encoder, "out_features", None)
    deed = f"be a module with out_features, from (B,) or (B, L) to (B, {width or 'out_features'})"
    if found := _no_module(encoder):
        raise ENCODERS.fault(spec, deed, found)
    if not isinstance(width, int):
        found = f"a {type(encoder).__name__} without out_features"
        raise ENCODERS.fault(spec, deed, found, "Set self.out_features to a whole number.")
    assert isinstance(encoder, nn.Module)
    if getattr(encoder, "trouble", None) is None:  # weights that are loaded later may be all that it lacks
        values = _some_values(column) if isinstance(column, Column) else torch.arange(2)
        for some in (values, values[:1]):
            _try(ENCODERS, spec, deed, (len(some), width), encoder.eval(), some, finite=True)
        encoder.train()
    return encoder


def _some_values(column: Column) -> Tensor:
    values = column.values
    if column.vocabulary is None:
        return values[:2]
    highest = int((values.amax(dim=1) if column.is_list else values).argmax())
    return values[[*range(min(2, len(values))), highest]]


def built_pooling(spec: Spec, dim: int) -> Any:
    """Builds and tries a pooling, also on a list without anything that counts.

    Raises:
        PartError: It cannot be called, or does not map (B, L, dim) to finite (B, dim).
    """
    pooling = POOLINGS.build(spec, dim=dim)
    deed = f"map vectors (B, L, {dim}) and mask (B, L) to (B, {dim})"
    if not callable(pooling) or (isinstance(pooling, nn.Module) and _no_module(pooling)):
        raise POOLINGS.fault(spec, deed, _no_module(pooling))
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    _try(POOLINGS, spec, deed, (3, dim), pooling, _numbers(3, 2, dim), mask, finite=True)
    return pooling


def initialize(spec: Spec, weight: Tensor) -> None:
    """Fills a weight with an initializer, which need not know of gradients.

    Raises:
        PartError: It returns a tensor in place of filling the weight, or fills it with what is not finite.
    """
    with torch.no_grad():
        returned = INITIALIZERS.build(spec, weight=weight)
    if isinstance(returned, Tensor) and returned.data_ptr() != weight.data_ptr():
        hint = "Write weight.copy_(...) in place of return."
        raise INITIALIZERS.fault(spec, "fill the weight in place", "another tensor", hint)
    if not weight.isfinite().all():
        raise INITIALIZERS.fault(spec, "fill the weight with finite numbers", "others")


def try_score(spec: Spec, score: nn.Module, dim: int) -> None:
    """Tries a score on vectors (2, dim).

    Raises:
        PartError: It lacks a method, its factors are not (B, F) of one F, or its pairs are not their dot products.
    """
    vectors, rows = (_numbers(2, dim), _numbers(2, dim, seed=1)), torch.zeros(2, dtype=torch.int64)
    score.eval()
    factors = []
    for name, of_side in zip(("user_factors", "item_factors"), vectors, strict=True):
        deed = f"have a method {name} that maps vectors (B, {dim}) and rows (B,) to factors (B, F)"
        factors.append(_try(SCORES, spec, deed, (2, None), getattr(score, name, None), of_side, rows))
    users, items = factors
    if users.shape != items.shape:
        found = f"{users.shape[1]} and {items.shape[1]}"
        raise SCORES.fault(spec, "have as many factors of users as of items", found)
    if hasattr(score, "pairs"):
        deed = "have a method pairs that maps vectors and rows of users and items to logits (B,)"
        logits = _try(SCORES, spec, deed, (2,), pair_logits, score, *vectors, rows, rows)
        products = (users * items).sum(dim=1)
        if not torch.allclose(logits, products, rtol=1e-3, atol=1e-3, equal_nan=True):
            found = f"{logits.tolist()} for the products {products.tolist()}"
            raise SCORES.fault(spec, "have pairs that are the dot products of its factors", found)
    score.train()


def try_loss(spec: Spec, loss: nn.Module, *, weighted: bool) -> None:
    """Tries a loss on a few logits.

    Args:
        spec: The loss.
        loss: What was built of it.
        weighted: Whether the data has weights of events.

    Raises:
        PartError: It does not return a finite mean () that has a gradient.
    """
    weights = (torch.tensor([1.0, 2.0, 1.0, 1.0]),) if weighted else ()
    logits = _numbers(4).requires_grad_()
    if isinstance(loss, CandidateLoss):
        deed = "map logits (B,) and (B, C), the candidates and weights (B,) or None to a mean loss ()"
        negatives = _numbers(4, 5, seed=1).index_put((torch.arange(4), torch.arange(4)), torch.tensor(float("-inf")))
        drawn = Candidates(torch.arange(1, 6), torch.zeros(5), torch.zeros(5))
        hint = "A logit of minus infinity is a candidate that does not count."
        value = _try(
            LOSSES, spec, deed, (), loss, logits, negatives, drawn, *(weights or (None,)), finite=True, hint=hint
        )
    else:
        taken = "logits (B,), labels (B,) and weights (B,)" if weighted else "logits (B,) and labels (B,)"
        deed = f"map {taken} to a mean loss ()"
        labels = torch.tensor([0.0, 1.0, 0.0, 1.0])
        _try(LOSSES, spec, deed, (), loss.eval(), logits, labels, finite=True)
        value = _try(LOSSES, spec, deed, (), loss.train(), logits, labels, *weights, finite=True)
    if not value.requires_grad:
        hint = "Compute it from the logits with torch, without detach() or item()."
        raise LOSSES.fault(spec, "return a loss that has a gradient", "one without", hint)


def built_optimizer(spec: Spec, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Builds an optimizer.

    Raises:
        PartError: It is none.
    """
    optimizer = OPTIMIZERS.build(spec, parameters=parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise OPTIMIZERS.fault(spec, "return a torch.optim.Optimizer", _named(optimizer))
    return optimizer


def built_sampler(spec: Spec, item_counts: Tensor) -> Sampler:
    """Builds a sampler and lets it draw once, for the item of the most events.

    Raises:
        PartError: It lacks a method, does not draw rows (n,) of items, or its expected numbers are not > 0 (C,).
    """
    sampler: Sampler = SAMPLERS.build(spec, item_counts=item_counts)
    for method in ("draw", "expected"):
        if not callable(getattr(sampler, method, None)):
            raise SAMPLERS.fault(spec, "have the methods draw and expected", f"{_named(sampler)} without {method}")
    n_items, positives = len(item_counts), (item_counts[1:].argmax() + 1).expand(3)
    deed = f"draw item rows (n,) from 1 to {n_items - 1}"
    with torch.random.fork_rng(devices=[]), SAMPLERS.telling(spec, deed):
        drawn = sampler.draw(positives)
    if not isinstance(drawn, Tensor):
        raise SAMPLERS.fault(spec, deed, _named(drawn))
    if drawn.dim() != 1 or drawn.is_floating_point():
        raise SAMPLERS.fault(spec, deed, f"a tensor of {drawn.dtype} and shape {tuple(drawn.shape)}")
    if len(drawn) and not 1 <= int(drawn.min()) <= int(drawn.max()) < n_items:
        raise SAMPLERS.fault(spec, deed, f"rows from {int(drawn.min())} to {int(drawn.max())}")
    if not len(drawn) and not takes_shown(spec):
        raise SAMPLERS.fault(spec, deed, "none")
    rows = torch.unique(drawn)
    deed = "expect each of item rows (C,) a number of times > 0 (C,)"
    with SAMPLERS.telling(spec, deed):
        expected = sampler.expected(rows, len(positives))
    if not isinstance(expected, Tensor):
        raise SAMPLERS.fault(spec, deed, _named(expected))
    if expected.shape != rows.shape:
        raise SAMPLERS.fault(spec, deed, f"one from {tuple(rows.shape)} to {tuple(expected.shape)}")
    if not (expected.isfinite() & (expected > 0)).all():
        raise SAMPLERS.fault(spec, deed, f"numbers from {expected.min().item()} to {expected.max().item()}")
    return sampler


def _try(
    registry: Registry,
    spec: Spec,
    deed: str,
    shape: tuple[int | None, ...],
    function: Any,
    *arguments: Any,
    finite: bool = False,
    hint: str = "",
) -> Tensor:
    """Returns what a part makes of some arguments, a float tensor of the shape; None stands for any length."""
    if not callable(function):
        raise registry.fault(spec, deed, "none", hint)
    with registry.telling(spec, deed), torch.random.fork_rng(devices=[]), torch.set_grad_enabled(registry is LOSSES):
        result = function(*arguments)
    if not isinstance(result, Tensor):
        found = _named(result)
    elif len(result.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, result.shape, strict=True)):
        given = ", ".join(str(tuple(value.shape)) for value in arguments if isinstance(value, Tensor))
        found = f"one from {given} to {tuple(result.shape)}"
    elif result.dtype != torch.get_default_dtype():
        found = f"a tensor of {result.dtype}"
        hint = hint or f"Add .to({torch.get_default_dtype()})."
    elif finite and not result.isfinite().all():
        found = "values that are not finite"
    else:
        return result
    raise registry.fault(spec, deed, found, hint)


def _numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _no_module(part: object) -> str:
    """Returns what a part is that is no module; nothing of one that is."""
    if not isinstance(part, nn.Module):
        return _named(part)
    return (
        "" if "_parameters" in vars(part) else f"{_named(part)} whose __init__ does not call super().__init__() first"
    )


def _named(part: object) -> str:
    """Returns what a value is, with its article.

    Example:
        >>> _named(None), _named((1, 2)), _named(len)
        ('nothing: a return is missing', 'a tuple', 'a builtin_function_or_method')
    """
    return "nothing: a return is missing" if part is None else f"a {type(part).__name__}"
