"""README says what is true: its table is that of the records, its commands and files exist."""

import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from towerzoo.tools.cli import COMMANDS, MEASURE
from towerzoo.tools.measure.results import BEGIN, END
from towerzoo.towers.runs.records import read_records, results_table

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]


def test_the_results_table_is_not_stale():
    assert README.partition(BEGIN)[2].partition(END)[0] == results_table(read_records())


def test_the_commands_exist():
    named = set(re.findall(r"python (tools/[\w/]+\.py)", README))
    assert {f"tools/{'measure/' if name in MEASURE else ''}{name}.py" for name in COMMANDS} == named
    assert all((TOP / file).is_file() for file in named)


def test_the_make_targets_exist():
    makefile = (TOP / "Makefile").read_text()
    targets = set(re.findall(r"^make ([\w-]+)", README, re.MULTILINE))
    assert targets >= {"demo", "train", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_configs_exist(page):
    text = page.read_text()
    links = [page.parent / link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    files = links + [TOP / file for file in re.findall(r"(?:configs|examples)/[\w/]+\.(?:yaml|py)", text)]
    assert [file for file in files if not file.exists()] == []


def test_readme_is_short():
    assert len(README.splitlines()) <= 200
    assert [page.name for page in PAGES if page.name not in README and page.name != "README.md"] == []


def test_the_yaml_of_own_data_trains(tmp_path, monkeypatch):
    from towerzoo.tools.train import main

    draw = random.Random(3)
    plays = (
        f"u{draw.randrange(20)},{draw.randrange(120)},2026-01-01T00:{n // 60:02d}:{n % 60:02d}Z" for n in range(900)
    )
    (tmp_path / "plays.csv").write_text("\n".join(["user,song,played_at", *plays]))
    songs = (f"{n},Song {n},{draw.choice(('a|b', 'b', ''))}" for n in range(120))
    (tmp_path / "songs.csv").write_text("\n".join(["song,name,tags", *songs]))
    yaml = (TOP / "docs" / "own_data.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "mine.yaml").write_text(yaml)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["mine.yaml", "--device", "cpu", "--set", "training={max_epochs: 1}"])
    assert result.exit_code == 0, result.output
    assert "ndcg@10" in result.output


def test_the_yaml_of_the_walk_through_is_valid(tmp_path):
    from towerzoo.towers.model.build import read_experiment

    yaml = (
        (TOP / "docs" / "start.md")
        .read_text()
        .partition("## A config, line by line")[2]
        .partition("```yaml\n")[2]
        .partition("```")[0]
    )
    config = tmp_path / "mine.yaml"
    config.write_text(yaml)
    experiment, _ = read_experiment(config)
    assert experiment.user_tower.widths == experiment.item_tower.widths == [256, 256, 256]
    assert list(experiment.item_tower.features) == ["movie_id", "genres"]


def test_the_yaml_of_the_own_data_walk_through_is_valid(tmp_path):
    from towerzoo.towers.model.build import read_experiment

    text = (TOP / "docs" / "own_data.md").read_text()
    config = tmp_path / "mine.yaml"
    config.write_text(text.partition("```yaml\n")[2].partition("```")[0])
    experiment, _ = read_experiment(config)
    assert experiment.data.label.implicit
    assert list(experiment.user_tower.features) == ["user", "recent"]
