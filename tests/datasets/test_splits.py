from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from towerzoo.datasets import Split
from towerzoo.datasets.splits import (
    _share,
    leave_last_out_split,
    random_split,
    split_in_order,
    temporal_split,
)
from towerzoo.registry import SPLITS
from towerzoo.registry.errors import DataError

PARTS = ("train", "valid", "test")
WHOLE = sorted({*SPLITS.names()} - {"files"})
"""The splits that assign all events."""


def counts(split: Split) -> tuple[int, ...]:
    return tuple(len(getattr(split, part)) for part in PARTS)


def rows(split: Split) -> list[list[int]]:
    return [getattr(split, part).tolist() for part in PARTS]


def by_fractions(name: str, n: int, fractions: list[float]) -> Split:
    split: Split = SPLITS.build(
        {"name": name, "fractions": fractions}, user=torch.zeros(n), timestamp=torch.arange(n).flip(0)
    )
    return split


@pytest.mark.parametrize("name", ["random", "temporal"])
@pytest.mark.parametrize(
    ("n", "fractions", "expected"),
    [
        # floor(800,167.2), floor(100,020.9), and the rest.
        pytest.param(1_000_209, [0.8, 0.1, 0.1], (800_167, 100_020, 100_022), id="movielens-1m"),
        pytest.param(19, [0.8, 0.1, 0.1], (15, 1, 3), id="test takes both remainders"),
        pytest.param(100, [0.29, 0.57, 0.14], (29, 57, 14), id="floats below their decimals"),
        pytest.param(10, [0.3, 0.6, 0.1], (3, 6, 1), id="thirds of ten"),
    ],
)
def test_counts_are_rounded_down_and_test_takes_the_rest(name, n, fractions, expected):
    assert counts(by_fractions(name, n, fractions)) == expected


@given(st.integers(1, 10**9), st.integers(0, 1000))
def test_share_is_an_exact_decimal(n, thousandths):
    assert _share(n, thousandths / 1000) == n * thousandths // 1000


def test_which_splits_are_in_time():
    user, timestamp = torch.tensor([1, 1, 1]), torch.tensor([3, 4, 5])
    in_time = {name: SPLITS.build(name, user=user.repeat(9), timestamp=timestamp.repeat(9)).in_time for name in WHOLE}
    assert in_time == {name: name != "random" for name in WHOLE}
    assert split_in_order([1, 1, 1], user, timestamp).in_time
    assert not split_in_order([0, 1, 2], user, timestamp, streamed=True).in_time, "its training events are unknown"


@pytest.mark.parametrize("name", WHOLE)
def test_parts_are_disjoint_complete_ascending_and_int32(name, world):
    events = world.interactions
    split: Split = SPLITS.build(name, user=events.user, timestamp=events.timestamp)
    together = torch.cat([split.train, split.valid, split.test])
    assert together.sort().values.tolist() == list(range(len(events)))
    for part in PARTS:
        assert getattr(split, part).dtype == torch.int32
        assert bool((getattr(split, part).diff() > 0).all())


def test_random_split_depends_on_its_seed_alone():
    user = torch.zeros(1_000)
    torch.manual_seed(1)
    first = rows(random_split(user, None, seed=5))
    torch.manual_seed(2)
    assert rows(random_split(user, None, seed=5)) == first
    assert rows(random_split(user, torch.arange(1_000), seed=5)) == first
    assert rows(random_split(user, None, seed=6)) != first


def test_random_split_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    random_split(torch.zeros(10), None)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_split_draws_each_part_from_the_whole_file():
    # The chance that a part of 1,000 of 10,000 rows misses a fifth of the file is 0.8**1000, about 1e-97.
    split = random_split(torch.zeros(10_000), None)
    for part in PARTS:
        assert set((getattr(split, part) // 2_000).tolist()) == {0, 1, 2, 3, 4}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=10, max_size=60))
def test_temporal_split_follows_time_then_file_order(times):
    split = temporal_split(torch.zeros(len(times)), torch.tensor(times))
    order = sorted(range(len(times)), key=lambda row: (times[row], row))
    train, valid = len(times) * 8 // 10, len(times) // 10
    expected = [order[:train], order[train : train + valid], order[train + valid :]]
    assert rows(split) == [sorted(part) for part in expected]


def leave_last_out_slowly(user: list[int], time: list[int]) -> list[list[int]]:
    parts: list[list[int]] = [[], [], []]
    for owner in set(user):
        rows = sorted((row for row in range(len(user)) if user[row] == owner), key=lambda row: (time[row], row))
        if len(rows) >= 3:
            parts[2].append(rows.pop())
            parts[1].append(rows.pop())
        parts[0] += rows
    return [sorted(part) for part in parts]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=40))
def test_leave_last_out_equals_a_slow_reference(events):
    events = [*events, (9, 1), (9, 1), (9, 1)]  # a user with three ties, so that no part is empty
    user, time = [list(column) for column in zip(*events, strict=True)]
    split = leave_last_out_split(torch.tensor(user, dtype=torch.int32), torch.tensor(time))
    assert rows(split) == leave_last_out_slowly(user, time)


def test_leave_last_out_trains_on_users_with_few_events():
    user = torch.tensor([1, 2, 2, 3, 3, 3])
    assert rows(leave_last_out_split(user, torch.tensor([9, 9, 8, 3, 2, 1]))) == [[0, 1, 2, 5], [4], [3]]


def test_leave_last_out_breaks_ties_by_file_order():
    assert rows(leave_last_out_split(torch.ones(4), torch.tensor([7, 7, 7, 7]))) == [[0, 1], [2], [3]]


@pytest.mark.parametrize("name", ["temporal", "leave-last-out"])
def test_missing_timestamps_are_refused(name):
    message = rf"The data has no timestamps, which a {name} split needs\. Use a random split"
    with pytest.raises(DataError, match=message):
        SPLITS.build(name, user=torch.ones(10), timestamp=None)


@pytest.mark.parametrize(
    ("fractions", "empty"), [([0.0, 0.5, 0.5], "train"), ([0.5, 0.0, 0.5], "valid"), ([0.5, 0.5, 0.0], "test")]
)
@pytest.mark.parametrize("name", ["random", "temporal"])
def test_empty_part_is_refused(name, fractions, empty):
    message = rf"The {empty} split is empty\. Change the split, or"
    with pytest.raises(DataError, match=message):
        by_fractions(name, 10, fractions)


@pytest.mark.parametrize("user", [[1, 1, 2], [1], []], ids=str)
def test_leave_last_out_needs_a_user_with_three_events(user):
    rows_of: Tensor = torch.tensor(user, dtype=torch.int32)
    with pytest.raises(DataError, match=r"The (train|valid) split is empty"):
        leave_last_out_split(rows_of, torch.arange(len(user)))


def test_split_by_files_needs_presplit_data():
    with pytest.raises(
        DataError, match=r"data\.split must be a split of events, got 'files' for data without its own split"
    ):
        SPLITS.build("files", user=torch.zeros(3), timestamp=None)


def test_streamed_split_has_no_training_rows():
    one, none = torch.tensor([0]), torch.tensor([])
    assert not len(Split(none, one, one, streamed=True).train)
    with pytest.raises(DataError, match="The train split is empty"):
        Split(none, one, one)
    with pytest.raises(DataError, match="The test split is empty"):
        Split(none, one, none, streamed=True)
