from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from towerzoo.datasets import Split, TwoTowerData
from towerzoo.datasets.history import History
from towerzoo.registry.errors import RunError
from towerzoo.towers.runs.events import load_events, save_events
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.runs.tables import save_tables


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def split_data(world, *, in_time: bool, history: bool = True) -> TwoTowerData:
    """A split that leaves some events out, and whose parts are not contiguous rows."""
    order = torch.randperm(len(world.interactions), generator=torch.Generator().manual_seed(0))
    parts = [rows.sort().values.int() for rows in order[:1_400].split([1_000, 200, 200])]
    split = Split(*parts, in_time=in_time)
    events = world.interactions
    rating = events.feedback["rating"]
    labels = (rating > 3).float()
    if history:
        gathered = History.gather(
            *events.pairs,
            {"label": labels, "feedback": rating},
            events.timestamp if in_time else None,
            split,
            n_owners=len(world.users),
            n_partners=len(world.items),
        )
        world = replace(world, users=replace(world.users, history=gathered))
    return TwoTowerData(world, labels, split, batch_size=8, seed=1)


def saved(run: RunFolder, data: TwoTowerData):
    save_tables(run, data)
    save_events(run, data)
    return load_events(run, n_users=len(data.schema.users), n_items=len(data.schema.items))


@pytest.mark.parametrize("in_time", [False, True])
def test_events_and_histories_come_back_as_they_were(run, world, in_time):
    data = split_data(world, in_time=in_time)
    actual = saved(run, data)
    assert torch.equal(actual.user, data.schema.interactions.user)
    assert torch.equal(actual.item, data.schema.interactions.item)
    assert torch.equal(actual.label, data.labels)
    expected = data.schema.users.history
    for name in ("partner", "starts", "ends", "test_ends", "position"):
        assert torch.equal(getattr(actual.history, name), getattr(expected, name)), name
    assert actual.history.kinds.keys() == expected.kinds.keys()
    for name, kinds in expected.kinds.items():
        assert torch.equal(actual.history.kinds[name], kinds), name
    assert (actual.history.n_partners, actual.history.ordered) == (expected.n_partners, in_time)


def test_a_run_without_histories_has_none(run, world):
    actual = saved(run, split_data(world, in_time=False, history=False))
    assert actual.history is None
    assert len(actual.user) == len(world.interactions)


def test_events_of_another_split_are_refused(run, tmp_path, world):
    saved(run, split_data(world, in_time=True))
    other = RunFolder(tmp_path / "other")
    other.path.mkdir()
    data = split_data(world, in_time=True)
    data.split = Split(data.split.train, data.split.test, data.split.valid)
    save_events(other, data)
    (run.path / "events.parquet").write_bytes((other.path / "events.parquet").read_bytes())
    with pytest.raises(RunError, match=r"events\.parquet is damaged: it belongs to another run\. Copy the run folder"):
        load_events(run, n_users=61, n_items=41)


@pytest.mark.parametrize("how", ["missing", "cut short", "other columns"])
def test_a_missing_or_damaged_file_is_reported(run, world, how):
    saved(run, split_data(world, in_time=False))
    path = run.path / "events.parquet"
    if how == "missing":
        path.unlink()
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        pq.write_table(pa.table({"user": [1], "label": [1.0]}), path)
    expected = {
        "missing": "has no events.parquet",
        "cut short": "events.parquet is damaged: ",
        "other columns": "events.parquet is damaged: 'item'",
    }
    with pytest.raises(RunError, match=expected[how]):
        load_events(run, n_users=61, n_items=41)
