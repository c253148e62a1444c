"""Labels: which events are positive."""

from __future__ import annotations

import torch
from torch import Tensor

from towerzoo.datasets.schema.star_schema import Interactions
from towerzoo.datasets.vocabulary import Vocabulary
from towerzoo.registry.errors import DataError, name_hint


def binary_labels(
    interactions: Interactions,
    column: str = "rating",
    positive_from: float | None = None,
    *,
    equals: float | str | None = None,
    implicit: bool = False,
) -> Tensor:
    """Returns float32 labels (N,), 1 for positive events and 0 for others, by exactly one of three rules.

    Args:
        interactions: The events.
        column: The feedback column that labels are made from.
        positive_from: Its smallest positive value.
        equals: Its only positive value; a text if the column has texts.
        implicit: Whether every event is positive; the column is then unused.

    Raises:
        DataError: There is no such column, it has missing or infinite values, the rule suits numbers but the column has
            texts or the other way round, or no event has the text.

    Example:
        >>> rows = torch.ones(3, dtype=torch.int32)
        >>> events = Interactions(rows, rows, {"rating": torch.tensor([3.0, 4.0, 5.0])})
        >>> binary_labels(events, "rating", 4), binary_labels(events, equals=4), binary_labels(events, implicit=True)
        (tensor([0., 1., 1.]), tensor([0., 1., 0.]), tensor([1., 1., 1.]))
    """
    if implicit:
        return torch.ones(len(interactions))
    if column not in interactions.feedback:
        known = ", ".join(sorted(interactions.feedback)) or "none"
        raise DataError(
            f"data.label.column must be a feedback column of the dataset, got {column!r}. Columns: {known}."
        )
    values = interactions.feedback[column]
    texts = interactions.categories.get(column)
    if texts is not None:
        equals = _row_of(equals, texts, column)
    elif isinstance(equals, str):
        raise DataError(f"data.label.equals must be a number, since {column} has numbers, got {equals!r}.")
    # NaN and infinity show in the extremes, which need no memory.
    if len(values) and not torch.stack(values.aminmax()).isfinite().all():
        missing = int((~values.isfinite()).sum())
        row = int((~values.isfinite()).nonzero()[0])
        raise DataError(
            f"data.label.column: {column} must be finite in every event, got {values[row].item()!r} in event {row}. "
            f"{missing:,} of {len(values):,} events are like that; remove or fill them."
        )
    if equals is not None:
        return (values == equals).float()
    assert positive_from is not None
    return (values >= positive_from).float()


def _row_of(equals: float | str | None, texts: Vocabulary, column: str) -> int:
    """Returns the row of a text in a column's vocabulary."""
    if not isinstance(equals, str):
        rule, value = ("positive_from", "a threshold") if equals is None else ("equals", repr(equals))
        raise DataError(
            f"data.label.{rule} must suit {column}, which has texts, got {value}. "
            f"Write `equals` and a text. {name_hint(value, map(str, texts.values), 'Texts')}"
        )
    if equals not in texts.values:
        hint = name_hint(equals, map(str, texts.values), "Texts")
        raise DataError(f"data.label.equals must be a text of {column}, got {equals!r}. {hint}")
    return texts.values.index(equals) + 1


def require_classes(part: str, positives: int, total: int, *, positives_only: bool) -> None:
    """Raises a DataError unless a part of the split has both classes, without which AUC is undefined.

    Args:
        part: `train`, `valid` or `test`.
        positives: Its positive events.
        total: All its events.
        positives_only: Whether only positive events train; one positive event is enough then.
    """
    if positives == 0 or (positives == total and not positives_only):
        expected = "1 for some events" if positives_only else "of both classes"
        raise DataError(
            f"The labels of the {part} split must be {expected}, got only {int(positives > 0)} in {total:,} events. "
            "Check data.label, or change the split."
        )
