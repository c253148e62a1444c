"""The two-tower model: a user tower, an item tower, and a score of their vectors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.towers.encoders import AsOf
from towerzoo.towers.model.scores import pair_logits
from towerzoo.towers.model.tower import Tower


class DSSM(nn.Module):
    """Scores pairs of users and items.

    With MLP blocks and the cosine score this is the deep structured semantic model of Huang et al., CIKM 2013; with no
    blocks and the dot score it is matrix factorisation; with biases alone, the bias baseline.

    A logit is the dot product of a user's and an item's factors: the scaled vector of the tower, extended by the biases
    of the score. One matrix product, or any index of inner products, therefore finds the best items of a user.

    Args:
        user_tower: Maps user rows (B,) to vectors (B, D).
        item_tower: Maps item rows (B,) to vectors (B, D).
        score: Maps the vectors of either side to factors (B, F).

    Raises:
        ConfigError: The towers' vectors differ in length.
    """

    def __init__(self, user_tower: Tower, item_tower: Tower, score: nn.Module) -> None:
        super().__init__()
        if user_tower.out_features != item_tower.out_features:
            lengths = f"{user_tower.out_features} and {item_tower.out_features}"
            raise ConfigError(
                [Problem("the towers' vectors", "of equal length", lengths, "Change widths or feature dims.")]
            )
        self.user_tower = user_tower
        self.item_tower = item_tower
        self.score = score

    def user_factors(self, rows: Tensor, events: Tensor | None = None, as_of: AsOf = "valid") -> Tensor:
        """Maps user rows (B,) to factors (B, F); for `events` and `as_of` see `Tower.forward`."""
        factors: Tensor = self.score.user_factors(self.user_tower(rows, events, as_of), rows)  # type: ignore[operator]
        return factors

    def item_factors(self, rows: Tensor) -> Tensor:
        """Maps item rows (B,) to factors (B, F)."""
        factors: Tensor = self.score.item_factors(self.item_tower(rows), rows)  # type: ignore[operator]
        return factors

    def forward(self, user: Tensor, item: Tensor, events: Tensor | None = None, as_of: AsOf = "valid") -> Tensor:
        """Maps user rows (B,) and item rows (B,) to logits (B,); `events` and `as_of` as of `Tower.forward`."""
        return pair_logits(self.score, self.user_tower(user, events, as_of), self.item_tower(item), user, item)

    def bias(self, side: Literal["user", "item"]) -> nn.Embedding | None:
        """Returns the score's bias of each user or item, if it has one."""
        return getattr(getattr(self.score, "biases", None), side, None)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.parameters()).device

    def describe(self) -> str:
        """Returns both towers as torch prints them, and the number of parameters."""
        parts = []
        for side, tower in (("user", self.user_tower), ("item", self.item_tower)):
            features = ", ".join(f"{feature} {encoder.out_features}" for feature, encoder in tower.features())
            parts.append(f"{side} tower: {features or 'no features'}\n{tower.mlp}")
        total = sum(parameter.numel() for parameter in self.parameters())
        return "\n".join([*parts, f"score: {type(self.score).__name__}, {total:,} parameters in all"])
