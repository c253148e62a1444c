"""Every shipped config goes through the real entry point."""

import json
import os
import re
from pathlib import Path
from statistics import mean

import pytest
import yaml
from click.testing import CliRunner

from towerzoo.registry.config import config_folder, shipped_configs
from towerzoo.tools.train import main
from towerzoo.towers.model.build import read_experiment

CONFIGS = shipped_configs()
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))
RECORDS = yaml.safe_load((config_folder() / "results.yaml").read_text())


def test_all_configs_are_found():
    structures = {"relu", "tanh", "tanh_bn", "tanh_bn_dropout_first", "fast"}
    linear = {"biases", "biased_mf", "history"}
    others = {"retrieval_bpr", "retrieval_softmax", "title_trigrams", "quickstart"}
    assert {file.stem for file in CONFIGS} == structures | linear | others
    assert RECORDS.keys() == {file.stem for file in CONFIGS} - {"quickstart"}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda file: file.stem)
def test_the_comment_of_a_config_gives_its_command_and_the_recorded_results(config):
    intent, run, expect, *_ = config.read_text().splitlines()
    assert re.match(r"# .+[.]$", intent)
    assert run == f"#   run      python tools/train.py configs/{config.name}"
    if config.stem == "quickstart":
        assert expect.startswith("#   expect   test AUC ")
        return
    figures = [record["test"] for record in RECORDS[config.stem]["runs"]]
    named = {"loss": "loss {:.4f}", "auc": "AUC {:.4f}", "accuracy": "accuracy {:.4f}"}
    named |= {"recall@10": "Recall@10 {:.4f}", "ndcg@10": "NDCG@10 {:.4f}"}
    results = [text.format(mean(run[name] for run in figures)) for name, text in named.items() if name in figures[0]]
    assert expect.startswith(f"#   expect   test {', '.join(results)}   (MovieLens-1M, mean of {len(figures)} seeds")


@pytest.mark.parametrize("config", [*CONFIGS, *EXAMPLES], ids=lambda file: file.stem)
def test_config_trains(config):
    """On generated data where the config's own would have to be downloaded."""
    experiment, _ = read_experiment(config)
    kept = {"label": experiment.data.label.model_dump(), "split": experiment.data.split}
    generated = {"name": "synthetic", "users": 300, "items": 150, "interactions": 5000, **kept}
    sets = ["--set", f"data={json.dumps(generated)}"] if experiment.data.name.startswith("movielens") else []
    result = CliRunner().invoke(main, [str(config), "--fast-dev-run", *sets])
    assert result.exit_code == 0, result.output


@pytest.mark.realdata
@pytest.mark.parametrize("config", ["tanh_bn", "relu", "fast", "history"])
def test_config_trains_on_movielens(config, tmp_path, monkeypatch):
    if not (Path(os.environ.get("TOWERZOO_DATA", "/nowhere")) / "ml-1m").is_dir():
        pytest.skip("TOWERZOO_DATA holds no ml-1m")
    monkeypatch.setenv("TOWERZOO_CACHE", str(tmp_path))
    result = CliRunner().invoke(main, [config, "--fast-dev-run", "--set", "data.offline=true"])
    assert result.exit_code == 0, result.output
    assert re.search(r"train +800,167 ", result.output)
    assert re.search(r"test +100,022 ", result.output)
    assert re.search(r"all +1,000,209 +57.52% +6,040 +3,883\n", result.output)
