"""The test figures of parts of the users and items, and of a model that does not know some of their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from towerzoo.datasets import Column, TwoTowerData
from towerzoo.registry.errors import RunError, name_hint
from towerzoo.towers.dssm import DSSM
from towerzoo.towers.measures import Measures
from towerzoo.towers.pair_scores import dot_pairs
from towerzoo.towers.ranking import rank
from towerzoo.towers.ranking_tasks import ranking_task
from towerzoo.towers.scores import Biases
from towerzoo.towers.slice_figures import Figures, item_slices, pair_slices, user_slices
from towerzoo.towers.slices import Slices, column_slices, popularity_slices, warmth_slices
from towerzoo.towers.vector_table import VectorTable

USER_WARMTH, ITEM_WARMTH, POPULARITY = "user-warmth", "item-warmth", "popularity"
"""What can be sliced by besides columns: training events or none, and items by deciles of training events."""


def mask_columns(data: TwoTowerData, names: Sequence[str]) -> None:
    """Makes every value of some features of users or items unknown, as that of somebody or something new.

    Histories stay: they are of events, not of a column. Biases go with their ids, see `mask_biases`.

    Raises:
        RunError: There is no such feature.
    """
    for name in names:
        side = _side(data, name, "--mask", ())
        table = getattr(data.schema, side)
        column = table.column(name)
        columns = {**table.columns, name: replace(column, values=column.unknown.expand_as(column.values).clone())}
        data.schema = replace(data.schema, **{side: replace(table, columns=columns)})


@torch.no_grad()
def mask_biases(model: DSSM, data: TwoTowerData, names: Sequence[str]) -> None:
    """Sets the biases of users, or of items, to 0 where their ids are among the masked features."""
    biases = getattr(model.score, "biases", None)
    if isinstance(biases, Biases):
        for table, bias in ((data.schema.users, biases.user), (data.schema.items, biases.item)):
            if table.key in names and bias is not None:
                bias.weight.zero_()


@torch.no_grad()
def sliced(model: DSSM, data: TwoTowerData, measures: Measures, names: Sequence[str]) -> dict[str, dict[str, Figures]]:
    """Returns the test figures of each slice, by what is sliced by.

    Args:
        model: The model, with the weights to test.
        data: The events.
        measures: Whether pairs are scored, or lists ranked.
        names: Columns of users or items, `user-warmth`, `item-warmth` or `popularity`.

    Raises:
        RunError: There is no such column.
    """
    chosen = [(name, *_slices(data, name)) for name in names]
    model.eval()
    users, items = (
        VectorTable(encode, tower.n_rows)
        for encode, tower in ((model.user_factors, model.user_tower), (model.item_factors, model.item_tower))
    )
    figures = {}
    with model.finished():
        if measures.pairs:
            rows = data.split.test
            user, item = (column.index_select(0, rows) for column in data.schema.interactions.pairs)
            logits, labels = dot_pairs(*users(user), *items(item)), data.labels.index_select(0, rows)
            for name, side, slices in chosen:
                figures[name] = pair_slices(slices, user if side == "users" else item, logits, labels)
        else:
            task = ranking_task(data, "test", measures.at)
            everything = torch.arange(model.item_tower.n_rows)
            ranking = rank(users(task.user)[0], items(everything)[0], task)
            for name, side, slices in chosen:
                figures[name] = (user_slices if side == "users" else item_slices)(slices, ranking)
    return figures


def _slices(data: TwoTowerData, name: str) -> tuple[str, Slices]:
    counts = data.train_counts
    if name == USER_WARMTH:
        return "users", warmth_slices(counts.user)
    if name == ITEM_WARMTH:
        return "items", warmth_slices(counts.item)
    if name == POPULARITY:
        return "items", popularity_slices(counts.item)
    side = _side(data, name, "--by", (USER_WARMTH, ITEM_WARMTH, POPULARITY))
    column: Column = getattr(data.schema, side).column(name)
    return side, column_slices(column)


def _side(data: TwoTowerData, name: str, option: str, others: Sequence[str]) -> str:
    """Returns `users` or `items`, whichever has a column or text."""
    for side in ("users", "items"):
        table = getattr(data.schema, side)
        if name in table.columns or name in table.texts:
            return side
    tables = (data.schema.users, data.schema.items)
    known = [*others, *(name for table in tables for name in (*table.columns, *table.texts))]
    raise RunError(f"{option} must be a column of users or items, got {name!r}. {name_hint(name, known, 'Known')}")
