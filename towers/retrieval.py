"""What a model recommends."""

from __future__ import annotations

import torch
from torch import Tensor

from towerzoo.towers.best_items import TopItems, best_items
from towerzoo.towers.dssm import DSSM
from towerzoo.towers.seen_items import SeenItems
from towerzoo.towers.vector_table import ROWS_AT_ONCE


@torch.no_grad()
def recommend(model: DSSM, users: Tensor, k: int, *, seen: SeenItems | None = None) -> TopItems:
    """Returns the k best items of each user by the model's logit.

    Args:
        model: The model, in eval mode.
        users: User rows (U,).
        k: Items a user, >= 1.
        seen: Items to leave out, by user.
    """
    items = torch.arange(model.item_tower.n_rows, device=users.device)
    return best_items(
        torch.cat([model.user_factors(rows) for rows in torch.split(users, ROWS_AT_ONCE)]),
        torch.cat([model.item_factors(rows) for rows in torch.split(items, ROWS_AT_ONCE)]),
        k,
        seen=None if seen is None else (seen, users),
    )
