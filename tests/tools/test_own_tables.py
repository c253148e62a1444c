"""A shop's own tables, with all that people write into titles and ids, from files to answers."""

from __future__ import annotations

import csv
import io
import random

import pytest

from towerzoo.tools.explain import main as explain_command
from towerzoo.tools.inspect_data import main as inspect_command
from towerzoo.tools.recommend import main as recommend_command
from towerzoo.tools.similar import main as similar_command
from towerzoo.tools.train import main as train_command

ITEMS, USERS = 24, 30
NAMES = ("Lamp [blue] {}", "Desk [/b] {}", 'Chair ":smile:", {}', "Стол {} <b>")


def title(item: int) -> str:
    return NAMES[item % 4].format(item)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with clicks.csv, users.csv and items.csv."""
    folder = tmp_path_factory.mktemp("лавка & co [1]")
    draw = random.Random(3)
    users = [f"клиент {number}" for number in range(USERS)]

    def write(name, header, rows):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])

    write("users.csv", ("user_id", "city"), [(user, draw.choice(("Oslo [N]", "Łódź", ""))) for user in users])
    tags = ("wood [oak]", "new", "red")
    write(
        "items.csv",
        ("item_id", "title", "price", "tags"),
        [
            (100 + item, title(item), round(draw.uniform(1, 90), 2) if item % 5 else "", "|".join(tags[: item % 4]))
            for item in range(ITEMS)
        ],
    )
    pairs = draw.sample([(user, item) for user in users for item in range(ITEMS)], 400)
    write(
        "clicks.csv",
        ("user_id", "item_id", "clicked", "time"),
        [(u, 100 + i, draw.randrange(2), 1_600_000_000_000 + n) for n, (u, i) in enumerate(pairs)],
    )
    return folder


@pytest.fixture(scope="module")
def run(shop, invoke):
    """A run of the config that inspect-data writes for the shop."""
    tables = [shop / f"{name}.csv" for name in ("clicks", "items", "users")]
    config = shop / "my shop.yaml"
    told = invoke(inspect_command, *tables, "--out", config)
    assert told.exit_code == 0, told.output
    options = ("--device", "cpu", "--out", shop / "runs", "--set", "training.max_epochs=1")
    trained = invoke(train_command, config, *options)
    assert trained.exit_code == 0, trained.output
    assert str(shop / "runs") in trained.output
    (run,) = (shop / "runs" / "my shop").iterdir()
    return run


def test_titles_and_values_are_printed_as_they_are_written(invoke, run):
    told = invoke(recommend_command, run, "--user", "клиент 0", "--keep-seen", "--top-k", ITEMS)
    assert told.exit_code == 0
    for item in range(ITEMS):
        assert f" {100 + item}  {title(item)} " in told.output
    assert "Chair" in invoke(similar_command, run, "--item", 101).output
    told = invoke(explain_command, run, "--user", "клиент 0", "--item", 101)
    assert told.exit_code == 0
    assert "Desk [/b] 1" in told.output
    assert "wood [oak]" in told.output


def test_csv_of_nothing_has_its_header(invoke, run):
    told = invoke(recommend_command, run, "--user", "клиент 0", "--where", "tags=gold", "--csv").stdout
    assert list(csv.reader(io.StringIO(told))) == [["rank", "id", "title", "score", "probability"]]
