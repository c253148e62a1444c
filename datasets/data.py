"""A labelled and split dataset, and its batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from towerzoo.datasets.batches.counts import EventCounts, digest_of_columns
from towerzoo.datasets.batches.loaders import Batch, BatchLoader, EpochLoader, ShareLoader
from towerzoo.datasets.checks import draw_split, load_schema
from towerzoo.datasets.history import History
from towerzoo.datasets.labels import binary_labels, require_classes
from towerzoo.datasets.schema.star_schema import EventStream, Interactions, StarSchema, Table
from towerzoo.datasets.splits import PARTS, Split
from towerzoo.registry import Spec
from towerzoo.registry.errors import DataError

EVALUATION_BATCH_SIZE = 65_536
"""Pairs scored together in validation and test; each user and item has one vector, so a pair costs a dot product."""
EVENTS_AT_ONCE = 1 << 20
"""Events of a part that are yielded together; bounds the memory of their copies."""


class TwoTowerData:
    """A labelled, split star schema that yields batches.

    Args:
        schema: The dataset; its interactions need no times and no feedback.
        labels: float32 labels of all interactions (N,).
        split: Which interactions are for training, validation and test.
        batch_size: Events a training batch.
        seed: Seed of the training order.
        positives_only: Whether only positive events train, for losses with negatives.
        label: The label rule, which streamed events need.
        shown: Whether training batches include the items that were shown with each event's item and not taken.

    Raises:
        DataError: `shown` is set, but the dataset has no such items.
    """

    def __init__(
        self,
        schema: StarSchema,
        labels: Tensor,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        positives_only: bool = False,
        label: Mapping[str, Any] | None = None,
        shown: bool = False,
    ) -> None:
        if shown and schema.interactions.negatives is None:
            raise DataError(
                "The sampler 'from-column' needs the items that were shown and not taken, which this dataset does not "
                "have. Choose another sampler."
            )
        self.schema = schema
        self.labels = labels
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.positives_only = positives_only
        self.shown = shown
        self.label = label or {}

    @property
    def stream(self) -> EventStream | None:
        """The training events if they are streamed; they are not rows of the interactions then."""
        return self.schema.stream

    def events(self, part: str) -> Iterator[Batch]:
        """Yields the events of `train`, `valid` or `test` in file order, a chunk at a time."""
        if part == "train" and self.stream is not None:
            yield from self.stream.parts(self.label)
            return
        events = self.schema.interactions
        for rows in torch.split(getattr(self.split, part), EVENTS_AT_ONCE):
            yield Batch(*(column.index_select(0, rows) for column in (events.user, events.item, self.labels)))

    def counts(self, part: str) -> EventCounts:
        """Returns how many events of `train`, `valid` or `test` each user and item has."""
        return EventCounts.of(self.events(part), len(self.schema.users), len(self.schema.items))

    @cached_property
    def train_counts(self) -> EventCounts:
        """How many training events each user and item has."""
        return self.counts("train")

    @cached_property
    def stream_digest(self) -> str:
        """The number and the digest of streamed training events, equal to those of the same events in memory."""
        stream = self.stream
        assert stream is not None
        return digest_of_columns(stream.values(self.label, column) for column in ("user", "item", "label"))

    @property
    def train_rows(self) -> Tensor:
        """The rows of the events in a training epoch, int32 and ascending; not for a stream."""
        rows = self.split.train
        return rows[self.labels.index_select(0, rows) > 0.5] if self.positives_only else rows

    @classmethod
    def load(
        cls,
        dataset: Spec,
        *,
        label: Mapping[str, Any],
        split: Spec,
        batch_size: int,
        fit_on: str,
        seed: int,
        history: bool = False,
        positives_only: bool = False,
        shown: bool = False,
    ) -> TwoTowerData:
        """Builds a registered dataset, loads, labels and splits it.

        Args:
            dataset: The registered dataset and its parameters.
            label: The label rule: keyword arguments of `binary_labels`, including `column`.
            split: The registered split and its parameters.
            batch_size: As in the class, like `seed`, `positives_only` and `shown`.
            fit_on: `catalogue`, or `train` to map users, items and feature values without a training event to the
                unknown row.
            seed: Seed of the training order.
            history: Whether users have their training events as a feature.
            positives_only: Whether only positive events train.
            shown: Whether training batches include the items shown.

        Raises:
            PartError: The dataset or the split breaks its contract.
            DataError: The data is missing or malformed or does not suit the label rule, a part of the split is empty or
                lacks a class, or the dataset has no items shown.
        """
        schema = load_schema(dataset)
        labels = binary_labels(schema.interactions, **label)
        # Times and feedback are dropped before the split is drawn: half the memory of many millions of events.
        timestamp = schema.interactions.timestamp
        feedback = _feedback(schema.interactions, label["column"], labels) if history else None
        others = {name: values for name, values in schema.interactions.feedback.items() if name != label["column"]}
        negatives = schema.interactions.negatives if shown else None
        events = replace(schema.interactions, feedback=others, timestamp=None, negatives=negatives)
        schema = replace(schema, interactions=events)
        parts: Split = schema.split or draw_split(split, events.user, timestamp)
        if feedback is not None:
            observed = {"label": labels, "feedback": feedback}
            gathered = History.gather(
                events.user,
                events.item,
                observed,
                timestamp,
                parts,
                n_owners=len(schema.users),
                n_partners=len(schema.items),
            )
            schema = replace(schema, users=replace(schema.users, history=gathered))
        del timestamp
        data = cls(
            schema,
            labels,
            parts,
            batch_size=batch_size,
            seed=seed,
            positives_only=positives_only,
            label=dict(label),
            shown=shown,
        )
        for part in PARTS[1:] if parts.streamed else PARTS:
            part_labels = labels.index_select(0, getattr(parts, part))
            positives = int(part_labels.count_nonzero())
            require_classes(part, positives, len(part_labels), positives_only=positives_only)
        if data.stream is not None:
            counts = data.train_counts
            require_classes("train", counts.positives, counts.total, positives_only=positives_only)
            _warn_of_unknown(counts, data.stream.lost_shown() if shown else 0)
        if fit_on == "train":
            counts = data.train_counts
            data.schema = replace(
                schema,
                users=_hide_unseen(schema.users, counts.user > 0),
                items=_hide_unseen(schema.items, counts.item > 0),
            )
        return data

    def train_batches(self, device: torch.device | None = None, share: tuple[int, int] = (0, 1)) -> EpochLoader:
        """Returns the training batches, in a new order each epoch.

        Args:
            device: The device of the batches.
            share: The share of each batch to yield, from 0, and the number of shares.
        """
        loader: EpochLoader
        if self.stream is not None:
            loader = self.stream.loader(
                self.label,
                batch_size=self.batch_size,
                seed=self.seed,
                positives=self.train_counts.positives if self.positives_only else None,
                shown=self.shown,
                device=device,
            )
        else:
            negatives = self.schema.interactions.negatives if self.shown else None
            loader = self._loader(self.train_rows, self.batch_size, device, seed=self.seed, negatives=negatives)
        return loader if share == (0, 1) else ShareLoader(loader, *share)

    def batches(self, part: str, device: torch.device | None = None) -> BatchLoader:
        """Returns the pairs of a part of the split, `valid` or `test`, in file order."""
        return self._loader(getattr(self.split, part), EVALUATION_BATCH_SIZE, device)

    def _loader(
        self,
        rows: Tensor,
        batch_size: int,
        device: torch.device | None,
        *,
        seed: int | None = None,
        negatives: Tensor | None = None,
    ) -> BatchLoader:
        interactions = self.schema.interactions
        events = Batch(
            interactions.user, interactions.item, self.labels, interactions.weight, event=None, negatives=negatives
        )
        return BatchLoader(events, rows, batch_size=batch_size, seed=seed, device=device)


def _feedback(events: Interactions, column: str, labels: Tensor) -> Tensor:
    """Returns the column that labels are made from; the labels themselves if there is none or it has texts."""
    return labels if column in events.categories else events.feedback.get(column, labels)


def _warn_of_unknown(counts: EventCounts, lost_shown: int) -> None:
    for side, events in (("user", int(counts.user[0])), ("item", int(counts.item[0]))):
        if events:
            warnings.warn(
                f"{events:,} of {counts.total:,} training events are assigned to the unknown {side}.",
                stacklevel=3,
            )
    if lost_shown:
        warnings.warn(
            f"{lost_shown:,} of {counts.total:,} training events lost items shown that have no row.",
            stacklevel=3,
        )


def _hide_unseen(table: Table, seen_rows: Tensor) -> Table:
    """Maps every id that occurs in none of the seen rows (n_rows,) to the unknown id."""
    rows = torch.nonzero(seen_rows)[:, 0]
    columns = {}
    for name, column in table.columns.items():
        if column.vocabulary is not None:
            seen = torch.zeros(column.cardinality, dtype=torch.bool)
            seen[column.values.index_select(0, rows).long()] = True
            column = replace(column, values=torch.where(seen[column.values.long()], column.values, 0))
        columns[name] = column
    return replace(table, columns=columns)
