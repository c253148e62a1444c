"""How long each part of a training step takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.nn.modules.batchnorm import _BatchNorm
from torch.profiler import ProfilerActivity, profile, record_function

from towerzoo.datasets import TwoTowerData
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.device import torch_device
from towerzoo.towers.training.callbacks import EpochSeeds, FiniteLoss
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import TrainingModule
from towerzoo.towers.training.trainer import make_trainer

WARM_UP, TIMED, PROFILED = 5, 30, 10
"""Numbers of steps: first to warm up, then to measure wall time, then to profile."""

RESERVE = 16
"""Blocks of 16 MiB that the process may reuse while it is profiled."""

PART: Final = "towerzoo: "
"""Prefix of the names of our ranges in the profile."""

OPTIMIZER: Final = "Optimizer."
"""Prefix of the names of torch's ranges around an optimizer's methods."""

LOOP: Final = "Python, loop, batches"
"""All time outside torch's operations: the interpreter, Lightning's loop and callbacks, waiting for a batch."""

PARTS: Final = (
    "matrix products",
    "dropout",
    "activations",
    "batch norm",
    "embeddings",
    "score and loss",
    "optimizer",
    "other operations",
    LOOP,
)
"""The parts of a step, each with its backward pass."""


def profile_step(experiment: Experiment, data: TwoTowerData, module: TrainingModule, device: str) -> dict[str, float]:
    """Trains a few steps with Lightning, and returns the seconds of each part of a step.

    A backward operation belongs to the part of its forward operation. The parts sum to the wall time of a step without
    the profiler, or to the time of the operations if that is longer.

    Args:
        experiment: The experiment.
        data: Its data, with at least one training batch.
        module: Its model, which these steps train.
        device: `cpu`, `cuda` or `auto`.

    Returns:
        Seconds of each of `PARTS`.

    Raises:
        TowerZooError: The device or the Trainer's arguments are not usable.
    """
    steps = _Steps(torch_device(device))
    endless = experiment.model_copy(update={"training": experiment.training.model_copy(update={"max_epochs": -1})})
    trainer = make_trainer(
        endless,
        device,
        callbacks=[EpochSeeds(experiment.seed), FiniteLoss(), steps],
        logger=False,
        max_steps=WARM_UP + TIMED + PROFILED,
        limit_val_batches=0,
    )
    removers = mark_parts(module)
    trainer.fit(module, DataModule(data))
    for remove in removers:
        remove()
    seconds = dict.fromkeys(PARTS, 0.0) | steps.seconds_by_part()
    seconds[LOOP] = max(0.0, steps.wall_seconds - sum(seconds.values()))
    return seconds


class _Steps(Callback):
    """Measures the wall time of steps, and then profiles further steps."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.wall_seconds = 0.0
        on_gpu = [ProfilerActivity.CUDA] if device.type == "cuda" else []
        self.profiler = profile(activities=[ProfilerActivity.CPU, *on_gpu], acc_events=True)
        self._started = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Starts the clock or the profiler; with accumulated gradients, a step has several batches."""
        if trainer.global_step == WARM_UP and not self._started:
            self._started = self._now()
        elif trainer.global_step == WARM_UP + TIMED and not self.wall_seconds:
            self.wall_seconds = (self._now() - self._started) / TIMED
            _touch(RESERVE)
            self.profiler.start()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the profiler."""
        self.profiler.stop()

    def seconds_by_part(self) -> dict[str, float]:
        """Returns the seconds that the operations of each part take in a step."""
        seconds: dict[str, float] = {}
        for event, part in parts_of_events(self.profiler.events() or ()):  # type: ignore[no-untyped-call]
            microseconds = event.self_device_time_total if self.device.type == "cuda" else event.self_cpu_time_total
            seconds[part] = seconds.get(part, 0.0) + microseconds / 1e6 / PROFILED
        return seconds

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _touch(pieces: int) -> None:
    """Reserves memory for reuse.

    The profiler's records lie between the tensors of a step, so that freed blocks become too small. New blocks would be
    mapped inside an operation, whose time would then include the system's.
    """
    blocks = [torch.ones(1 << 22) for _ in range(pieces)]
    del blocks


def parts_of_events(events: Iterable[FunctionEvent]) -> list[tuple[FunctionEvent, str]]:
    """Returns every operation with its part; a backward operation has the part of its forward operation.

    A GPU's kernels are left out: their time is part of the operations that started them.
    """
    events = [event for event in events if event.device_type == DeviceType.CPU]
    part_of_forward = {
        event.sequence_nr: part for event in events if event.sequence_nr >= 0 and (part := _range_of(event)) is not None
    }
    return [
        (event, _range_of(event) or part_of_forward.get(_sequence_of(event), "other operations"))
        for event in events
        if not event.name.startswith((PART, OPTIMIZER))  # the self time of a range is Python's
    ]


def _range_of(event: FunctionEvent) -> str | None:
    """Returns the part of the innermost range around an event; None in the backward pass."""
    around: FunctionEvent | None = event
    while around is not None:
        if around.name.startswith(PART):
            return around.name.removeprefix(PART)
        if around.name.startswith("autograd::engine"):
            return None  # checked first: the optimizer's step runs Lightning's closure with its backward pass
        if around.name.startswith(OPTIMIZER):
            return "optimizer"
        around = around.cpu_parent
    return None


def _sequence_of(event: FunctionEvent) -> int:
    """Returns the number that a backward operation shares with its forward operation; -1 if it has none."""
    around: FunctionEvent | None = event
    while around is not None:
        if around.sequence_nr >= 0:
            return int(around.sequence_nr)
        around = around.cpu_parent
    return -1


def mark_parts(module: TrainingModule) -> list[Callable[[], None]]:
    """Puts ranges around the parts of a training step, and returns functions that remove them."""
    removers = []
    for tower in (module.model.user_tower, module.model.item_tower):
        removers.append(_mark(tower, "embeddings"))
        removers += [_mark(layer, _part_of(layer)) for layer in tower.mlp]
    step = module.training_step

    def marked_step(*arguments: Any) -> Any:
        with record_function(PART + "score and loss"):  # all that no inner range covers
            return step(*arguments)

    module.training_step = marked_step  # type: ignore[method-assign, assignment]
    return [*removers, lambda: delattr(module, "training_step")]


def _mark(module: nn.Module, part: str) -> Callable[[], None]:
    ranges: list[Any] = []

    def enter(*_: Any) -> None:
        ranges.append(record_function(PART + part))
        ranges[-1].__enter__()

    def leave(*_: Any) -> None:
        ranges.pop().__exit__(None, None, None)

    before, after = module.register_forward_pre_hook(enter), module.register_forward_hook(leave)

    def remove() -> None:
        before.remove()
        after.remove()

    return remove


def _part_of(layer: nn.Module) -> str:
    for kind, part in (
        (nn.Linear, "matrix products"),
        (nn.Dropout, "dropout"),
        (_BatchNorm, "batch norm"),
        (nn.LayerNorm, "batch norm"),
    ):
        if isinstance(layer, kind):
            return part
    return "activations"
