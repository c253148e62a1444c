"""Scores pairs and ranks the catalogue, encoding each user and item once."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from towerzoo.towers.encoders import AsOf
from towerzoo.towers.metrics.ranking import Ranking, RankingTask, rank
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.model.pair_scores import dot_pairs
from towerzoo.towers.retrieval.vector_table import VectorTable


class Evaluator:
    """Scores with a model's factors, which are computed once: make a new one when its weights change.

    The result equals scoring row by row, at the cost of two tower passes over distinct users and items.

    Args:
        model: The model, in eval mode.
        as_of: Which events histories contain.
    """

    def __init__(self, model: DSSM, as_of: AsOf) -> None:
        self.device = model.device
        self._users = VectorTable(functools.partial(model.user_factors, as_of=as_of), model.user_tower.n_rows)
        self._items = VectorTable(model.item_factors, model.item_tower.n_rows)

    @torch.no_grad()
    def logits(self, user: Tensor, item: Tensor) -> Tensor:
        """Returns the logits (B,) of user rows (B,) and item rows (B,)."""
        return dot_pairs(*self._users(user), *self._items(item))

    @torch.no_grad()
    def ranking(self, task: RankingTask) -> Ranking:
        """Ranks the whole catalogue for the users of a task."""
        users, _ = self._users(task.user.to(self.device))
        items, _ = self._items(torch.arange(self._items.n_rows, device=self.device))
        return rank(users, items, task)
