"""Test metrics of slices of users and items, and of a model that does not know some of their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from towerzoo.datasets import Column, TwoTowerData
from towerzoo.registry.errors import RunError, name_hint
from towerzoo.towers.metrics.plan import EvaluationPlan
from towerzoo.towers.metrics.ranking import ranking_task
from towerzoo.towers.metrics.slices import (
    SliceFigures,
    Slices,
    column_slices,
    item_slices,
    pair_slices,
    popularity_slices,
    user_slices,
    warmth_slices,
)
from towerzoo.towers.model.dssm import DSSM
from towerzoo.towers.model.evaluator import Evaluator

USER_WARMTH, ITEM_WARMTH, POPULARITY = "user-warmth", "item-warmth", "popularity"
"""Slices that are not columns: with or without training events, and items by deciles of training events."""


def require_columns(data: TwoTowerData, mask: Sequence[str], by: Sequence[str]) -> None:
    """Raises a RunError with all names that cannot be masked or sliced by.

    Args:
        data: The data.
        mask: Columns and texts of users or items.
        by: Columns of ids and texts of users or items, `user-warmth`, `item-warmth` or `popularity`.
    """
    tables = (data.schema.items, data.schema.users)  # a name in both means the users' column
    columns = {name: table.columns.get(name) for table in tables for name in (*table.columns, *table.texts)}
    numbers = {name for name, column in columns.items() if column is not None and column.vocabulary is None}
    ids = {USER_WARMTH, ITEM_WARMTH, POPULARITY, *columns} - numbers
    of_numbers = ", which holds numbers"
    problems = [
        f"--mask must be a column of users or items, got {name!r}. {name_hint(name, columns, 'Known')}"
        for name in dict.fromkeys(mask)
        if name not in columns
    ]
    problems += [
        f"--by must be a column of ids of users or items, got {name!r}{of_numbers if name in numbers else ''}. "
        f"{name_hint(name, ids, 'Known')}"
        for name in dict.fromkeys(by)
        if name not in ids
    ]
    if problems:
        raise RunError("\n".join(problems))


def mask_columns(data: TwoTowerData, names: Sequence[str]) -> None:
    """Makes all values of the named columns or texts of users or items unknown, as for new users and items.

    Histories of events do not change. For biases see `mask_biases`.
    """
    for name in names:
        side = _side(data, name)
        table = getattr(data.schema, side)
        column = table.column(name)
        columns = {**table.columns, name: replace(column, values=column.unknown.expand_as(column.values).clone())}
        data.schema = replace(data.schema, **{side: replace(table, columns=columns)})


@torch.no_grad()
def mask_biases(model: DSSM, data: TwoTowerData, names: Sequence[str]) -> None:
    """Sets the biases of users, or of items, to 0 if their ids are masked."""
    for table, bias in ((data.schema.users, model.bias("user")), (data.schema.items, model.bias("item"))):
        if table.key in names and bias is not None:
            bias.weight.zero_()


@torch.no_grad()
def sliced(
    model: DSSM, data: TwoTowerData, plan: EvaluationPlan, names: Sequence[str]
) -> dict[str, dict[str, SliceFigures]]:
    """Returns the test metrics of each slice, by name in `names` and by slice.

    Args:
        model: The model, with the weights to test.
        data: The events.
        plan: Whether pairs are scored, or lists ranked.
        names: What to slice by, see `require_columns`.
    """
    chosen = [(name, *_slices(data, name)) for name in names]
    evaluator = Evaluator(model.eval(), "test")
    if plan.pairs:
        rows = data.split.test
        user, item = (column.index_select(0, rows) for column in data.schema.interactions.pairs)
        logits, labels = evaluator.logits(user, item), data.labels.index_select(0, rows)
        return {
            name: pair_slices(slices, user if side == "users" else item, logits, labels)
            for name, side, slices in chosen
        }
    ranking = evaluator.ranking(ranking_task(data, "test", plan.at))
    return {name: (user_slices if side == "users" else item_slices)(slices, ranking) for name, side, slices in chosen}


def _slices(data: TwoTowerData, name: str) -> tuple[str, Slices]:
    counts = data.train_counts
    if name == USER_WARMTH:
        return "users", warmth_slices(counts.user)
    if name == ITEM_WARMTH:
        return "items", warmth_slices(counts.item)
    if name == POPULARITY:
        return "items", popularity_slices(counts.item)
    side = _side(data, name)
    column: Column = getattr(data.schema, side).column(name)
    return side, column_slices(column)


def _side(data: TwoTowerData, name: str) -> str:
    """Returns which of `users` and `items` has a column or text."""
    users = data.schema.users
    return "users" if name in users.columns or name in users.texts else "items"
