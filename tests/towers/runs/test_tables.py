from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from towerzoo.datasets import Column, Interactions, Split, StarSchema, Table, TwoTowerData, Vocabulary
from towerzoo.registry.errors import RunError
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.runs.tables import load_tables, require_same_data, save_tables


def ids(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def hand_made(**texts: tuple[str, ...]) -> TwoTowerData:
    """Unicode, text ids, missing values, empty lists, lists with an unknown id between others, numbers."""
    users = [
        Column("user_id", ids(0, 1, 2, 3), Vocabulary(["Zoë", "a,b\n", "東京"])),
        Column("town", ids(0, 2, 0, 1), Vocabulary([-5, 2**40])),
        Column("income", torch.tensor([0.0, 0.1, float("nan"), -1e30])),
        Column("nothing", ids(0, 0, 0, 0), Vocabulary(["never seen"])),
    ]
    tags = torch.tensor([[0, 0, 0], [0, 0, 0], [3, 0, 1]], dtype=torch.int32)
    items = [
        Column("item_id", ids(0, 1, 2), Vocabulary([10, 7])),
        Column("tags", tags, Vocabulary(["á", "b", ""])),
        Column("sizes", torch.tensor([[0, 0], [1, 2], [2, 0]], dtype=torch.int32), Vocabulary([40, 41])),
        Column("no_tags", torch.zeros(3, 2, dtype=torch.int32), Vocabulary(["never seen"])),
    ]
    schema = StarSchema(
        Table("user_id", {column.name: column for column in users}),
        Table("item_id", {column.name: column for column in items}, {"title": texts.get("title", ("", "Amélie", ""))}),
        Interactions(ids(1, 2, 3, 1), ids(1, 2, 1, 2), {"rating": torch.tensor([1.0, 2.0, 3.0, 4.0])}),
        digest="by hand",
    )
    split = Split(torch.tensor([0, 1]), torch.tensor([2]), torch.tensor([3]))
    return TwoTowerData(schema, torch.tensor([0.0, 1.0, 0.0, 1.0]), split, batch_size=2, seed=1)


@pytest.fixture
def generated(world) -> TwoTowerData:
    parts = torch.arange(len(world.interactions)).split(500)
    return TwoTowerData(world, (world.interactions.feedback["rating"] > 3).float(), Split(*parts), batch_size=8, seed=1)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def assert_equal_tables(actual: Table, expected: Table) -> None:
    assert actual.key == expected.key
    assert dict(actual.texts) == dict(expected.texts)
    assert list(actual.columns) == list(expected.columns)
    for name, column in expected.columns.items():
        read = actual.columns[name]
        assert read.values.dtype == column.values.dtype
        assert torch.equal(read.values.nan_to_num(9.0), column.values.nan_to_num(9.0)), name
        assert read.vocabulary == column.vocabulary


@pytest.mark.parametrize(
    "title",
    [
        Column("title", ids(0, 2, 1), Vocabulary([1917, 1984])),
        Column("title", ids(0, 1, 0), Vocabulary(["Amélie"])),
        Column("title", torch.tensor([float("nan"), 1.5, float("nan")])),
    ],
    ids=["whole numbers", "words", "numbers"],
)
def test_a_title_may_be_a_feature_as_well(run, title):
    data = hand_made()
    items = replace(data.schema.items, columns={**data.schema.items.columns, "title": title})
    data.schema = replace(data.schema, items=items)
    save_tables(run, data)
    assert_equal_tables(load_tables(run)[1], items)


@pytest.mark.parametrize("source", ["hand made", "generated"])
def test_tables_come_back_as_they_were(run, generated, source, make_experiment):
    data = hand_made() if source == "hand made" else generated
    save_tables(run, data)
    users, items = load_tables(run)
    assert_equal_tables(users, data.schema.users)
    assert_equal_tables(items, data.schema.items)
    require_same_data(run, data, make_experiment())


def test_the_files_hold_raw_values_for_people(run):
    save_tables(run, hand_made())
    users, items = (pq.read_table(run.path / f"{side}.parquet").to_pydict() for side in ("users", "items"))
    assert users["user_id"] == [None, "Zoë", "a,b\n", "東京"]
    assert users["town"] == [None, 2**40, None, -5]
    assert items["tags"] == [[], [], ["", None, "á"]]
    assert items["title"] == ["", "Amélie", ""]
    assert sorted(path.name for path in run.path.iterdir()) == ["items.parquet", "schema.json", "users.parquet"]


def replaced(data: TwoTowerData, *, labels=None, split=None, users=None, items=None, user=None) -> TwoTowerData:
    schema, events = data.schema, data.schema.interactions
    return TwoTowerData(
        StarSchema(
            users or schema.users,
            items or schema.items,
            Interactions(events.user if user is None else user, events.item, events.feedback),
            schema.digest,
        ),
        data.labels if labels is None else labels,
        split or data.split,
        batch_size=data.batch_size,
        seed=data.seed,
    )


def with_column(table: Table, column: Column) -> Table:
    return Table(table.key, {**table.columns, column.name: column}, table.texts)


DATA = hand_made()
USERS, ITEMS = DATA.schema.users, DATA.schema.items


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"users": with_column(USERS, Column("town", ids(0, 1, 0, 1), Vocabulary([-5, 2**40])))}, "users"),
        ({"users": with_column(USERS, Column("town", ids(0, 2, 0, 1), Vocabulary([-5, 3])))}, "users"),
        ({"users": Table("user_id", {"user_id": USERS.columns["user_id"]})}, "users"),
        ({"items": with_column(ITEMS, Column("sizes", torch.zeros(3)))}, "items"),
        ({"items": Table(ITEMS.key, ITEMS.columns)}, "items"),
        ({"labels": 1 - DATA.labels}, "events, labels or split"),
        ({"user": ids(2, 1, 3, 1)}, "events, labels or split"),
        ({"split": Split(torch.tensor([0, 3]), torch.tensor([2]), torch.tensor([1]))}, "events, labels or split"),
    ],
    ids=["values", "vocabulary", "columns", "kind", "texts", "labels", "events", "split"],
)
def test_other_data_is_refused(run, changes, what, make_experiment):
    save_tables(run, DATA)
    expected = f"The dataset's {what} are not the ones that {run.path} was trained on. .* to the original data"
    with pytest.raises(RunError, match=expected):
        require_same_data(run, replaced(DATA, **changes), make_experiment())


