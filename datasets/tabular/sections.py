"""The YAML sections of the `tabular` dataset."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from towerzoo.registry.experiment import Section
from towerzoo.registry.ranges import Count

Kind = Literal["text", "number"]
"""The type that a column is read as when its own is misleading."""

Missing = Literal["error", "mean", "zero", "unknown"]
"""What a missing number becomes."""


class TableFiles(Section):
    """The files of a table of users or items, and which of their columns are features.

    A column of texts, whole numbers, booleans or dates is a feature of single ids; one of floating-point numbers is a
    numeric feature; one of Parquet lists, of RecBole's `token_seq` or named in `lists` is a feature of id lists.

    Attributes:
        files: A file, a pattern such as `items/*.parquet`, or a folder of files, which are read in the order of names.
        id: The column of raw ids, all different; by default the one of the interactions. It is a feature, too.
        features: The columns that are features; by default all others.
        title: The column that people read.
        lists: The separator of each column with several values a row, such as `genres: "|"`.
        kinds: Columns to read as `text`, such as zip codes with leading zeros, or as `number`, such as whole prices.
        missing: What a missing number becomes: `error` allows none; `mean`, the mean of the known ones; `zero`; or
            `unknown`, for which encoders of numbers learn a vector. One for all numeric features, or one by column.
    """

    files: str
    id: str | None = None
    features: list[str] | None = None
    title: str | None = None
    lists: dict[str, str] = Field(default_factory=dict)
    kinds: dict[str, Kind] = Field(default_factory=dict)
    missing: Missing | dict[str, Missing] = "error"

    def missing_policy(self, column: str) -> Missing:
        """Returns what a missing number of a column becomes."""
        return self.missing.get(column, "error") if isinstance(self.missing, dict) else self.missing


class InteractionFiles(Section):
    """The files of the events, and what their columns mean.

    Attributes:
        files: A file, a pattern such as `clicks/*.parquet`, or a folder of files, which are read in the order of names.
        valid: Files of the validation events; `files` then holds training events only, and `split` is `files`.
        test: Files of the test events, likewise.
        stream: Whether the events of `files` are read from Parquet during training, some row groups at a time, because
            they do not fit into memory. Validation and test events are always in memory.
        shuffle_buffer: Events of a stream that are in memory and shuffled together; at least one row group. Two ids of
            `negatives` count as one event if training uses them.
        user: The column of users' raw ids.
        item: The column of items' raw ids.
        timestamp: The column of times: dates, ISO 8601 texts, or numbers since 1970, whose size gives their unit.
        weight: The column of each event's weight in the loss, a number > 0.
        feedback: Columns that labels can be made from: numbers or texts.
        negatives: The column of lists of raw ids of items that were shown with the event's item and not taken.
        lists: The separator of the `negatives` column if the files hold it as text; a stream needs Parquet lists.
        kinds: Columns to read as `text`, such as ids with leading zeros, or as `number`.
    """

    files: str
    valid: str | None = None
    test: str | None = None
    stream: bool = False
    shuffle_buffer: Count = 1_000_000
    user: str = "user_id"
    item: str = "item_id"
    timestamp: str | None = None
    weight: str | None = None
    feedback: list[str] = Field(default_factory=list)
    negatives: str | None = None
    lists: dict[str, str] = Field(default_factory=dict)
    kinds: dict[str, Kind] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _require_parts(self) -> InteractionFiles:
        if (self.valid is None) != (self.test is None):
            raise ValueError("a mapping with both valid and test, or with neither")
        if self.stream and self.valid is None:
            raise ValueError("a mapping with valid and test where stream is true, since a stream cannot be split")
        return self

    @property
    def columns(self) -> list[str]:
        """Every column that is read, without repetition."""
        optional = (self.timestamp, self.weight, *self.feedback, self.negatives)
        return list(dict.fromkeys([self.user, self.item, *(name for name in optional if name is not None)]))
