"""Where the time of a training step goes."""

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
"""Steps that are run first, steps whose wall time is taken, and steps that are then looked into."""

RESERVE = 16
"""Pieces of 16 MiB that the profiled steps may take beyond what a step needs."""

PART: Final = "towerzoo: "
"""What the names of our own ranges in the profile start with."""

OPTIMIZER: Final = "Optimizer."
"""What the names of torch's own ranges around an optimizer's methods start with."""

LOOP: Final = "Python, loop, batches"
"""All that is no operation of torch: the interpreter, Lightning's loop and callbacks, waiting for a batch."""

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
"""Every part of a step, with its backward pass."""


def profile_step(experiment: Experiment, data: TwoTowerData, module: TrainingModule, device: str) -> dict[str, float]:
    """Trains some steps through Lightning and returns the seconds that each part takes of one.

    A backward operation belongs to the part of its forward operation. The parts sum to the wall time of a step without
    the profiler, or to what the operations take where that is more.

    Args:
        experiment: What to train.
        data: Its data; of at least one training batch.
        module: Its model, which is trained a little.
        device: `cpu`, `cuda` or `auto`.

    Returns:
        Seconds by part, every one of `PARTS`.

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
    """Takes the wall time of some steps, and then profiles others."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.wall_seconds = 0.0
        on_gpu = [ProfilerActivity.CUDA] if device.type == "cuda" else []
        self.profiler = profile(activities=[ProfilerActivity.CPU, *on_gpu], acc_events=True)
        self._started = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Starts what is due at this step, of whose batches there are several where gradients are accumulated."""
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
        """Returns the seconds a step of each part that operations belong to."""
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
    """Lets the process have memory that it keeps.

    The profiler's records come to lie between the tensors of a step, so that freed pieces are too small for the next
    ones. New ones would be mapped while an operation runs, and its time be that of the system.
    """
    all_at_once = [torch.ones(1 << 22) for _ in range(pieces)]
    del all_at_once


def parts_of_events(events: Iterable[FunctionEvent]) -> list[tuple[FunctionEvent, str]]:
    """Returns every operation with its part, a backward operation with that of its forward operation.

    A GPU's kernels are left out: their time is that of the operations that have started them.
    """
    events = [event for event in events if event.device_type == DeviceType.CPU]
    part_of_forward = {
        event.sequence_nr: part for event in events if event.sequence_nr >= 0 and (part := _range_of(event)) is not None
    }
    return [
        (event, _range_of(event) or part_of_forward.get(_sequence_of(event), "other operations"))
        for event in events
        if not event.name.startswith((PART, OPTIMIZER))  # a range's own time is Python's
    ]


def _range_of(event: FunctionEvent) -> str | None:
    """Returns the part of the innermost range around an event; None in the backward pass."""
    around: FunctionEvent | None = event
    while around is not None:
        if around.name.startswith(PART):
            return around.name.removeprefix(PART)
        if around.name.startswith("autograd::engine"):
            return None  # also inside the optimizer, whose step runs Lightning's closure
        if around.name.startswith(OPTIMIZER):
            return "optimizer"
        around = around.cpu_parent
    return None


def _sequence_of(event: FunctionEvent) -> int:
    """Returns the number that a backward operation shares with its forward operation; -1 where there is none."""
    around: FunctionEvent | None = event
    while around is not None:
        if around.sequence_nr >= 0:
            return int(around.sequence_nr)
        around = around.cpu_parent
    return -1


def mark_parts(module: TrainingModule) -> list[Callable[[], None]]:
    """Puts ranges around the parts of a training step, and returns what removes them."""
    removers = []
    for tower in (module.model.user_tower, module.model.item_tower):
        removers.append(_mark(tower, "embeddings"))
        removers += [_mark(layer, _part_of(layer)) for layer in tower.mlp]
    step = module.training_step

    def marked_step(*arguments: Any) -> Any:
        with record_function(PART + "score and loss"):  # all of a step that is not in a range of its own
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
