"""Encoders map a feature to vectors. The contract is `Encoder`, and `EventsEncoder` for a user's events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from towerzoo.datasets import UNKNOWN, Column
from towerzoo.datasets.history import History
from towerzoo.registry import ENCODERS, Spec
from towerzoo.registry.errors import DataError, RegistryError
from towerzoo.towers.layers.trials import built_module, try_part

if TYPE_CHECKING:
    from towerzoo.towers.encoders.inputs import Input

AsOf = Literal["valid", "test"]
"""Which events are known: those before validation, or those before test, which include the validation events."""


class Encoder(nn.Module):
    """Maps one feature to vectors (B, out_features).

    A registered encoder is a subclass. Its `__init__` takes the column, calls `super().__init__(column)` and sets
    `out_features`; its `forward` maps values of the column to vectors. The other methods have defaults for ids (B,), id
    lists (B, L) and numbers (B,); an encoder overrides those that do not fit its values.

    Args:
        column: The feature: ids (n,), padded id lists (n, L) or numbers (n,), one for each row of the table.

    Attributes:
        column: The feature.
        values: The column's values, on the model's device; not part of the state dict.
        out_features: Length of the vectors.
        sizes_vary: Whether the sizes of tensors inside `forward` change with the batch; then it is not compiled.
        penalty: Factor of a penalty on the vectors of a training batch; if > 0, `forward` sets its value `cost` ().
        problem: Why the encoder cannot be trained yet, such as a missing file; None once weights are loaded.

    Example:
        >>> class Parity(Encoder):
        ...     out_features = 1
        ...     def forward(self, ids: Tensor) -> Tensor:
        ...         return (ids % 2).float().unsqueeze(1)
        >>> from towerzoo.datasets import encode_column
        >>> Parity(encode_column("city", ["Oslo", "Rome"])).encode_rows(torch.tensor([1, 2])).tolist()
        [[1.0], [0.0]]
    """

    source: ClassVar[Literal["column", "events"]] = "column"
    """The input of the encoder: its feature's column, or the users' events under any feature name."""

    out_features: int
    values: Tensor
    cost: Tensor
    sizes_vary = False
    penalty: float = 0.0
    problem: DataError | None = None

    def __init__(self, column: Column) -> None:
        super().__init__()
        self.column = column
        self.register_buffer("values", column.values, persistent=False)

    def inputs(self, rows: Tensor, events: Tensor | None = None, as_of: AsOf = "valid") -> Tensor:
        """Returns the values of table rows (B,), as `forward` takes them.

        Args:
            rows: Rows of the table (B,).
            events: Training events (B,) to score, which must not be part of their own input.
            as_of: Which events are known.
        """
        return self.values.index_select(0, rows)

    def encode_rows(self, rows: Tensor, events: Tensor | None = None, as_of: AsOf = "valid") -> Tensor:
        """Maps table rows (B,) to vectors (B, out_features), like `forward(inputs(...))` but perhaps faster."""
        vectors: Tensor = self(self.inputs(rows, events, as_of))
        return vectors

    def read(self, raw: Sequence[Any]) -> Tensor:
        """Returns any raw values (N,) as `forward` takes them; unseen values and None are unknown.

        Raises:
            ValueError: A value is not a finite number.
        """
        if self.column.vocabulary is None:
            numbers = torch.tensor([math.nan if value is None else float(value) for value in raw], dtype=torch.float32)
            if numbers.isinf().any():
                raise ValueError("numbers must be finite")
            return numbers.where(~numbers.isnan(), self.column.unknown)
        row = self.column.vocabulary.row
        if not self.column.is_list:
            return torch.tensor([row(value) for value in raw], dtype=torch.int32)
        ids = torch.full((len(raw), self.column.values.shape[1]), UNKNOWN, dtype=torch.int32)
        for position, values in enumerate(raw):
            known = [row(value) for value in values or ()][: ids.shape[1]]
            ids[position, : len(known)] = torch.tensor(known, dtype=torch.int32)
        return ids

    def with_newest(self, inputs: Tensor, newest: Tensor) -> Tensor:
        """Returns newer events (B, K) from `read`, followed by lists of events (B, L); only for encoders of events."""
        raise NotImplementedError

    def unknown_like(self, values: Tensor) -> Tensor:
        """Returns unknown values, in the shape of `values`."""
        return self.column.unknown.to(values).expand_as(values)

    def describe(self, value: Tensor) -> str:
        """Returns a row's value () or (L,) as readable text."""
        (raw,) = replace(self.column, values=value.cpu().unsqueeze(0)).raw(torch.tensor([0]))
        if isinstance(raw, list):
            return "|".join(str(value) for value in raw if value is not None) or "none"
        return "unknown" if raw is None else f"{raw:.10g}" if isinstance(raw, float) else str(raw)

    def export_input(self, name: str) -> Input:
        """Returns the feature's input of an exported tower."""
        from towerzoo.towers.encoders.inputs import Input

        if self.column.vocabulary is None:
            number = self.column.unknown.item()
            return Input(name, "number", unknown=None if math.isnan(number) else number)
        if self.column.is_list:
            return Input(name, "ids", vocabulary=name, length=self.column.values.shape[1])
        return Input(name, "id", vocabulary=name)

    def export_vocabulary(self) -> tuple[int, Sequence[Any]] | None:
        """Returns the id of the first raw value, and all raw values in the order of their ids; None without ids."""
        return None if self.column.vocabulary is None else (1, self.column.vocabulary.values)


def reads_events(spec: object) -> bool:
    """Returns whether an encoder's spec names an encoder of the users' events."""
    try:
        name, _ = ENCODERS.split(spec)  # type: ignore[arg-type]
        return getattr(ENCODERS.get(name), "source", "column") == "events"
    except RegistryError:
        return False


def built_encoder(spec: Spec, column: Column | History) -> Encoder:
    """Builds an encoder and tries it on the unknown row, the first row and the row with the highest id.

    Args:
        spec: The encoder.
        column: A column of a table; for an encoder of events, the users' histories.

    Raises:
        PartError: It is not an `Encoder` with `out_features`, or does not map rows to (B, out_features).
    """
    encoder = built_module(ENCODERS, spec, column=column)
    if not isinstance(encoder, Encoder):
        hint = "Derive it from towerzoo.towers.encoders.Encoder."
        raise ENCODERS.part_error(spec, "return an Encoder", f"a {type(encoder).__name__}", hint)
    width = getattr(encoder, "out_features", None)
    if not isinstance(width, int):
        problem = f"a {type(encoder).__name__} without it"
        raise ENCODERS.part_error(spec, "have an attribute out_features", problem, "Set it to a whole number.")
    if encoder.problem is None:  # otherwise it may only lack weights that are loaded later
        rows = _trial_rows(column) if isinstance(column, Column) else torch.arange(2)
        contract = f"map values (B,) or (B, L) to (B, {width})"
        for chunk in (rows, rows[:1]):
            try_part(ENCODERS, spec, contract, (len(chunk), width), encoder.eval().encode_rows, chunk, finite=True)
        encoder.train()
    return encoder


def _trial_rows(column: Column) -> Tensor:
    first = [*range(min(2, len(column.values)))]
    if column.vocabulary is not None:
        highest = column.values.amax(dim=1) if column.is_list else column.values
        first.append(int(highest.argmax()))
    return torch.tensor(first)
