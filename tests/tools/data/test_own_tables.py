"""A shop's own tables, with all that people write into titles and ids, from files to answers."""

from __future__ import annotations

import csv
import io
import json
import random
import shlex
import shutil

import numpy as np
import pytest
import torch

from towerzoo.tools.explain import main as explain_command
from towerzoo.tools.export import main as export_command
from towerzoo.tools.index import main as index_command
from towerzoo.tools.inspect_data import main as inspect_command
from towerzoo.tools.recommend import main as recommend_command
from towerzoo.tools.similar import main as similar_command
from towerzoo.tools.test import main as tester_command
from towerzoo.tools.train import main as train_command
from towerzoo.towers.encoders.events import NO_EVENT
from towerzoo.towers.export.reader import Bundle
from towerzoo.towers.recommend.recommender import Recommender

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

    write(
        "users.csv",
        ("user_id", "city", "income"),
        [(user, draw.choice(("Oslo [N]", "Łódź", "")), n * 1000.5 if n % 4 else "") for n, user in enumerate(users)],
    )
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


def trained(shop, invoke, out, *overrides):
    """Returns a run of the config that inspect-data writes for the shop."""
    tables = [shop / f"{name}.csv" for name in ("clicks", "items", "users")]
    config = shop / "my shop.yaml"
    told = invoke(inspect_command, *tables, "--out", config)
    assert told.exit_code == 0, told.output
    settings = [word for override in ("training.max_epochs=1", *overrides) for word in ("--set", override)]
    told = invoke(train_command, config, "--device", "cpu", "--out", out, *settings)
    assert told.exit_code == 0, told.output
    assert str(out) in told.output
    (run,) = (out / "my shop").iterdir()
    return run


@pytest.fixture(scope="module")
def run(shop, invoke):
    return trained(shop, invoke, shop / "runs")


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


