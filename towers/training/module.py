"""Trains a two-tower model with Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from towerzoo.datasets import Batch, StarSchema, TwoTowerData
from towerzoo.registry import LOSSES
from towerzoo.registry.errors import ConfigError, DataError, Problem
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.layers.trials import built_module
from towerzoo.towers.losses.candidates import CandidateLoss, Sampler, draw_candidates, excluded_pairs, try_loss
from towerzoo.towers.losses.samplers import built_sampler
from towerzoo.towers.metrics.pairs import SplitMetrics
from towerzoo.towers.metrics.plan import EvaluationPlan, has_candidates
from towerzoo.towers.metrics.ranking import Ranking, RankingTask, ranking_task
from towerzoo.towers.model.build import build_model
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.model.evaluator import Evaluator
from towerzoo.towers.model.pair_scores import dot_pairs
from towerzoo.towers.retrieval.seen_items import SeenItems
from towerzoo.towers.training.optimizers import OPTIMIZER, SCHEDULES, Schedule, built_optimizer, resumed_state
from towerzoo.towers.training.ranks import Ranks

EXECUTIONS: Final = {"eager": None, "compile": "default", "cuda-graphs": "reduce-overhead"}
"""Mode of torch.compile for each value of training.execution; None does not compile."""


class TrainingModule(LightningModule):
    """A model with its loss and optimizer: what a training step minimises, and which metrics an epoch reports.

    Metrics are logged as `train/...`, `valid/...` and `test/...` at the end of each epoch, each over the whole split.
    Those of training are measured while the weights change and with dropout; a stream of events has no training AUC.

    Args:
        model: The model.
        loss: Maps logits (B,), labels (B,) and, if the data has them, weights (B,) to a mean loss (); or a
            `CandidateLoss`.
        optimizer: Makes the optimizer of the given parameters.
        unique: Whether a training batch encodes each distinct user and item once. All events of a user in the batch
            then share a dropout mask, and batch normalisation counts each distinct row once.
        schedule: How the step size changes over all training steps; None keeps it constant.
        plan: Which metrics validation and test report.

    Attributes:
        ranks: The processes that train together. Only the first one validates and tests.
    """

    def __init__(
        self,
        model: DSSM,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        *,
        unique: bool = False,
        schedule: Schedule | None = None,
        plan: EvaluationPlan | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.unique = unique
        self.plan = plan or EvaluationPlan()
        self.ranks = Ranks()
        self.train_metrics = SplitMetrics()
        self.evaluation_metrics = SplitMetrics()
        self._optimizer = optimizer
        self._schedule = schedule
        self._sampler: Sampler | None = None
        self._known: SeenItems | None = None
        self._tasks: dict[str, RankingTask] = {}
        self._evaluator: Evaluator | None = None

    @property
    def data(self) -> TwoTowerData:
        """The trainer's dataset."""
        data: TwoTowerData = self.trainer.datamodule.data  # type: ignore[attr-defined]
        return data

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns the optimizer of all parameters."""
        return self._optimizer(self.parameters())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Records which optimizer the saved state belongs to."""
        checkpoint[OPTIMIZER] = type(self.trainer.optimizers[0]).__name__

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Resumes with the optimizer settings of the config, not with those of the checkpoint."""
        checkpoint["optimizer_states"] = [resumed_state(checkpoint, self.configure_optimizers())]

    def on_fit_start(self) -> None:
        """Prepares the sampler of a candidate loss, and training metrics of bounded size for a stream."""
        self.train_metrics = SplitMetrics(keep_logits=self.data.stream is None)
        self._n_steps = int(self.trainer.estimated_stepping_batches) if self._schedule else 0
        if not isinstance(self.loss, CandidateLoss):
            return
        counts = self.data.train_counts.positive if self.data.positives_only else self.data.train_counts.item
        self._sampler = built_sampler(self.loss.sampler, counts.to(self.device))
        if self.loss.mask_known:
            pairs = self.data.schema.interactions.pairs
            user, item = (column.index_select(0, self.data.train_rows).to(self.device) for column in pairs)
            self._known = SeenItems(user, item, self.model.user_tower.n_rows)

    def on_train_epoch_start(self) -> None:
        """Resets the training metrics."""
        self.train_metrics.reset()

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Sets the step size from the step number alone, so that a resumed run may have more steps."""
        if self._schedule is not None:
            factor = self._schedule(self.trainer.global_step, self._n_steps)
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = group.setdefault("full_lr", group["lr"]) * factor

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Mean loss () of the batch; with several ranks, this rank's contribution to it."""
        if self._sampler is not None:
            return self._candidate_step(batch, self._sampler)
        if not len(batch.user):
            return self._no_loss()
        logits = self.logits(batch)
        weights = () if batch.weight is None else (batch.weight,)
        return self._step_loss(self.loss(logits, batch.label, *weights), logits, batch)

    def logits(self, batch: Batch) -> Tensor:
        """Maps a training batch to logits (B,)."""
        if not self.unique:
            logits: Tensor = self.model(batch.user, batch.item, batch.event)
            return logits
        items, item_at = _distinct(batch.item)
        return dot_pairs(*self._user_factors(batch), self.model.item_factors(items), item_at)

    def _user_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the factors of distinct users, and each event's row in them.

        An encoder of events gives every event its own input, so then all rows are distinct.
        """
        if self.model.user_tower.reads_events and batch.event is not None:
            return self.model.user_factors(batch.user, batch.event), _every_row(batch.user)
        users, at = _distinct(batch.user)
        return self.model.user_factors(users), at

    def _candidate_step(self, batch: Batch, sampler: Sampler) -> Tensor:
        """Returns the loss () of a batch of positives compared with the candidates drawn for it."""
        with self.ranks.alike():
            candidates = draw_candidates(sampler, batch, self._known)
        if not len(batch.user):
            return self._no_loss()
        shown = candidates.shown
        groups = [batch.item, candidates.rows, *(() if shown is None else (shown.flatten(),))]
        items, at = torch.unique(torch.cat(groups), return_inverse=True)
        positive_at, candidate_at, *shown_at = at.split([len(rows) for rows in groups])
        factors = self.model.item_factors(items)
        distinct, user_at = self._user_factors(batch)
        users = distinct.index_select(0, user_at)
        positive = (users * factors.index_select(0, positive_at)).sum(dim=1)
        negatives = users @ factors.index_select(0, candidate_at).T
        if shown is not None:
            logits = dot_pairs(distinct, user_at.repeat_interleave(shown.shape[1]), factors, *shown_at)
            negatives = torch.cat([negatives, logits.view(shown.shape)], dim=1)
        pairs = excluded_pairs(batch, candidates, self._known)
        negatives = negatives.index_put(pairs, negatives.new_full((), float("-inf")))
        return self._step_loss(self.loss(positive, negatives, candidates, batch.weight), positive, batch)

    def _step_loss(self, loss: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Updates the training metrics, and returns the value to minimise."""
        penalty = self.model.user_tower.penalty + self.model.item_tower.penalty
        if batch.share is None:
            self.train_metrics.update(loss, logits, batch.label)
            return loss + penalty
        events = len(batch.item) / len(batch.pool)
        self.train_metrics.update(loss * (batch.share / events), logits, batch.label)
        return loss * batch.share + penalty * events

    def _no_loss(self) -> Tensor:
        """Returns the loss () of an empty share of a batch, which changes no gradient."""
        return torch.zeros((), device=self.device, requires_grad=True)

    def on_train_epoch_end(self) -> None:
        """Logs the training metrics; a candidate loss has no labels to measure AUC or accuracy by."""
        if self.ranks.size > 1:
            self.train_metrics.gather(self.ranks.all_of, self.device)
        if self.ranks.first:
            metrics = self.train_metrics.compute()
            self._log("train", metrics if self._sampler is None else {"loss": metrics["loss"]})

    def on_validation_epoch_start(self) -> None:
        """Starts with the current weights."""
        self._evaluator = Evaluator(self.model, "valid")
        self.evaluation_metrics.reset()

    def on_test_epoch_start(self) -> None:
        """Starts with the current weights; histories now contain the validation events."""
        self._evaluator = Evaluator(self.model, "test")
        self.evaluation_metrics.reset()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Scores a batch of labelled pairs."""
        if self.plan.pairs and self.ranks.first:
            assert self._evaluator is not None
            logits = self._evaluator.logits(batch.user, batch.item)
            self.evaluation_metrics.update(self.loss(logits, batch.label), logits, batch.label, batch.user)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Logs the validation metrics."""
        self._log("valid", self.ranks.from_first(lambda: self._metrics("valid")))

    def on_test_epoch_end(self) -> None:
        """Logs the test metrics."""
        self._log("test", self.ranks.from_first(lambda: self._metrics("test")))

    def _metrics(self, part: str) -> dict[str, Tensor | float]:
        metrics: dict[str, Tensor | float] = {}
        if self.plan.pairs:
            metrics |= {name: value.cpu() for name, value in self.evaluation_metrics.compute().items()}
        if self.plan.at:
            metrics |= self.ranking(part).figures()
        return metrics

    def ranking(self, part: str) -> Ranking:
        """Ranks the catalogue for all users with a positive event in `valid` or `test`."""
        if part not in self._tasks:
            self._tasks[part] = ranking_task(self.data, part, self.plan.at)
        assert self._evaluator is not None
        return self._evaluator.ranking(self._tasks[part])

    def _log(self, split: str, metrics: Mapping[str, Tensor | float]) -> None:
        self.log_dict({f"{split}/{name}": value for name, value in metrics.items()})


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distinct rows, and the position of each row in them.

    Equal rows are returned as they are: batch normalisation cannot train on a single row.
    """
    distinct, at = torch.unique(rows, return_inverse=True)
    return (distinct, at) if len(distinct) > 1 else (rows, _every_row(rows))


def _every_row(rows: Tensor) -> Tensor:
    return torch.arange(len(rows), device=rows.device)


def build_module(experiment: Experiment, schema: StarSchema, *, trained: bool = False) -> TrainingModule:
    """Builds the experiment's model with its loss and optimizer.

    Args:
        experiment: The experiment.
        schema: The dataset.
        trained: Whether trained weights are loaded next, so that files of vectors are not needed.

    Raises:
        ConfigError: The model cannot be built, see `build_model`, or batch normalisation would get single rows.
        PartError: The loss does not keep its contract.
        DataError: A file of vectors is missing or wrong.
    """
    model = build_model(experiment, schema)
    loss = built_module(LOSSES, experiment.loss)
    try_loss(experiment.loss, loss, weighted=schema.interactions.weight is not None)
    encoders = [encoder for tower in (model.user_tower, model.item_tower) for _, encoder in tower.features()]
    problems = [str(encoder.problem) for encoder in encoders if encoder.problem]
    if problems and not trained:
        raise DataError("\n".join(problems))
    if experiment.data.batch_size == 1 and any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise ConfigError(
            [Problem("data.batch_size", "at least 2 for blocks with batch normalisation", 1, "Try 1024.")]
        )
    training = experiment.training
    if mode := EXECUTIONS[training.execution]:
        for tower in (model.user_tower, model.item_tower):
            tower.compile_training(mode, dynamic=training.unique or has_candidates(experiment))
    return TrainingModule(
        model,
        loss,
        optimizer=lambda parameters: built_optimizer(experiment.optimizer, list(parameters)),
        unique=training.unique,
        schedule=SCHEDULES[training.schedule],
        plan=EvaluationPlan.of(experiment),
    )
