"""Splits: which events are for training, for choosing the best epoch, and for the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from torch import Tensor

from towerzoo.registry import SPLITS
from towerzoo.registry.errors import DataError
from towerzoo.registry.ranges import Seed


def _sum_to_one(fractions: list[float]) -> list[float]:
    if abs(sum(fractions) - 1) > 1e-6:
        raise ValueError("three shares (training, validation, test) that sum to 1")
    return fractions


Fractions = Annotated[
    list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=3, max_length=3), AfterValidator(_sum_to_one)
]
"""The shares of training, validation and test, each in (0, 1), which sum to 1."""

PARTS: Final = ("train", "valid", "test")
"""The parts of a split."""


@dataclass(frozen=True)
class Split:
    """Row numbers of the interactions, int32 and ascending; no event is in two parts.

    Attributes:
        train: Training events; empty if they are streamed.
        valid: Validation events, which choose the best epoch.
        test: Test events, for the final figures.
        in_time: Whether each user's validation events come after their training events and before their test events,
            so that a history may include them in the test.
        streamed: Whether training events are streamed instead of being rows of the interactions.
    """

    train: Tensor
    valid: Tensor
    test: Tensor
    in_time: bool = False
    streamed: bool = False

    def __post_init__(self) -> None:
        for name in PARTS[1:] if self.streamed else PARTS:
            if len(getattr(self, name)) == 0:
                raise DataError(f"The {name} split is empty. Change the split, or add data.")


@SPLITS.register("random")
def random_split(
    user: Tensor,
    timestamp: Tensor | None,
    *,
    fractions: Fractions = [0.8, 0.1, 0.1],  # noqa: B006
    seed: Seed = 42,
) -> Split:
    """Splits events at random, regardless of their user.

    Args:
        user: User rows (N,).
        timestamp: Unused.
        fractions: Shares of training, validation and test; counts are rounded down, and test takes the rest.
        seed: Seed of the split. It is not the experiment's seed, so runs with several seeds share one test set.

    Example:
        >>> split = random_split(torch.zeros(10), None)
        >>> len(split.train), len(split.valid), len(split.test)
        (8, 1, 1)
    """
    order = torch.randperm(len(user), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
    return _cut(order.numpy(), fractions)


@SPLITS.register("temporal")
def temporal_split(
    user: Tensor,
    timestamp: Tensor | None,
    *,
    fractions: Fractions = [0.8, 0.1, 0.1],  # noqa: B006
) -> Split:
    """Splits all events by time: the oldest train, the newest test.

    Args:
        user: Unused.
        timestamp: Times (N,); ties keep their file order.
        fractions: Shares of training, validation and test; counts are rounded down, and test takes the rest.

    Raises:
        DataError: The data has no timestamps.

    Example:
        >>> temporal_split(torch.zeros(5), torch.tensor([3, 1, 1, 2, 9]), fractions=[0.6, 0.2, 0.2]).train
        tensor([1, 2, 3], dtype=torch.int32)
    """
    order = np.argsort(_times(timestamp, "temporal"), kind="stable")
    return replace(_cut(order.astype(np.int32), fractions), in_time=True)


@SPLITS.register("leave-last-out")
def leave_last_out_split(user: Tensor, timestamp: Tensor | None) -> Split:
    """Tests on each user's last event, validates on the one before, and trains on the rest.

    Users with fewer than three events only train.

    Args:
        user: User rows (N,).
        timestamp: Times (N,); ties keep their file order.

    Raises:
        DataError: The data has no timestamps.

    Example:
        >>> split = leave_last_out_split(torch.tensor([1, 1, 1, 2]), torch.tensor([5, 7, 6, 1]))
        >>> split.train.tolist(), split.valid.tolist(), split.test.tolist()
        ([0, 3], [2], [1])
    """
    users = user.numpy()
    order = np.lexsort((_times(timestamp, "leave-last-out"), users))
    _, starts, counts = np.unique(users[order], return_index=True, return_counts=True)
    ends = (starts + counts)[counts >= 3]
    role = np.zeros(len(users), dtype=np.int8)
    role[order[ends - 1]] = 2
    role[order[ends - 2]] = 1
    train, valid, test = (torch.from_numpy(np.flatnonzero(role == part).astype(np.int32)) for part in range(3))
    return Split(train, valid, test, in_time=True)


@SPLITS.register("files")
def files_split(user: Tensor, timestamp: Tensor | None) -> Split:
    """Keeps the data's own split, such as that of `tabular` with `interactions.valid` and `interactions.test`.

    Raises:
        DataError: Always; it is called only for data without its own split.
    """
    raise DataError(
        "data.split must be a split of events, got 'files' for data without its own split. "
        "Name valid and test files in the interactions of the tabular dataset, or use another split."
    )


def split_in_order(sizes: Sequence[int], user: Tensor, timestamp: Tensor | None, *, streamed: bool = False) -> Split:
    """Returns the split of events that are in the order of their parts.

    Args:
        sizes: Events of each of the three parts.
        user: User rows (N,).
        timestamp: Times (N,), which decide whether the split is in time.
        streamed: As in `Split`; the first size is 0 then.

    Example:
        >>> split_in_order([2, 1, 1], torch.tensor([1, 2, 1, 2]), torch.tensor([3, 9, 4, 9])).in_time
        True
    """
    train, valid, test = parts = torch.split(torch.arange(len(user), dtype=torch.int32), list(sizes))
    in_time = not streamed and timestamp is not None and _is_in_time(parts, user, timestamp)
    return Split(train, valid, test, in_time=in_time, streamed=streamed)


def _is_in_time(parts: tuple[Tensor, ...], user: Tensor, timestamp: Tensor) -> bool:
    """Returns whether no user has an event earlier than one in an earlier part."""
    latest = torch.full((int(user.max()) + 1,), torch.iinfo(torch.int64).min)
    for rows in parts:
        owners, times = user.index_select(0, rows).long(), timestamp.index_select(0, rows)
        if bool((times < latest.index_select(0, owners)).any()):
            return False
        latest.scatter_reduce_(0, owners, times, "amax")
    return True


def _times(timestamp: Tensor | None, split: str) -> NDArray[np.int64]:
    if timestamp is None:
        raise DataError(
            f"The data has no timestamps, which a {split} split needs. Use a random split, or data with times."
        )
    return timestamp.numpy()


def _cut(order: NDArray[np.int32], fractions: list[float]) -> Split:
    """Cuts an order of rows into parts, which are sorted in place to save memory."""
    train, valid = (_share(len(order), fraction) for fraction in fractions[:2])
    parts = (order[:train], order[train : train + valid], order[train + valid :])
    for part in parts:
        part.sort()
    return Split(torch.from_numpy(parts[0]), torch.from_numpy(parts[1]), torch.from_numpy(parts[2]))


def _share(n: int, fraction: float) -> int:
    """Returns the number of rows of a share, rounded down.

    Example:
        >>> int(100 * 0.29), _share(100, 0.29)
        (28, 29)
    """
    # The share is a decimal from YAML; the nearest binary number may be below it, which would cost a row.
    return int(n * Decimal(str(fraction)))