def test_texts_may_be_corrected_unless_the_model_reads_them(run, make_experiment):
    save_tables(run, DATA)
    corrected = hand_made(title=("", "Amelie", ""))
    require_same_data(run, corrected, make_experiment())
    reads = make_experiment(item_tower={"features": {"title": {"encoder": "letter-trigrams", "dim": 4}}})
    require_same_data(run, DATA, reads)
    expected = f"The dataset's items differ in title from those that {run.path} was trained on, and its model"
    with pytest.raises(RunError, match=expected):
        require_same_data(run, corrected, reads)


@pytest.mark.parametrize("side", ["users", "items"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PAR1" + bytes(200) + b"PAR1"),
    ],
    ids=["truncated", "empty", "foreign"],
)
def test_a_damaged_table_is_reported(run, side, damage):
    save_tables(run, DATA)
    damage(run.path / f"{side}.parquet")
    with pytest.raises(RunError, match=rf"{side}\.parquet is damaged: .+\. Copy the run folder again"):
        load_tables(run)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns(["user_id"]),
        lambda table: table.slice(0, 3),
        lambda table: table.take([0, 1, 2, 3, 3]),
        lambda table: table.take([0, 2, 1, 3]),
        lambda table: table.set_column(table.column_names.index("name"), "name", [["", "a", "b", "d"]]),
    ],
    ids=["a column less", "a row less", "a row twice", "rows exchanged", "a text changed"],
)
def test_a_table_of_another_run_is_reported(run, change):
    data = replaced(DATA, users=Table(USERS.key, USERS.columns, {"name": ("", "a", "b", "c")}))
    save_tables(run, data)
    path = run.path / "users.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(RunError, match=r"users\.parquet is damaged: "):
        load_tables(run)


@pytest.mark.parametrize("name", ["items.parquet", "schema.json"])
def test_a_missing_file_is_reported(run, name):
    save_tables(run, DATA)
    (run.path / name).unlink()
    with pytest.raises(RunError, match=f"has no {name}. Finish the run"):
        load_tables(run)
