"""Ranks: the processes that train one model together, each on its own device."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, distributed, nn

Value = TypeVar("Value")


class Ranks:
    """This process and its communication with the others that train together.

    All ranks call the same methods in the same order. With one rank, each method returns its input.

    Args:
        rank: Index of this process, from 0.
        size: Number of processes; if more than one, they have joined torch's process group.

    Example:
        >>> Ranks().sum(torch.ones(2)), Ranks().from_first(lambda: "figures")
        (tensor([1., 1.]), 'figures')
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self._common: Tensor | None = None

    @property
    def first(self) -> bool:
        """Whether this rank evaluates, writes and prints."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Returns the sum over all ranks of values of the same shape."""
        if self.size == 1:
            return values
        total = values.clone()
        distributed.all_reduce(total)
        return total

    def all_of(self, values: Tensor) -> Tensor:
        """Concatenates the rows (N, ...) of all ranks in their order; N may differ."""
        if self.size == 1:
            return values
        lengths = torch.zeros(self.size, dtype=torch.int64, device=values.device)
        lengths[self.rank] = len(values)
        counts = self.sum(lengths).tolist()
        if not any(counts):
            return values
        padded = values.new_zeros((max(counts), *values.shape[1:]))
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def from_first(self, make: Callable[[], Value]) -> Value:
        """Returns the value that the first rank makes; the others wait for it."""
        if self.size == 1:
            return make()
        # Bytes in tensors on the CPU need no choice of a device.
        content = torch.frombuffer(bytearray(pickle.dumps(make())), dtype=torch.uint8) if self.first else torch.empty(0)
        size = torch.tensor(len(content))
        distributed.broadcast(size, src=0)
        if not self.first:
            content = torch.empty(int(size), dtype=torch.uint8)
        distributed.broadcast(content, src=0)
        made: Value = pickle.loads(content.numpy().tobytes())  # noqa: S301  (from a process that we started)
        return made

    def seed(self, common: int, local: int) -> None:
        """Seeds torch's generators with `local`, which differs between ranks, and `alike` with `common`."""
        torch.manual_seed(common)
        if self.size > 1:
            self._common = torch.get_rng_state()
            torch.manual_seed(local)

    @contextmanager
    def alike(self) -> Iterator[None]:
        """Makes torch's CPU generator draw the same numbers on all ranks in this context."""
        if self._common is None:
            yield
            return
        local = torch.get_rng_state()
        torch.set_rng_state(self._common)
        try:
            yield
        finally:
            self._common = torch.get_rng_state()
            torch.set_rng_state(local)


class GradientSums(Callback):
    """Sums the gradients of all ranks in every step, and starts every epoch with the first rank's weights.

    Each rank's loss is its share of the batch's loss, so the sum is the gradient of the batch. It is computed once a
    step, even if that has several batches, and before gradients are clipped.

    Args:
        ranks: The ranks.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._dense: list[nn.Parameter] = []
        self._sparse: list[nn.Parameter] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds the weights with sparse gradients: a rank with an empty share has no gradient that shows it."""
        sparse = {
            id(parameter)
            for module in pl_module.modules()
            if getattr(module, "sparse", False) is True
            for parameter in module.parameters(recurse=False)
        }
        trained = [parameter for parameter in pl_module.parameters() if parameter.requires_grad]
        self._sparse = [parameter for parameter in trained if id(parameter) in sparse]
        self._dense = [parameter for parameter in trained if id(parameter) not in sparse]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copies the first rank's weights: devices sum in different orders, and rounding must not accumulate."""
        for parameter in pl_module.parameters():
            distributed.broadcast(parameter.detach(), src=0)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Sums the gradients."""
        self._sum_dense()
        for parameter in self._sparse:
            self._sum_sparse(parameter)

    def _sum_dense(self) -> None:
        """Sums the dense gradients, all of a dtype in one message."""
        by_type: dict[torch.dtype, list[nn.Parameter]] = {}
        for parameter in self._dense:
            by_type.setdefault(parameter.dtype, []).append(parameter)
        for dtype, group in by_type.items():
            # The flags count the ranks that used a weight: one that none used keeps no gradient, as on one device.
            used = [parameter.grad is not None for parameter in group]
            flags = torch.tensor(used, dtype=dtype).to(group[0].device, non_blocking=True)
            values = [_dense(parameter).flatten() for parameter in group]
            total = self.ranks.sum(torch.cat([*values, flags]))
            *sums, n_used = torch.split(total, [*map(len, values), len(group)])
            by_any = used if all(used) else (n_used > 0).tolist()
            for parameter, gradient, is_used in zip(group, sums, by_any, strict=True):
                parameter.grad = gradient.view_as(parameter) if is_used else None

    def _sum_sparse(self, parameter: nn.Parameter) -> None:
        """Concatenates the rows of all ranks' gradients: a sparse gradient may repeat rows, which then add up."""
        gradient = parameter.grad
        if gradient is None:
            rows = torch.empty(0, dtype=torch.int64, device=parameter.device)
            values = parameter.new_empty((0, *parameter.shape[1:]))
        else:
            gradient = gradient.coalesce()
            rows, values = gradient.indices()[0], gradient.values()
        rows, values = self.ranks.all_of(rows), self.ranks.all_of(values)
        if len(rows):
            parameter.grad = torch.sparse_coo_tensor(rows.unsqueeze(0), values, parameter.shape, check_invariants=False)


def _dense(parameter: nn.Parameter) -> Tensor:
    gradient: Any = parameter.grad
    return torch.zeros_like(parameter) if gradient is None else gradient.to_dense() if gradient.is_sparse else gradient
