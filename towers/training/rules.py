"""Rules of training: what a config may ask of its loss, its optimizer and its devices, before any data is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from towerzoo.registry import ENCODERS, LOSSES, OPTIMIZERS
from towerzoo.registry.errors import ConfigError, Problem, name_hint
from towerzoo.registry.experiment import AUTO, Experiment
from towerzoo.registry.rules import Rule
from towerzoo.registry.yaml_file import Document, dotted
from towerzoo.towers.metrics.plan import PAIR_METRICS, USER_METRICS, EvaluationPlan, has_candidates
from towerzoo.towers.model.rules import column_names, compares_with_shown, features_of, streams
from towerzoo.towers.training.optimizers import built_optimizer

ONE_DEVICE = "Or train on one device: trainer.devices=1."


def monitor_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """Early stopping must watch a figure that is evaluated."""
    plan, stopping = EvaluationPlan.of(experiment), experiment.training.early_stopping
    watched, names = stopping.monitor if stopping else None, [f"valid/{name}" for name in plan.names]
    if watched is None or not names or watched in names:
        return
    hint = name_hint(watched, names, "Evaluated")
    if not plan.pairs and watched.partition("/")[2] in PAIR_METRICS + USER_METRICS:
        lines = f"training:\n          early_stopping: {{monitor: {plan.monitor}}}"
        hint = f"Lists are ranked here, and pairs are not scored. Write\n        {lines}"
    yield document.problem(("training", "early_stopping", "monitor"), "a figure of validation", watched, hint)


def candidate_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """Candidates that were shown must be in the data, and known items in memory."""
    if not has_candidates(experiment):
        return
    columns = column_names(experiment) if compares_with_shown(experiment) else None
    if columns is not None and not columns.negatives:
        hint = "Name their column as data.interactions.negatives of a tabular dataset, or choose another sampler."
        expected = "a sampler that the dataset has items for"
        yield document.problem(("loss", "sampler"), expected, "from-column", hint)
    if LOSSES.fact(experiment.loss, "mask_known") and streams(experiment):
        hint = "The items that users are known to like are not in memory. Add mask_known: false to the loss."
        yield document.problem(("loss", "mask_known"), "false where interactions are streamed", True, hint)


def share_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """Each device needs a share of the batch."""
    devices, batch_size = experiment.trainer.devices, experiment.data.batch_size
    if batch_size < devices:
        hint = "Each device trains a share of the batch."
        expected = f"at least the {devices} of trainer.devices"
        yield document.problem(("data", "batch_size"), expected, batch_size, hint)


def scaling_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """Several devices cannot each scale the loss of their own share."""
    devices = experiment.trainer.devices
    if devices > 1 and experiment.trainer.precision.startswith("16"):
        hint = f"Each device would scale its loss by itself. Try bf16-mixed. {ONE_DEVICE}"
        expected = "one of bfloat16 or float32 where several devices train"
        yield document.problem(("trainer", "precision"), expected, experiment.trainer.precision, hint)


def execution_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """A CUDA graph has one size, and is of one batch."""
    if experiment.training.execution != "cuda-graphs":
        return
    path = ("training", "execution")
    if _rows_vary(experiment):
        expected = "eager or compile where the distinct users and items of a batch are encoded"
        hint = "Their number changes with every batch; a CUDA graph needs a fixed size."
        yield document.problem(path, expected, "cuda-graphs", hint)
    if experiment.trainer.accumulate_grad_batches != 1:
        expected = "eager or compile where the gradients of several batches are accumulated"
        hint = "A graph overwrites them with those of the next batch. Or remove trainer.accumulate_grad_batches."
        yield document.problem(path, expected, "cuda-graphs", hint)


def clipping_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """Gradients cannot be clipped inside a fused optimizer that unscales them, nor row by row."""
    clip, sparse = experiment.trainer.gradient_clip_val, _sparse_encoders(experiment)
    if clip and sparse:
        hint = f"Torch cannot clip sparse gradients. Remove it, or `sparse: true` of {', '.join(sparse)}."
        yield document.problem(("trainer", "gradient_clip_val"), "null where encoders are sparse", clip, hint)
    precision = experiment.trainer.precision
    if clip and (precision == AUTO or precision.endswith("-mixed")) and OPTIMIZERS.fact(experiment.optimizer, "fused"):
        hint = "Add fused: false to the optimizer, or remove trainer.gradient_clip_val."
        expected = "false where gradients are clipped in mixed precision"
        yield document.problem(("optimizer", "fused"), expected, True, hint)


def sparse_problems(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """The optimizer must take sparse gradients where encoders give them; it is tried on one weight."""
    sparse, spec = _sparse_encoders(experiment), experiment.optimizer
    if not sparse:
        return
    weight = nn.Parameter(torch.zeros(2, 1))
    optimizer = built_optimizer(spec, [weight])
    functional.embedding(torch.zeros(1, dtype=torch.int64), weight, sparse=True).sum().backward()  # type: ignore[no-untyped-call]
    try:
        optimizer.step()
    except RuntimeError as error:
        expected = f"one that updates single vectors, as `sparse: true` of {', '.join(sparse)} asks"
        hint = f"Torch says: {str(error).rstrip('.')}. Choose adam or adamw, or remove weight_decay."
        yield document.problem(("optimizer",), expected, spec, hint)


TRAINING_RULES: Final[tuple[Rule, ...]] = (
    monitor_problems,
    candidate_problems,
    share_problems,
    scaling_problems,
    execution_problems,
    clipping_problems,
    sparse_problems,
)
"""What training needs of a config beyond its structure."""


def require_divisible(experiment: Experiment, model: nn.Module) -> None:
    """Makes sure that a model's batches can be divided between the experiment's devices.

    Raises:
        ConfigError: Blocks need statistics, or encoders a mean, over the whole batch.
    """
    if experiment.trainer.devices == 1:
        return
    problems = []
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        hint = f"Each device would normalise by its own share of a batch. Try linear-act-dropout. {ONE_DEVICE}"
        expected = "without batch normalisation where several devices train"
        problems.append(Problem("the towers' blocks", expected, "blocks with it", hint))
    penalised = any(getattr(module, "penalty", 0) for module in model.modules() if hasattr(module, "embedding"))
    if penalised and _rows_vary(experiment):
        hint = (
            "The penalty averages over a batch's distinct users and items, which are spread across devices. "
            f"{ONE_DEVICE}"
        )
        expected = "0 where several devices train on distinct users and items"
        problems.append(Problem("the penalty of encoder 'embedding'", expected, "more", hint))
    if problems:
        raise ConfigError(problems)


def require_gpu(experiment: Experiment, device: torch.device) -> None:
    """Makes sure that compiled towers are trained on a GPU: on a CPU, compiling replaces TowerZoo's faster operations.

    Raises:
        ConfigError: They are compiled for a CPU.
    """
    chosen = experiment.training.execution
    if chosen != "eager" and device.type != "cuda":
        hint = "Compiled towers are slower there (docs/performance.md). Add --set training.execution=eager."
        raise ConfigError([Problem("training.execution", f"eager on a {device.type.upper()}", chosen, hint)])


def _rows_vary(experiment: Experiment) -> bool:
    """Returns whether the number of rows that the towers encode changes with every batch."""
    return experiment.training.unique or has_candidates(experiment)


def _sparse_encoders(experiment: Experiment) -> list[str]:
    """Returns the key paths of the encoders whose gradients are sparse."""
    return [
        dotted((tower, "features", feature))
        for tower in ("user_tower", "item_tower")
        for feature, encoder in features_of(experiment, tower).items()
        if ENCODERS.fact(encoder, "sparse") is True
    ]
