"""A dataset, labelled and split, and its batches."""

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
from towerzoo.datasets.labels import binary_labels, require_classes, require_two_classes
from towerzoo.datasets.schema.star_schema import EventStream, Interactions, StarSchema, Table
from towerzoo.datasets.splits import Split
from towerzoo.registry import Spec
from towerzoo.registry.errors import DataError

EVALUATION_BATCH_SIZE = 65_536
"""Pairs scored at once in validation and test; vectors are made once a user and item, so a pair costs a dot product."""
EVENTS_AT_ONCE = 1 << 20
"""Events that are looked at together where all are; bounds what that takes beside them."""


class TwoTowerData:
    """A labelled, split star schema that yields batches.

    Args:
        schema: The dataset; its interactions need neither times nor the column that labels are made from.
        labels: float32 labels of all interactions (N,).
        split: Which interactions train, validate and test.
        batch_size: Events a training batch.
        seed: Seed of the training order.
        positives_only: Whether only positive events train, as losses with negatives want.
        label: The rule of labels, by which streamed events get theirs.
        shown: Whether training batches hold the items that were shown with each event's and not taken.

    Raises:
        DataError: Batches are to hold such items, and the dataset has none.
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
                "the dataset must tell which items were shown and not taken for the sampler 'from-column', "
                "got events without them. Choose another sampler."
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
        """The training events, where they are streamed: these are no rows of the interactions."""
        return self.schema.stream

    def events(self, part: str) -> Iterator[Batch]:
        """Yields the events of a part of the split in file order, some at a time.

        Args:
            part: `train`, `valid` or `test`.
        """
        if part == "train" and self.stream is not None:
            yield from self.stream.parts(self.label)
            return
        events = self.schema.interactions
        for rows in torch.split(getattr(self.split, part), EVENTS_AT_ONCE):
            yield Batch(*(column.index_select(0, rows) for column in (events.user, events.item, self.labels)))

    def counts(self, part: str) -> EventCounts:
        """Returns how many events of a part of the split each user and item has."""
        return EventCounts.of(self.events(part), len(self.schema.users), len(self.schema.items))

    @cached_property
    def train_counts(self) -> EventCounts:
        """How many training events each user and item has."""
        return self.counts("train")

    @cached_property
    def stream_digest(self) -> str:
        """The number and the digest of the training events of a stream, as those in memory would have."""
        stream = self.stream
        assert stream is not None
        return digest_of_columns(stream.values(self.label, column) for column in ("user", "item", "label"))

    @property
    def train_rows(self) -> Tensor:
        """The events that a training epoch yields, int32 and ascending; not of a stream."""
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
            label: The rule of labels: keyword arguments of `binary_labels`, `column` among them.
            split: The registered split and its parameters.
            batch_size: Events a training batch.
            fit_on: `catalogue`, or `train` to give users, items and feature values without a training event the
                unknown row.
            seed: Seed of the training order.
            history: Whether users have their training events as a feature.
            positives_only: Whether only positive events train, as losses with negatives want.
            shown: Whether training batches hold the items that were shown with each event's and not taken.

        Raises:
            PartError: The dataset or the split is not what it has to be.
            DataError: The data is missing or malformed or does not suit the label rule, a part of the split is empty
                or of one class where both are needed, or the dataset does not tell which items were shown.
        """
        schema = load_schema(dataset)
        labels = binary_labels(schema.interactions, **label)
        # What has served its purpose goes before the split is drawn; of many millions of events it is half the memory.
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
        require_two_classes(labels, parts, positives_only=positives_only)
        if data.stream is not None:
            require_classes(data.train_counts, positives_only=positives_only)
            _tell_of_unknown(data.train_counts, data.stream.lost_shown() if shown else 0)
        if fit_on == "train":
            counts = data.train_counts
            data.schema = replace(
                schema,
                users=_forget_unseen(schema.users, counts.user > 0),
                items=_forget_unseen(schema.items, counts.item > 0),
            )
        return data

    def train_batches(self, device: torch.device | None = None, share: tuple[int, int] = (0, 1)) -> EpochLoader:
        """Returns the training batches, in a new order each epoch.

        Args:
            device: Where they are used.
            share: Which share of each batch is yielded, from 0, and of how many.
        """
        loader = self._train_loader(device)
        return loader if share == (0, 1) else ShareLoader(loader, *share)

    def _train_loader(self, device: torch.device | None) -> EpochLoader:
        if self.stream is not None:
            positives = self.train_counts.positives if self.positives_only else None
            return self.stream.loader(
                self.label,
                batch_size=self.batch_size,
                seed=self.seed,
                positives=positives,
                shown=self.shown,
                device=device,
            )
        negatives = self.schema.interactions.negatives if self.shown else None
        return self._loader(self.train_rows, self.batch_size, device, seed=self.seed, negatives=negatives)

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


def _tell_of_unknown(counts: EventCounts, lost_shown: int) -> None:
    for side, events in (("user", int(counts.user[0])), ("item", int(counts.item[0]))):
        if events:
            warnings.warn(
                f"{events:,} of {counts.total:,} training events count for the unknown {side}, who has no row.",
                stacklevel=3,
            )
    if lost_shown:
        warnings.warn(
            f"{lost_shown:,} of {counts.total:,} training events were shown with items that have no row, and go "
            "without these.",
            stacklevel=3,
        )


def _forget_unseen(table: Table, seen_rows: Tensor) -> Table:
    """Maps every id that none of the rows that were seen (n_rows,) holds to the unknown id."""
    rows = torch.nonzero(seen_rows)[:, 0]
    columns = {}
    for name, column in table.columns.items():
        if column.vocabulary is not None:
            seen = torch.zeros(column.cardinality, dtype=torch.bool)
            seen[column.values.index_select(0, rows).long()] = True
            column = replace(column, values=torch.where(seen[column.values.long()], column.values, 0))
        columns[name] = column
    return replace(table, columns=columns)
