"""What YAML says about a person's own tables."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from towerzoo.registry.experiment import Section
from towerzoo.registry.ranges import Count

Kind = Literal["text", "number"]
"""What a column is read as where its looks deceive."""

Missing = Literal["error", "mean", "zero", "unknown"]
"""What a missing number becomes."""


class TableFiles(Section):
    """Where a table of users or items lies, and which of its columns are features.

    A column of texts, whole numbers, truth values or dates is a feature of single ids; one of floating-point numbers is
    a feature of numbers; one of Parquet lists, of RecBole's `token_seq` or named in `lists` is a feature of id lists.

    Attributes:
        files: A file, a pattern such as `items/*.parquet`, or a folder of files that are read in the order of names.
        id: The column of raw ids, all different; that of the interactions where not given. It is a feature, too.
        features: The columns that are features; all others where not given.
        title: The column that people read.
        lists: The separator of each column of several values a row, such as `genres: "|"`.
        kinds: Columns to read as `text`, such as zip codes with leading zeros, or as `number`, such as whole prices.
        missing: What a missing number becomes: `error`, none may be missing; `mean`, that of the known ones; `zero`; or
            `unknown`, for which encoders of numbers learn a vector of its own. For all numbers, or by column.
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
    """Where the events lie, and what their columns mean.

    Attributes:
        files: A file, a pattern such as `clicks/*.parquet`, or a folder of files that are read in the order of names.
        valid: Files of the events that validate, where `files` alone train; `split: files` goes with it.
        test: Files of the events that test, likewise.
        stream: Whether the events of `files` are read from Parquet as training needs them, some row groups at a time,
            because they do not fit into memory. Those of `valid` and `test` are in memory in any case.
        shuffle_buffer: Events of a stream that are in memory and mixed at a time; a row group at least. Two items of
            `negatives` count as an event, where training takes them.
        user: The column of users' raw ids.
        item: The column of items' raw ids.
        timestamp: The column of times: dates, ISO 8601 texts, or numbers since 1970 whose unit their size tells.
        weight: The column of numbers > 0 that say how much an event counts in the loss.
        measures: Columns that labels can be made from: numbers or texts.
        negatives: The column of lists of items' raw ids that were shown with the event's item and not taken.
        lists: The separator of the `negatives` column where the files hold it as text; a stream holds Parquet lists.
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
    measures: list[str] = Field(default_factory=list)
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
        """Every column that is read, each once."""
        optional = (self.timestamp, self.weight, *self.measures, self.negatives)
        return list(dict.fromkeys([self.user, self.item, *(name for name in optional if name is not None)]))
