"""Labels: what counts as a positive event."""

from __future__ import annotations

import torch
from torch import Tensor

from towerzoo.datasets.splits import Split
from towerzoo.datasets.star_schema import Interactions
from towerzoo.registry.errors import DataError


def binary_labels(interactions: Interactions, column: str, positive_from: float) -> Tensor:
    """Returns float32 labels (N,): 1 where the measure is at least `positive_from`, else 0.

    Raises:
        DataError: There is no such measure, or it holds values that are not numbers.

    Example:
        >>> rows = torch.ones(3, dtype=torch.int32)
        >>> binary_labels(Interactions(rows, rows, {"rating": torch.tensor([3.0, 4.0, 5.0])}), "rating", 4)
        tensor([0., 1., 1.])
    """
    if column not in interactions.measures:
        known = ", ".join(sorted(interactions.measures))
        raise DataError(f"data.label.column must be a measure of the dataset, got {column!r}. Measures: {known}.")
    values = interactions.measures[column]
    # NaN and infinity show in the extremes, which take no memory; where they are is looked up only then.
    if len(values) and not torch.stack(values.aminmax()).isfinite().all():
        missing = int((~values.isfinite()).sum())
        row = int((~values.isfinite()).nonzero()[0])
        raise DataError(
            f"data.label.column: every {column} must be a finite number, got {values[row].item()!r} in event {row}. "
            f"{missing:,} of {len(values):,} events are like that; remove or fill them."
        )
    return (values >= positive_from).float()


def require_two_classes(labels: Tensor, split: Split) -> None:
    """Raises a DataError unless each part of the split holds both classes, without which AUC has no meaning."""
    for name in ("train", "valid", "test"):
        part = labels.index_select(0, getattr(split, name))
        # Not from the mean, which float32 rounds to 1 where one label in many millions differs.
        least, most = (int(label) for label in part.aminmax())
        if least == most:
            raise DataError(
                f"the labels of the {name} split must be of both classes, got only {least} in {len(part):,} events. "
                f"Look at data.label.positive_from, or change the split."
            )
