"""The DSSM: two towers, a score and a loss, as a LightningModule."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from towerzoo.datasets import Batch, TwoTowerData
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.towers.losses.candidates import CandidateLoss, Sampler, draw_candidates, excluded_pairs
from towerzoo.towers.losses.samplers import built_sampler
from towerzoo.towers.metrics.pairs import RunningMetrics, SplitMetrics
from towerzoo.towers.metrics.plan import EvaluationPlan
from towerzoo.towers.metrics.ranking import Ranking, RankingTask, rank, ranking_task
from towerzoo.towers.model.pair_scores import dot_pairs
from towerzoo.towers.model.scores import pair_logits
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.retrieval.seen_items import SeenItems
from towerzoo.towers.retrieval.vector_table import VectorTable
from towerzoo.towers.training.optimizers import Schedule
from towerzoo.towers.training.ranks import Ranks
from towerzoo.towers.training.resumed_optimizer import let_go_on


class DSSM(LightningModule):
    """Scores pairs of user rows and item rows.

    With the cosine score and MLP blocks this is the deep structured semantic model of Huang et al., CIKM 2013; with no
    blocks and the dot score it is matrix factorisation.

    Figures are logged as `train/...`, `valid/...` and `test/...` at the end of each epoch, each over the whole split:
    loss, AUC and accuracy of pairs, and those of rankings where `plan` asks for them. Training figures are those of
    the weights as they change and with dropout, without AUC where events are streamed; validation and test encode every
    distinct user and item once.

    Args:
        user_tower: Maps user rows (B,) to vectors (B, D).
        item_tower: Maps item rows (B,) to vectors (B, D).
        score: Maps the vectors of either side to factors, whose dot products are the logits.
        loss: Maps logits (B,), labels (B,) and, where the data has them, weights (B,) to a mean loss (); or a
            `CandidateLoss`.
        optimizer: Makes the optimizer of the parameters that it is given.
        unique: Whether training, too, encodes each distinct user and item of a batch once. The events of a user in a
            batch then share her dropout masks, and batch normalisation weighs each distinct row once.
        schedule: How the optimizer's step size goes over all training steps; none leaves it as it is.
        plan: What is measured in validation and test.

    Attributes:
        ranks: The processes that train it together; the first of them alone validates and tests.

    Raises:
        ConfigError: The towers' vectors are of different length.
    """

    def __init__(
        self,
        user_tower: Tower,
        item_tower: Tower,
        score: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        *,
        unique: bool = False,
        schedule: Schedule | None = None,
        plan: EvaluationPlan | None = None,
    ) -> None:
        super().__init__()
        if user_tower.out_features != item_tower.out_features:
            found = f"{user_tower.out_features} and {item_tower.out_features}"
            raise ConfigError(
                [Problem("the towers' vectors", "of equal length", found, "Change widths or feature dims.")]
            )
        self.user_tower = user_tower
        self.item_tower = item_tower
        self.score = score
        self.loss = loss
        self.train_metrics: SplitMetrics | RunningMetrics = SplitMetrics()
        self.evaluation_metrics = SplitMetrics()
        self.unique = unique
        self.ranks = Ranks()
        self._sampler: Sampler | None = None
        self._known: SeenItems | None = None
        self._optimizer = optimizer
        self._schedule = schedule
        self._plan = plan or EvaluationPlan()
        self._tasks: dict[str, RankingTask] = {}
        self._user_table: VectorTable | None = None
        self._item_table: VectorTable | None = None

    def user_factors(self, rows: Tensor, events: Tensor | None = None) -> Tensor:
        """Maps user rows (B,) to factors (B, F), without what histories hold of training events (B,), where given."""
        factors: Tensor = self.score.user_factors(self.user_tower(rows, events), rows)  # type: ignore[operator]
        return factors

    def item_factors(self, rows: Tensor) -> Tensor:
        """Maps item rows (B,) to factors (B, F)."""
        factors: Tensor = self.score.item_factors(self.item_tower(rows), rows)  # type: ignore[operator]
        return factors

    def forward(self, user: Tensor, item: Tensor, events: Tensor | None = None) -> Tensor:
        """Maps user rows (B,) and item rows (B,) of training events (B,), or of any pairs, to logits (B,)."""
        if not self.unique:
            return pair_logits(self.score, self.user_tower(user, events), self.item_tower(item), user, item)
        items, item_at = _distinct(item)
        return dot_pairs(*self._distinct_users(user, events), self.item_factors(items), item_at)

    def _distinct_users(self, rows: Tensor, events: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the factors of the distinct users, and each row's place; with a history, all events are distinct."""
        if self.user_tower.histories and events is not None:
            return self.user_factors(rows, events), torch.arange(len(rows), device=rows.device)
        users, at = _distinct(rows)
        return self.user_factors(users), at

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns the optimizer of all parameters."""
        return self._optimizer(self.parameters())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lets a resumed run's optimizer have the settings of its config, not those that it was trained with before."""
        let_go_on(checkpoint, self.configure_optimizers())

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Sets the step size: a function of the step alone, so that a resumed run may have another number of them."""
        if self._schedule is not None:
            factor = self._schedule(self.trainer.global_step, self._n_steps)
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = group.setdefault("full_lr", group["lr"]) * factor

    def on_fit_start(self) -> None:
        """Prepares the candidates of a loss that compares events with them, and bounded figures of a stream."""
        data: TwoTowerData | None = getattr(self.trainer, "datamodule", None)
        streamed = data is not None and data.stream is not None
        self.train_metrics = (RunningMetrics() if streamed else SplitMetrics()).to(self.device)
        self._n_steps = int(self.trainer.estimated_stepping_batches) if self._schedule else 0
        if not isinstance(self.loss, CandidateLoss):
            return
        assert data is not None
        counts = data.train_counts.positive if data.positives_only else data.train_counts.item
        self._sampler = built_sampler(self.loss.sampler, counts.to(self.device))
        if self.loss.mask_known:
            events, rows = data.schema.interactions, data.train_rows
            user, item = (column.index_select(0, rows).to(self.device) for column in events.pairs)
            self._known = SeenItems(user, item, self.user_tower.n_rows)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Returns the mean loss () of a batch; of a rank's share of one, what it adds to that of all."""
        if self._sampler is not None:
            return self._candidate_step(batch, self._sampler)
        if not len(batch.user):
            return self._no_loss()
        logits = self(batch.user, batch.item, batch.event)
        weights = () if batch.weight is None else (batch.weight,)
        return self._step_loss(self.loss(logits, batch.label, *weights), logits, batch)

    def _candidate_step(self, batch: Batch, sampler: Sampler) -> Tensor:
        """Returns the loss () of a batch of positives against the candidates that are drawn for it."""
        with self.ranks.alike():
            candidates = draw_candidates(sampler, batch, self._known)
        if not len(batch.user):
            return self._no_loss()
        shown = candidates.shown
        named = [batch.item, candidates.rows] if shown is None else [batch.item, candidates.rows, shown.flatten()]
        items, at = torch.unique(torch.cat(named), return_inverse=True)
        own_at, candidate_at, *shown_at = at.split([len(rows) for rows in named])
        factors = self.item_factors(items)
        distinct, user_at = self._distinct_users(batch.user, batch.event)
        users = distinct.index_select(0, user_at)
        positive = (users * factors.index_select(0, own_at)).sum(dim=1)
        negatives = users @ factors.index_select(0, candidate_at).T
        if shown is not None:
            logits = dot_pairs(distinct, user_at.repeat_interleave(shown.shape[1]), factors, *shown_at)
            negatives = torch.cat([negatives, logits.view(shown.shape)], dim=1)
        pairs = excluded_pairs(batch, candidates, self._known)
        negatives = negatives.index_put(pairs, negatives.new_full((), float("-inf")))
        return self._step_loss(self.loss(positive, negatives, candidates, batch.weight), positive, batch)

    def _step_loss(self, loss: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Keeps what a step says for the training figures, and returns what is minimised."""
        if batch.share is None:
            self.train_metrics.update(loss, logits, batch.label)
            return loss + self._penalty()
        events = len(batch.item) / len(batch.pool)
        self.train_metrics.update(loss * (batch.share / events), logits, batch.label)
        return loss * batch.share + self._penalty() * events

    def _no_loss(self) -> Tensor:
        """Returns the loss () of an empty share, which leaves every gradient as it is."""
        return torch.zeros((), device=self.device, requires_grad=True)

    def _penalty(self) -> Tensor | float:
        return self.user_tower.penalty + self.item_tower.penalty

    def on_train_epoch_start(self) -> None:
        """Starts the epoch's training figures."""
        self.train_metrics.reset()

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's training figures."""
        self.train_metrics.gather(self.ranks, self.device)
        if not self.ranks.first:
            return
        figures = self.train_metrics.compute()
        self._log("train", {"loss": figures["loss"]} if self._sampler is not None else figures)

    def on_validation_epoch_start(self) -> None:
        """Forgets the vectors of the last epoch's weights."""
        self._start_evaluation()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Scores validation pairs."""
        self._evaluation_step(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the validation figures."""
        self._finish_evaluation("valid")

    def on_test_epoch_start(self) -> None:
        """Forgets all earlier vectors, and lets histories hold the validation events."""
        self._start_evaluation()
        self.let_histories_hold_validation(True)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Scores test pairs."""
        self._evaluation_step(batch)

    def on_test_epoch_end(self) -> None:
        """Logs the test figures."""
        self._finish_evaluation("test")
        self.let_histories_hold_validation(False)

    @contextlib.contextmanager
    def finished(self) -> Iterator[None]:
        """Lets histories hold the validation events for a while."""
        self.let_histories_hold_validation(True)
        try:
            yield
        finally:
            self.let_histories_hold_validation(False)

    def let_histories_hold_validation(self, on: bool) -> None:
        """Says whether histories hold the validation events, as they do once a model is finished."""
        for encoder in self.user_tower.histories:
            encoder.testing = on

    def _start_evaluation(self) -> None:
        self.evaluation_metrics.reset()
        self._user_table = VectorTable(self.user_factors, self.user_tower.n_rows)
        self._item_table = VectorTable(self.item_factors, self.item_tower.n_rows)

    def _evaluation_step(self, batch: Batch) -> None:
        if not self._plan.pairs or not self.ranks.first:
            return
        assert self._user_table is not None
        assert self._item_table is not None
        logits = dot_pairs(*self._user_table(batch.user), *self._item_table(batch.item))
        self.evaluation_metrics.update(self.loss(logits, batch.label), logits, batch.label, batch.user)

    def _finish_evaluation(self, part: str) -> None:
        self._log(part, self.ranks.from_first(lambda: self._figures(part)))

    def _figures(self, part: str) -> dict[str, Tensor | float]:
        figures: dict[str, Tensor | float] = {}
        if self._plan.pairs:
            figures |= {name: value.cpu() for name, value in self.evaluation_metrics.compute().items()}
        if self._plan.at:
            figures |= self.ranking(part).figures()
        return figures

    def ranking(self, part: str) -> Ranking:
        """Ranks the catalogue for all users with a positive event in a part of the split, `valid` or `test`."""
        if part not in self._tasks:
            data: TwoTowerData = self.trainer.datamodule  # type: ignore[attr-defined]
            self._tasks[part] = ranking_task(data, part, self._plan.at)
        task = self._tasks[part]
        assert self._user_table is not None
        assert self._item_table is not None
        users, _ = self._user_table(task.user.to(self.device))
        items, _ = self._item_table(torch.arange(self.item_tower.n_rows, device=self.device))
        return rank(users, items, task)

    def _log(self, split: str, figures: Mapping[str, Tensor | float]) -> None:
        self.log_dict({f"{split}/{name}": value for name, value in figures.items()})


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distinct rows, and the place of each row among them; at least two rows where there are two.

    Batch normalisation cannot train on one row, and rows that are all the same are left as they are.
    """
    distinct, places = torch.unique(rows, return_inverse=True)
    return (distinct, places) if len(distinct) > 1 else (rows, torch.arange(len(rows), device=rows.device))
