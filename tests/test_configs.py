"""Every shipped config goes through the real entry point."""

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from towerzoo.registry.config import shipped_configs
from towerzoo.tools.train import main
from towerzoo.towers.model.build import read_experiment

CONFIGS = shipped_configs()
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))


def test_all_configs_are_found():
    structures = {"relu", "tanh", "tanh_bn", "tanh_bn_dropout_first", "fast"}
    linear = {"biases", "biased_mf", "history"}
    assert {file.stem for file in CONFIGS} == structures | linear | {
        "retrieval_bpr",
        "retrieval_softmax",
        "title_trigrams",
        "quickstart",
    }
    folder = Path(__file__).parents[1] / "configs"
    others = [file for file in folder.rglob("*.yaml") if file.parent.name == "_base_" or file.name == "results.yaml"]
    assert len(list(folder.rglob("*.yaml"))) == len(CONFIGS) + len(others)


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
