"""The DSSM: two towers, a score and a loss, as a LightningModule."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from towerzoo.datasets import Batch
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.towers.metrics import SplitMetrics
from towerzoo.towers.pair_scores import dot_pairs
from towerzoo.towers.tower import Tower
from towerzoo.towers.vector_table import VectorTable


class DSSM(LightningModule):
    """Scores pairs of user rows and item rows.

    With the cosine score and MLP blocks this is the deep structured semantic model of Huang et al., CIKM 2013; with no
    blocks and the dot score it is matrix factorisation.

    Loss, AUC and accuracy are logged as `train/...`, `valid/...` and `test/...` at the end of each epoch, each over the
    whole split. Training figures are those of the weights as they change and with dropout; validation and test encode
    every distinct user and item once.

    Args:
        user_tower: Maps user rows (B,) to vectors (B, D).
        item_tower: Maps item rows (B,) to vectors (B, D).
        score: Maps the vectors of either side to factors, whose dot products are the logits.
        loss: Maps logits (B,) and labels (B,) to a mean loss ().
        optimizer: Makes the optimizer of the parameters that it is given.
        unique: Whether training, too, encodes each distinct user and item of a batch once. The events of a user in a
            batch then share her dropout masks, and batch normalisation weighs each distinct row once.

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
        self.train_metrics = SplitMetrics()
        self.evaluation_metrics = SplitMetrics()
        self.unique = unique
        self._optimizer = optimizer
        self._user_table: VectorTable | None = None
        self._item_table: VectorTable | None = None

    def user_factors(self, rows: Tensor) -> Tensor:
        """Maps user rows (B,) to factors (B, F)."""
        factors: Tensor = self.score.user_factors(self.user_tower(rows), rows)  # type: ignore[operator]
        return factors

    def item_factors(self, rows: Tensor) -> Tensor:
        """Maps item rows (B,) to factors (B, F)."""
        factors: Tensor = self.score.item_factors(self.item_tower(rows), rows)  # type: ignore[operator]
        return factors

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Maps user rows (B,) and item rows (B,) to logits (B,)."""
        if not self.unique:
            return (self.user_factors(user) * self.item_factors(item)).sum(dim=1)
        (users, user_at), (items, item_at) = (_distinct(rows) for rows in (user, item))
        return dot_pairs(self.user_factors(users), user_at, self.item_factors(items), item_at)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns the optimizer of all parameters."""
        return self._optimizer(self.parameters())

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Returns the mean loss () of a batch."""
        logits = self(batch.user, batch.item)
        loss: Tensor = self.loss(logits, batch.label)
        self.train_metrics.update(loss, logits, batch.label)
        return loss

    def on_train_epoch_start(self) -> None:
        """Starts the epoch's training figures."""
        self.train_metrics.reset()

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's training figures."""
        self._log("train", self.train_metrics)

    def on_validation_epoch_start(self) -> None:
        """Forgets the vectors of the last epoch's weights."""
        self._start_evaluation()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Scores validation pairs."""
        self._evaluation_step(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the validation figures."""
        self._log("valid", self.evaluation_metrics)

    def on_test_epoch_start(self) -> None:
        """Forgets all earlier vectors."""
        self._start_evaluation()

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Scores test pairs."""
        self._evaluation_step(batch)

    def on_test_epoch_end(self) -> None:
        """Logs the test figures."""
        self._log("test", self.evaluation_metrics)

    def _start_evaluation(self) -> None:
        self.evaluation_metrics.reset()
        self._user_table = VectorTable(self.user_factors, self.user_tower.n_rows)
        self._item_table = VectorTable(self.item_factors, self.item_tower.n_rows)

    def _evaluation_step(self, batch: Batch) -> None:
        assert self._user_table is not None
        assert self._item_table is not None
        logits = dot_pairs(*self._user_table(batch.user), *self._item_table(batch.item))
        self.evaluation_metrics.update(self.loss(logits, batch.label), logits, batch.label)

    def _log(self, split: str, metrics: SplitMetrics) -> None:
        self.log_dict({f"{split}/{name}": value for name, value in metrics.compute().items()})


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distinct rows, and the place of each row among them; at least two rows where there are two.

    Batch normalisation cannot train on one row, and rows that are all the same are left as they are.
    """
    distinct, places = torch.unique(rows, return_inverse=True)
    return (distinct, places) if len(distinct) > 1 else (rows, torch.arange(len(rows), device=rows.device))
