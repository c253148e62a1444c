from __future__ import annotations

import pytest
import torch

from towerzoo.datasets import Split
from towerzoo.datasets.history import History

N_USERS, N_ITEMS, N = 9, 12, 200
GENERATOR = torch.Generator().manual_seed(0)
USER = torch.randint(1, N_USERS - 1, (N,), generator=GENERATOR)  # the last user has no events
ITEM = torch.randint(1, N_ITEMS, (N,), generator=GENERATOR)
RATING = torch.randint(1, 6, (N,), generator=GENERATOR).float()
TIME = torch.randint(0, 40, (N,), generator=GENERATOR)  # with ties


def gather(*, in_time: bool, timestamp: torch.Tensor | None = TIME) -> tuple[History, Split]:
    order = TIME.argsort(stable=True).int() if in_time else torch.randperm(N, generator=GENERATOR).int()
    split = Split(*(part.sort().values for part in order.split([150, 20, 30])), in_time=in_time)
    observed = {"label": (RATING >= 4).float(), "feedback": RATING}
    history = History.gather(USER, ITEM, observed, timestamp, split, n_owners=N_USERS, n_partners=N_ITEMS)
    return history, split


def events_of(rows: torch.Tensor, user: int, timestamp: torch.Tensor | None) -> list[int]:
    """The given events of a user, oldest first, then in file order."""
    events = [row for row in rows.tolist() if USER[row] == user]
    return events if timestamp is None else sorted(events, key=lambda row: (int(timestamp[row]), row))


@pytest.mark.parametrize("timestamp", [TIME, None], ids=["times", "no times"])
@pytest.mark.parametrize("in_time", [True, False])
def test_histories_equal_a_loop(in_time, timestamp):
    history, split = gather(in_time=in_time, timestamp=timestamp)
    for user in range(N_USERS):
        start, end, test_end = (int(part[user]) for part in (history.starts, history.ends, history.test_ends))
        trained = events_of(split.train, user, timestamp)
        assert history.partner[start:end].tolist() == [int(ITEM[row]) for row in trained]
        assert [int(history.position[row]) for row in trained] == list(range(start, end))
        assert history.kinds["feedback"][start:end].tolist() == [int(RATING[row]) - 1 for row in trained]
        assert history.kinds["label"][start:end].tolist() == [int(RATING[row] >= 4) for row in trained]
        later = events_of(split.valid, user, timestamp) if in_time else []
        assert sorted(history.partner[end:test_end].tolist()) == sorted(int(ITEM[row]) for row in later)
    assert history.ordered is (timestamp is not None)


def test_test_events_are_in_no_history():
    for in_time in (True, False):
        history, split = gather(in_time=in_time)
        assert (history.position[split.test.long()] == -1).all()
        assert (history.position[split.train.long()] >= 0).all()
        assert bool((history.position[split.valid.long()] >= 0).all()) is in_time