def test_tables_are_whole_where_no_terminal_crops_them(invoke, run, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    told = invoke(tester_command, run, "--by", "tags", "--by", "city")
    assert told.exit_code == 0, told.output
    assert "…" not in told.output
    assert "…" not in invoke(inspect_command, run.parents[2] / "clicks.csv").output
    assert "Oslo [N]" in told.output


def test_the_command_of_a_config_is_one_to_copy(shop, run):
    written = (shop / "my shop.yaml").read_text(encoding="utf-8")
    (line,) = (line for line in written.splitlines() if "tools/train.py" in line)
    assert shlex.split(line)[1:] == ["run", "python", "tools/train.py", str(shop / "my shop.yaml")]


def test_somebody_new_has_no_history_of_the_strangers_before_her(shop, invoke, tmp_path):
    clicks = (shop / "clicks.csv").read_text(encoding="utf-8")
    rows = "".join(f"stranger,{100 + item},1,{1_600_000_000_000 + item}\n" for item in range(ITEMS))
    (tmp_path / "clicks.csv").write_text(clicks + rows, encoding="utf-8")
    overrides = (
        f"data.interactions.files={tmp_path / 'clicks.csv'}",
        "data.unknown=row",
        "user_tower.features.met={encoder: history, dim: 4}",
    )
    with pytest.warns(UserWarning, match="24 of 424 events count for the unknown user"):
        recommender = Recommender.open(trained(shop, invoke, tmp_path / "runs", *overrides))
    people = [recommender.person(features={"city": "Łódź"}, liked=liked) for liked in ((), (105,))]
    told = recommender.person_vectors.columns(people, torch.tensor([0, 0]))["met"]
    assert (told != NO_EVENT).sum(dim=1).tolist() == [0, 1]


def test_slices_are_those_of_the_test_that_shows_them(invoke, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    assert "Łódź" in invoke(tester_command, copy, "--by", "city").output
    for options in ((), ("--mask", "tags"), ("--by", "tags")):
        told = invoke(tester_command, copy, *options)
        assert told.exit_code == 0
        assert "Łódź" not in told.output, "figures of an earlier test contradict those above them"


def test_new_items_may_lack_lists_but_hold_no_infinite_number(invoke, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    for item, header, row in ((900, "item_id,price", "900,5.5"), (901, "item_id", "901")):
        (tmp_path / "new.csv").write_text(f"{header}\n{row}\n")
        added = invoke(index_command, copy, "--add", tmp_path / "new.csv")
        assert added.exit_code == 0, added.output
        told = invoke(recommend_command, copy, "--user", "клиент 0", "--index", "--where", f"item_id={item}", "--csv")
        assert told.stdout.splitlines()[1].startswith(f"1,{item},{item},")
    for price in ("inf", "1e39"):
        (tmp_path / "new.csv").write_text(f"item_id,price\n902,1\n903,{price}\n")
        refused = invoke(index_command, copy, "--add", tmp_path / "new.csv")
        assert refused.exit_code == 1
        assert "new.csv: price must be a finite float32 number, got " in refused.output
        assert " in row 2. 1 row is like that, of 2." in refused.output


def test_new_items_have_titles_that_are_features_as_well(shop, invoke, tmp_path):
    embedding = "item_tower.features.title={encoder: embedding, dim: 4}"
    run = trained(shop, invoke, tmp_path, "data.items.features=[title, price, tags]", embedding)
    (tmp_path / "new.csv").write_text("item_id,title\n900,New\n")
    added = invoke(index_command, run, "--add", tmp_path / "new.csv")
    assert added.exit_code == 0, added.output
    assert (
        json.loads(invoke(explain_command, run, "--user", "клиент 0", "--item", "new", "--index", "--json").stdout)[
            "id"
        ]
        == 900
    )


def test_csv_of_nothing_has_its_header(invoke, run):
    told = invoke(recommend_command, run, "--user", "клиент 0", "--where", "tags=gold", "--csv").stdout
    assert list(csv.reader(io.StringIO(told))) == [["rank", "id", "title", "score", "probability"]]


@pytest.mark.usefixtures("quick_exporter")
def test_a_number_that_is_not_told_is_one_thing_to_all_who_answer(shop, invoke, tmp_path):
    """By `missing`, as in training: to a list, to the same with null and to a bundle."""
    policies = ("data.users.missing=mean", "data.items.missing=zero")
    run = trained(shop, invoke, tmp_path / "runs", *policies, "user_tower.features.income.dim=4")
    told = invoke(export_command, run, "--to", tmp_path / "bundle")
    assert told.exit_code == 0, told.output
    recommender, bundle = Recommender.open(run), Bundle(tmp_path / "bundle")
    assert recommender.users.column("income").unknown.item() == pytest.approx(15_312, abs=2_000)
    for features in ({"city": "Łódź"}, {"city": "Łódź", "income": None}, {"city": "Łódź", "income": float("nan")}):
        people = [recommender.person(features=features)]
        ((*best,),) = recommender.answers(recommender.recommend(people, ITEMS), people)
        found = dict(bundle.recommend(features, ITEMS))
        assert found == pytest.approx({answer.id: answer.score for answer in best}, abs=1e-4)
        if features == {"city": "Łódź"}:
            first = found
        assert found == pytest.approx(first, abs=1e-6)
    new = {"tags": ["new"]}
    np.testing.assert_allclose(bundle.item_factors([new]), bundle.item_factors([new | {"price": 0.0}]), atol=1e-6)
    # An income that is not told is as good as unknown; one that is told is printed as it was.
    about = (run, "--item", "101", "--json", "--features")
    untold, told = (
        {
            effect["feature"]: effect
            for effect in json.loads(invoke(explain_command, *about, features).stdout)["effects"]
            if effect["side"] == "user"
        }["income"]
        for features in ("city=Oslo [N]", "city=Oslo [N],income=25740.04")
    )
    assert untold["change"] == pytest.approx(0, abs=1e-6)
    assert (told["value"], abs(told["change"]) > 1e-5) == ("25740.04", True)


def test_an_explanation_calls_a_number_that_is_not_known_unknown(shop, invoke, run):
    told = json.loads(invoke(explain_command, run, "--user", "клиент 0", "--item", "100", "--json").stdout)
    values = {effect["feature"]: effect["value"] for effect in told["effects"]}
    assert (values["income"], values["price"]) == ("unknown", "unknown")
