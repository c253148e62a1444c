"""Scores: a user's vector and an item's vector become a logit."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from towerzoo.registry import SCORES
from towerzoo.registry.ranges import Positive


class Biases(nn.Module):
    """The sum of a user bias, an item bias and a global bias, each optional and 0 at first.

    Args:
        n_users: Rows of the users table.
        n_items: Rows of the items table.
        user_bias: Whether each user has a bias.
        item_bias: Whether each item has a bias.
        global_bias: Whether all events share a bias.
    """

    def __init__(self, n_users: int, n_items: int, *, user_bias: bool, item_bias: bool, global_bias: bool) -> None:
        super().__init__()
        self.user = _zeros(n_users) if user_bias else None
        self.item = _zeros(n_items) if item_bias else None
        self.everyone = nn.Parameter(torch.zeros(())) if global_bias else None

    def forward(self, logits: Tensor, user: Tensor, item: Tensor) -> Tensor:
        """Adds the biases of user rows (B,) and item rows (B,) to logits (B,)."""
        if self.user is not None:
            logits = logits + self.user(user).squeeze(-1)
        if self.item is not None:
            logits = logits + self.item(item).squeeze(-1)
        if self.everyone is not None:
            logits = logits + self.everyone
        return logits


@SCORES.register("cosine")
class CosineScore(nn.Module):
    """scale x cosine of the two vectors, plus biases.

    A cosine lies in [-1, 1]; as a logit it could only express probabilities from 0.27 to 0.73, and the binary
    cross-entropy could not fall below 0.313. The scale gives it room. A zero vector has cosine 0 with every other.
    DSSM: Huang et al., CIKM 2013, section 3.3.

    Args:
        n_users: Rows of the users table.
        n_items: Rows of the items table.
        scale: Factor of the cosine, > 0, and so the largest logit without biases.
        learn_scale: Whether the scale is trained; it stays positive.
        user_bias: Whether each user has a bias.
        item_bias: Whether each item has a bias.
        global_bias: Whether all events share a bias.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        *,
        scale: Positive = 10.0,
        learn_scale: bool = False,
        user_bias: bool = False,
        item_bias: bool = False,
        global_bias: bool = False,
    ) -> None:
        super().__init__()
        log_scale = torch.tensor(math.log(scale))
        self.log_scale = nn.Parameter(log_scale) if learn_scale else None
        self.fixed_scale = scale
        self.biases = Biases(n_users, n_items, user_bias=user_bias, item_bias=item_bias, global_bias=global_bias)

    def forward(self, user_vectors: Tensor, item_vectors: Tensor, user: Tensor, item: Tensor) -> Tensor:
        """Maps vectors (B, D) and rows (B,) of both sides to logits (B,)."""
        cosine = functional.cosine_similarity(user_vectors, item_vectors, dim=1)
        scale = self.fixed_scale if self.log_scale is None else self.log_scale.exp()
        logits: Tensor = self.biases(cosine * scale, user, item)
        return logits


@SCORES.register("dot")
class DotScore(nn.Module):
    """Dot product of the two vectors, plus biases; with no blocks below it, matrix factorisation.

    Koren et al., Computer 2009, "Matrix factorization techniques for recommender systems".

    Args:
        n_users: Rows of the users table.
        n_items: Rows of the items table.
        user_bias: Whether each user has a bias.
        item_bias: Whether each item has a bias.
        global_bias: Whether all events share a bias.
    """

    def __init__(
        self, n_users: int, n_items: int, *, user_bias: bool = False, item_bias: bool = False, global_bias: bool = False
    ) -> None:
        super().__init__()
        self.biases = Biases(n_users, n_items, user_bias=user_bias, item_bias=item_bias, global_bias=global_bias)

    def forward(self, user_vectors: Tensor, item_vectors: Tensor, user: Tensor, item: Tensor) -> Tensor:
        """Maps vectors (B, D) and rows (B,) of both sides to logits (B,)."""
        logits: Tensor = self.biases((user_vectors * item_vectors).sum(dim=1), user, item)
        return logits


def _zeros(n: int) -> nn.Embedding:
    embedding = nn.Embedding(n, 1)
    nn.init.zeros_(embedding.weight)
    return embedding
