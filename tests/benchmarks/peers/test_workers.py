"""The workers that run in TowerZoo's own environment, in this process."""

import json

import pytest
from click.testing import CliRunner

from towerzoo.benchmarks.measure.result_file import read_result
from towerzoo.benchmarks.peers.run import main
from towerzoo.benchmarks.peers.systems import baseline_systems, towerzoo_system
from towerzoo.benchmarks.peers.workers import original, towerzoo_lightning
from towerzoo.benchmarks.peers.workers.serve import Desk
from towerzoo.registry.errors import ConfigError

OURS = "tanh_bn_dropout_first data.batch_size=256"


@pytest.fixture
def desk(settings, tmp_path, monkeypatch):
    """A desk of either worker."""
    monkeypatch.setenv("TOWERZOO_CACHE", "")  # so that what a worker sets is taken back

    def make(system, worker):
        given = json.loads(settings.line(system, tmp_path))
        return Desk(worker(given), given)

    return make


@pytest.fixture(params=["towerzoo", "original"])
def made(request, desk):
    if request.param == "towerzoo":
        return desk(towerzoo_system(OURS), towerzoo_lightning.Worker)
    return desk(baseline_systems(["original"])[0], original.Worker)


def test_a_worker_prepares_trains_and_evaluates(made):
    assert made.answer("prepare")["samples"] == 1500
    train = made.answer("train")
    assert train["samples"] == 2 * 256
    assert train["seconds"] > 0
    evaluation = made.answer("evaluate")
    assert evaluation["samples"] == 150
    assert 0 <= evaluation["auc"] <= 1


def test_a_worker_fits_until_it_is_told_to_stop(made):
    made.settings |= {"target_auc": 1.0, "bound": 0.0}
    answer = made.answer("time-to-auc")
    assert (answer["epochs"], answer["reached"]) == (1, False)
    assert 0.3 < answer["auc"] < 1


def test_an_unknown_command(made):
    with pytest.raises(ValueError, match=r"a command must be one of prepare, .*, got 'sing'"):
        made.answer("sing")


def test_a_config_with_an_error(desk):
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        desk(towerzoo_system("tanh_bn optimizer.lr=much"), towerzoo_lightning.Worker)


def test_the_original_has_the_structure_of_the_config(desk):
    made = desk(baseline_systems(["original"])[0], original.Worker)
    made.answer("train")
    names = [type(module).__name__ for module in made.worker.model.user_mlp]
    assert names == ["Dropout", "Linear", "BatchNorm1d", "Tanh"] * 2
    assert made.worker.model.user_mlp[1].in_features == 4 * 4
    assert made.worker.model.item_mlp[1].in_features == 2 * 4


def test_the_command(ml_1m, tmp_path, monkeypatch):
    monkeypatch.setenv("PEERS_VENV", "/nowhere")
    arguments = ["--data", ml_1m, "--towerzoo", OURS, "--peers", "original,recbole", "--quick", "--steps", 1]
    arguments += ["--rounds", 1, "--threads", 1, "--out", tmp_path / "results"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert (
        "left out: recbole must have a Python that starts, got 'No such file or directory' of '/nowhere/bin/python'"
        in result.output
    )
    assert "make bench-peers" in result.output
    (file,) = (tmp_path / "results").iterdir()
    assert f"records: {file}" in result.output
    written = read_result(file)
    assert written.origin.quick
    assert written.origin.threads == 1
    assert written.origin.data == "1500 events in the layout of movielens-1m"
    assert [record.name for record in written.records] == ["prepare", "train", "evaluate"]
    assert {record.params["system"] for record in written.records} == {OURS}
    for record in written.records:
        assert f"{record.pair.ratio:.2f}" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "surprise"], "error: --peers must be systems with a worker, got 'surprise'."),
        (["--peers", ""], "error: --peers must name at least one system, got none."),
        (
            ["--data", "/nowhere"],
            "error: --data must be a folder with users.dat, movies.dat, ratings.dat, got '/nowhere'",
        ),
        (["--towerzoo", ""], "error: --towerzoo must be a config and KEY.PATH=VALUE overrides, got ''."),
    ],
)
def test_bad_input_is_told_in_a_line(arguments, message):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert message in result.output
