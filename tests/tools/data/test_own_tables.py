"""A shop's tables, with unusual titles and ids, from files to recommendations."""

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
    result = invoke(inspect_command, *tables, "--out", config)
    assert result.exit_code == 0, result.output
    settings = [word for override in ("training.max_epochs=1", *overrides) for word in ("--set", override)]
    result = invoke(train_command, config, "--device", "cpu", "--out", out, *settings)
    assert result.exit_code == 0, result.output
    assert str(out) in result.output
    (run,) = (out / "my shop").iterdir()
    return run


@pytest.fixture(scope="module")
def run(shop, invoke):
    return trained(shop, invoke, shop / "runs")


def test_titles_and_values_are_printed_verbatim(invoke, run):
    result = invoke(recommend_command, run, "--user", "клиент 0", "--keep-seen", "--top-k", ITEMS)
    assert result.exit_code == 0
    for item in range(ITEMS):
        assert f" {100 + item}  {title(item)} " in result.output
    assert "Chair" in invoke(similar_command, run, "--item", 101).output
    result = invoke(explain_command, run, "--user", "клиент 0", "--item", 101)
    assert result.exit_code == 0
    assert "Desk [/b] 1" in result.output
    assert "wood [oak]" in result.output


def test_tables_are_not_cropped_without_a_terminal(invoke, run, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    result = invoke(tester_command, run, "--by", "tags", "--by", "city")
    assert result.exit_code == 0, result.output
    assert "…" not in result.output
    assert "…" not in invoke(inspect_command, run.parents[2] / "clicks.csv").output
    assert "Oslo [N]" in result.output


def test_command_in_a_config_can_be_copied(shop, run):
    written = (shop / "my shop.yaml").read_text(encoding="utf-8")
    (line,) = (line for line in written.splitlines() if "tools/train.py" in line)
    assert shlex.split(line)[1:] == ["run", "python", "tools/train.py", str(shop / "my shop.yaml")]


def test_new_user_does_not_inherit_the_history_of_unknown_users(shop, invoke, tmp_path):
    clicks = (shop / "clicks.csv").read_text(encoding="utf-8")
    rows = "".join(f"stranger,{100 + item},1,{1_600_000_000_000 + item}\n" for item in range(ITEMS))
    (tmp_path / "clicks.csv").write_text(clicks + rows, encoding="utf-8")
    overrides = (
        f"data.interactions.files={tmp_path / 'clicks.csv'}",
        "data.unknown=row",
        "user_tower.features.recent={encoder: history, dim: 4}",
    )
    with pytest.warns(UserWarning, match="24 of 424 events are assigned to the unknown user"):
        recommender = Recommender.open(trained(shop, invoke, tmp_path / "runs", *overrides))
    people = [recommender.person(features={"city": "Łódź"}, liked=liked) for liked in ((), (105,))]
    histories = recommender.person_vectors.inputs(people, torch.tensor([0, 0]))["recent"]
    assert (histories != NO_EVENT).sum(dim=1).tolist() == [0, 1]


def test_slices_belong_to_the_last_test(invoke, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    assert "Łódź" in invoke(tester_command, copy, "--by", "city").output
    for options in ((), ("--mask", "tags"), ("--by", "tags")):
        result = invoke(tester_command, copy, *options)
        assert result.exit_code == 0
        assert "Łódź" not in result.output, "slices of an earlier test"


def test_new_items_may_lack_lists_but_not_have_infinite_numbers(invoke, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    for item, header, row in ((900, "item_id,price", "900,5.5"), (901, "item_id", "901")):
        (tmp_path / "new.csv").write_text(f"{header}\n{row}\n")
        added = invoke(index_command, copy, "--add", tmp_path / "new.csv")
        assert added.exit_code == 0, added.output
        result = invoke(recommend_command, copy, "--user", "клиент 0", "--index", "--where", f"item_id={item}", "--csv")
        assert result.stdout.splitlines()[1].startswith(f"1,{item},{item},")
    for price in ("inf", "1e39"):
        (tmp_path / "new.csv").write_text(f"item_id,price\n902,1\n903,{price}\n")
        refused = invoke(index_command, copy, "--add", tmp_path / "new.csv")
        assert refused.exit_code == 1
        assert "new.csv: price must be a finite float32 number, got " in refused.output
        assert " in row 2. 1 row is like that, of 2." in refused.output


def test_titles_of_new_items_can_be_features(shop, invoke, tmp_path):
    embedding = "item_tower.features.title={encoder: embedding, dim: 4}"
    run = trained(shop, invoke, tmp_path, "data.items.features=[title, price, tags]", embedding)
    (tmp_path / "new.csv").write_text("item_id,title\n900,New\n")
    added = invoke(index_command, run, "--add", tmp_path / "new.csv")
    assert added.exit_code == 0, added.output
    assert (
        json.loads(invoke(explain_command, run, "--user", "клиент 0", "--item", "new", "--index", "--json").stdout)[
            "of"
        ]["id"]
        == 900
    )


def test_csv_without_rows_has_a_header(invoke, run):
    result = invoke(recommend_command, run, "--user", "клиент 0", "--where", "tags=gold", "--csv").stdout
    assert list(csv.reader(io.StringIO(result))) == [["rank", "id", "title", "score", "probability"]]


@pytest.mark.usefixtures("quick_exporter")
def test_missing_number_means_the_same_everywhere(shop, invoke, tmp_path):
    """As `missing` says in training: for a list, the same with null, and a bundle."""
    policies = ("data.users.missing=mean", "data.items.missing=zero")
    run = trained(shop, invoke, tmp_path / "runs", *policies, "user_tower.features.income.dim=4")
    result = invoke(export_command, run, "--to", tmp_path / "bundle")
    assert result.exit_code == 0, result.output
    recommender, bundle = Recommender.open(run), Bundle(tmp_path / "bundle")
    assert recommender.users.column("income").unknown.item() == pytest.approx(15_312, abs=2_000)
    for features in ({"city": "Łódź"}, {"city": "Łódź", "income": None}, {"city": "Łódź", "income": float("nan")}):
        people = [recommender.person(features=features)]
        ((*best,),) = recommender.answers(recommender.top_items(people, ITEMS), people)
        actual = dict(bundle.recommend(features, ITEMS))
        assert actual == pytest.approx({answer.id: answer.score for answer in best}, abs=1e-4)
        if features == {"city": "Łódź"}:
            first = actual
        assert actual == pytest.approx(first, abs=1e-6)
    new = {"tags": ["new"]}
    np.testing.assert_allclose(bundle.item_factors([new]), bundle.item_factors([new | {"price": 0.0}]), atol=1e-6)
    # A missing income is the unknown one; a given one is printed as given.
    about = (run, "--item", "101", "--json", "--features")
    missing, given = (
        {
            effect["feature"]: effect
            for effect in json.loads(invoke(explain_command, *about, features).stdout)["effects"]
            if effect["side"] == "user"
        }["income"]
        for features in ("city=Oslo [N]", "city=Oslo [N],income=25740.04")
    )
    assert missing["change"] == pytest.approx(0, abs=1e-6)
    assert (given["value"], abs(given["change"]) > 1e-5) == ("25740.04", True)


def test_explanation_calls_a_missing_number_unknown(shop, invoke, run):
    result = json.loads(invoke(explain_command, run, "--user", "клиент 0", "--item", "100", "--json").stdout)
    values = {effect["feature"]: effect["value"] for effect in result["effects"]}
    assert (values["income"], values["price"]) == ("unknown", "unknown")
