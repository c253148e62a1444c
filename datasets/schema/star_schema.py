"""The star schema: a table of users, a table of items, and the events between them as row numbers.

User and item features are never joined into the events. Row 0 of both tables is the unknown user or item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from towerzoo.datasets.history import History
from towerzoo.datasets.vocabulary import UNKNOWN, Vocabulary

if TYPE_CHECKING:
    from towerzoo.datasets.batches.loaders import Batch, EpochLoader
    from towerzoo.datasets.splits import Split


@dataclass(frozen=True)
class Column:
    """One encoded feature of a table.

    Attributes:
        name: The feature's name in YAML.
        values: int32 ids (n,), int32 padded id lists (n, L), or float32 numbers (n,), NaN where one is unknown.
        vocabulary: The raw value of each id; None for numbers.
    """

    name: str
    values: Tensor
    vocabulary: Vocabulary | None = None

    @property
    def is_list(self) -> bool:
        """Whether a row holds a padded list of ids."""
        return self.values.dim() == 2

    @property
    def unknown(self) -> Tensor:
        """The value () or (L,) of row 0, for an unknown user or item; for numbers, what `missing` says.

        Example:
            >>> Column("age", torch.tensor([30.0, 20.0, 40.0])).unknown
            tensor(30.)
        """
        return self.values[UNKNOWN]

    @property
    def cardinality(self) -> int:
        """Number of ids including the unknown one, so that 0 <= id < cardinality; 0 for numbers."""
        return len(self.vocabulary) if self.vocabulary is not None else 0

    def raw(self, rows: Tensor) -> list[Any]:
        """Returns the raw values of rows (B,), None for unknown ones; lists without their padding.

        Example:
            >>> tags = Column("tags", torch.tensor([[0, 0, 0], [2, 0, 1]]), Vocabulary(["a", "b"]))
            >>> tags.raw(torch.tensor([1, 0]))
            [['b', None, 'a'], []]
            >>> Column("price", torch.tensor([float("nan"), 24.3])).raw(torch.tensor([1, 0]))
            [24.3, None]
        """
        chosen = self.values.index_select(0, rows)
        if self.vocabulary is None:
            # The shortest decimal of the float32: 24.3, not 24.299999237060547.
            return [None if np.isnan(value) else float(str(value)) for value in chosen.numpy()]
        values = chosen.tolist()
        if not self.is_list:
            return list(self.vocabulary.decode(values))
        ends = [max((end for end, id in enumerate(ids, start=1) if id != UNKNOWN), default=0) for ids in values]
        return [self.vocabulary.decode(ids[:end]) for ids, end in zip(values, ends, strict=True)]


@dataclass(frozen=True)
class Table:
    """Users or items, one a row; row 0 is the unknown one.

    Attributes:
        key: Name of the column of raw ids; its value in row r is r.
        columns: Every feature by name, the key among them.
        texts: Texts for people, such as titles: one a row, "" in row 0 and for a missing text.
        history: The training events of each row, if a tower uses them.
    """

    key: str
    columns: Mapping[str, Column]
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    history: History | None = None

    @property
    def ids(self) -> Vocabulary:
        """The raw id of each row."""
        vocabulary = self.columns[self.key].vocabulary
        assert vocabulary is not None
        return vocabulary

    def column(self, name: str) -> Column:
        """Returns a feature, or a text as a feature of single ids, one for each distinct text.

        Example:
            >>> films = Table("film", {}, {"title": ("", "Ran", "Alien", "Ran")})
            >>> films.column("title").values
            tensor([0, 2, 1, 2], dtype=torch.int32)
        """
        if name in self.columns or name not in self.texts:
            return self.columns[name]
        vocabulary = Vocabulary.fit(text for text in self.texts[name] if text)
        return Column(name, torch.from_numpy(vocabulary.encode(self.texts[name])), vocabulary)

    def __len__(self) -> int:
        return len(self.columns[self.key].values)


@dataclass(frozen=True)
class Interactions:
    """Events in file order.

    Attributes:
        user: int32 rows of the users table (N,).
        item: int32 rows of the items table (N,).
        feedback: What users gave or did in each event, float32 (N,) by column name, such as `rating`; generated data
            also has `probability`, the true chance of a positive label. Texts are rows of their vocabulary.
        timestamp: int64 times (N,) in any one unit, if known; only their order matters.
        weight: float32 weight of each event in the loss, > 0 (N,), if known.
        negatives: int32 rows of items that were shown with an event's item and not taken, padded with 0 (N, L), if
            known.
        categories: The vocabulary of each column of texts.
    """

    user: Tensor
    item: Tensor
    feedback: Mapping[str, Tensor]
    timestamp: Tensor | None = None
    weight: Tensor | None = None
    negatives: Tensor | None = None
    categories: Mapping[str, Vocabulary] = field(default_factory=dict)

    @property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """User rows and item rows."""
        return self.user, self.item

    def __len__(self) -> int:
        return len(self.user)


class EventStream(Protocol):
    """Training events that are read as they are needed, with only some of them in memory."""

    def parts(self, label: Mapping[str, Any]) -> Iterator[Batch]:
        """Yields all events in their own order, a buffer at a time.

        Args:
            label: The label rule, keyword arguments of `binary_labels`.
        """

    def values(self, label: Mapping[str, Any], column: str) -> Iterator[Tensor]:
        """Yields one column of `parts`: `user`, `item` or `label`."""

    def lost_shown(self) -> int:
        """Returns how many events were shown with an item that has no row; only for streams with items shown.

        Raises:
            DataError: They cannot be read, or one has no row while that is an error.
        """

    def loader(
        self,
        label: Mapping[str, Any],
        *,
        batch_size: int,
        seed: int | None,
        positives: int | None = None,
        shown: bool = False,
        device: torch.device | None = None,
    ) -> EpochLoader:
        """Returns the batches of an epoch; their order is a pure function of the seed and the epoch's number.

        Args:
            label: The label rule.
            batch_size: Events a batch.
            seed: Seed of the order; None keeps the order of the events.
            positives: The number of positive events if only these train.
            shown: Whether batches include the items that were shown with each event's item and not taken.
            device: The device of the batches.
        """


@dataclass(frozen=True)
class StarSchema:
    """A dataset: its tables, and its events in memory or as a stream.

    Attributes:
        users: The users table.
        items: The items table.
        interactions: The events; with a stream, only validation and test events.
        digest: Hex digest of the sources; equal digests mean equal data.
        notes: Remarks for people about the data, such as dropped events; sentences.
        split: The data's own split, if it has one.
        stream: The training events, if they are streamed; the data then has its own split.
    """

    users: Table
    items: Table
    interactions: Interactions
    digest: str
    notes: tuple[str, ...] = ()
    split: Split | None = None
    stream: EventStream | None = None


@dataclass(frozen=True)
class ColumnNames:
    """The columns of a dataset, known before it is read.

    Attributes:
        users: Features of the users table.
        items: Features of the items table.
        feedback: Columns of the interactions that labels can be made from.
        user_texts: Texts of the users table, which may be features as well.
        item_texts: Texts of the items table.
        negatives: Whether events have the items that were shown with their item and not taken.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    feedback: tuple[str, ...]
    user_texts: tuple[str, ...] = ()
    item_texts: tuple[str, ...] = ()
    negatives: bool = False


class Dataset(Protocol):
    """The contract of a registered dataset: cheap to construct, reads only in `load`.

    Two optional attributes, both read before `load` and false if absent: `presplit`, whether the data comes with its
    own split, and `streamed`, whether the training events are a stream.
    """

    def columns(self) -> ColumnNames:
        """Returns the names of all features and feedback columns without reading the data."""

    def load(self) -> StarSchema:
        """Reads, checks and encodes the data.

        Raises:
            DataError: The data is missing or malformed.
        """
