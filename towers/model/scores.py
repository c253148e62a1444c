"""Scores: a user's vector and an item's vector become a logit.

Every score is the dot product of a user's factors and an item's factors. So a batch can make the factors of each
distinct user and item once, and the best items for a user are found by one matrix product, or by any index of inner
products.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from towerzoo.registry import SCORES, Spec
from towerzoo.registry.ranges import Positive
from towerzoo.towers.layers.trials import trial_numbers, try_part

SHORTEST = 1e-12
"""Vectors up to this length count as zero; the product of two such lengths is still a float32."""


class Biases(nn.Module):
    """A user bias, an item bias and a global bias, each optional and initially 0, as additional factors.

    A user's bias is multiplied by a 1 of the item, and an item's bias by a 1 of the user, so the dot product adds both.

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

    def added(self, logits: Tensor, user: Tensor, item: Tensor) -> Tensor:
        """Adds the biases of user rows (B,) and item rows (B,) to logits (B,) without them."""
        if self.everyone is not None:
            logits = logits + self.everyone
        for bias, rows in ((self.user, user), (self.item, item)):
            if bias is not None:
                logits = logits + bias(rows).squeeze(1)
        return logits

    def user_factors(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Appends the biases of user rows (B,) to their factors (B, F)."""
        bias = self.everyone.expand(len(rows), 1) if self.everyone is not None else None
        if self.user is not None:
            bias = self.user(rows) if bias is None else self.user(rows) + bias
        return _joined(vectors, bias, _ones(vectors) if self.item is not None else None)

    def item_factors(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Appends the biases of item rows (B,) to their factors (B, F)."""
        ones = _ones(vectors) if self.user is not None or self.everyone is not None else None
        return _joined(vectors, ones, self.item(rows) if self.item is not None else None)


def _joined(vectors: Tensor, *factors: Tensor | None) -> Tensor:
    given = [factor for factor in factors if factor is not None]
    return torch.cat([vectors, *given], dim=1) if given else vectors


def _ones(vectors: Tensor) -> Tensor:
    return vectors.new_ones((len(vectors), 1))


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

    def user_factors(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Maps user vectors (B, D) of rows (B,) to factors (B, F) whose length is the scale, before biases."""
        if self.log_scale is None:
            return self.biases.user_factors(_of_length(self.fixed_scale, vectors), rows)
        return self.biases.user_factors(_of_length(1.0, vectors) * self.log_scale.exp(), rows)

    def item_factors(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Maps item vectors (B, D) of rows (B,) to factors (B, F) of length 1, before biases."""
        return self.biases.item_factors(_of_length(1.0, vectors), rows)

    def pairs(self, users: Tensor, items: Tensor, user: Tensor, item: Tensor) -> Tensor:
        """Maps vectors (B, D) and rows (B,) of users and items to logits (B,): what their factors' dot products are."""
        fixed = self.fixed_scale if self.log_scale is None else 1.0
        logits: Tensor = _Cosine.apply(_wide(users), _wide(items), fixed)  # type: ignore[no-untyped-call]
        return self.biases.added(logits if self.log_scale is None else logits * self.log_scale.exp(), user, item)


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

    def user_factors(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Maps user vectors (B, D) of rows (B,) to factors (B, F): themselves, and biases."""
        return self.biases.user_factors(_wide(vectors), rows)

    def item_factors(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Maps item vectors (B, D) of rows (B,) to factors (B, F): themselves, and biases."""
        return self.biases.item_factors(_wide(vectors), rows)


def pair_logits(score: nn.Module, users: Tensor, items: Tensor, user: Tensor, item: Tensor) -> Tensor:
    """Returns a score's logits (B,) of pairs: of user and item vectors (B, D) and their rows (B,)."""
    pairs = getattr(score, "pairs", None)
    if pairs is None:
        products = score.user_factors(users, user) * score.item_factors(items, item)  # type: ignore[operator]
        logits: Tensor = products.sum(dim=1)
    else:
        logits = pairs(users, items, user, item)
    return logits


class _Cosine(torch.autograd.Function):
    """As `scale * cosine_similarity(x, y)`, in half the passes over memory; a zero vector's gradient is zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: float) -> Tensor:
        of_x, of_y = _inverse_norm(x), _inverse_norm(y)
        factor = of_x * of_y * scale
        dot = (x * y).sum(dim=1, keepdim=True)
        ctx.save_for_backward(x, y, of_x, of_y, dot, factor)
        return (dot * factor).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y, of_x, of_y, dot, factor = ctx.saved_tensors
        across = gradient.unsqueeze(1) * factor
        along = across * dot
        return (
            torch.addcmul(y * across, x, along * of_x.square(), value=-1),
            torch.addcmul(x * across, y, along * of_y.square(), value=-1),
            None,
        )


def _inverse_norm(vectors: Tensor) -> Tensor:
    """Returns 1 / length (B, 1) of vectors (B, D), and 0 of those that are too short to have a direction."""
    norm = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where(norm > SHORTEST, 1 / norm, 0.0)


def _of_length(length: float, vectors: Tensor) -> Tensor:
    """Returns vectors (B, D) of the same directions and the given length; zero vectors stay zero."""
    scaled: Tensor = _OfLength.apply(length, _wide(vectors))  # type: ignore[no-untyped-call]
    return scaled


class _OfLength(torch.autograd.Function):
    """As `length * normalize(x)`, in a third of the passes over memory; a zero vector's gradient is zero."""

    @staticmethod
    def forward(ctx: Any, length: float, x: Tensor) -> Tensor:
        factor = _inverse_norm(x) * length
        y = x * factor
        ctx.length = length
        ctx.save_for_backward(y, factor)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        y, factor = ctx.saved_tensors
        along = (gradient * y).sum(dim=1, keepdim=True) / ctx.length**2
        return None, torch.addcmul(gradient, y, along, value=-1).mul_(factor)


def _wide(vectors: Tensor) -> Tensor:
    """Returns vectors in float32 at least: in bfloat16 a logit of 10 would be known to no more than 0.03."""
    return vectors.float() if vectors.dtype in (torch.float16, torch.bfloat16) else vectors


def _zeros(n: int) -> nn.Embedding:
    embedding = nn.Embedding(n, 1)
    nn.init.zeros_(embedding.weight)
    return embedding


def try_score(spec: Spec, score: nn.Module, dim: int) -> None:
    """Tries a score on two vectors of length `dim` a side.

    Raises:
        PartError: It lacks a method, its factors are not (B, F) of one F, or its pairs are not their dot products.
    """
    vectors, rows = (trial_numbers(2, dim), trial_numbers(2, dim, seed=1)), torch.zeros(2, dtype=torch.int64)
    score.eval()
    factors = []
    for name, of_side in zip(("user_factors", "item_factors"), vectors, strict=True):
        contract = f"have a method {name} that maps vectors (B, {dim}) and rows (B,) to factors (B, F)"
        factors.append(try_part(SCORES, spec, contract, (2, None), getattr(score, name, None), of_side, rows))
    users, items = factors
    if users.shape != items.shape:
        problem = f"{users.shape[1]} and {items.shape[1]}"
        raise SCORES.part_error(spec, "have as many user factors as item factors", problem)
    if hasattr(score, "pairs"):
        contract = "have a method pairs that maps vectors and rows of users and items to logits (B,)"
        logits = try_part(SCORES, spec, contract, (2,), pair_logits, score, *vectors, rows, rows)
        products = (users * items).sum(dim=1)
        if not torch.allclose(logits, products, rtol=1e-3, atol=1e-3, equal_nan=True):
            problem = f"{logits.tolist()} for the products {products.tolist()}"
            raise SCORES.part_error(spec, "have pairs that are the dot products of its factors", problem)
    score.train()
