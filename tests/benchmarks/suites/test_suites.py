"""The suites themselves, on a world so small that they take seconds; what they measure there says nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from towerzoo.benchmarks.baselines.pandas_loading import load_with_pandas
from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.measure.result_file import Origin
from towerzoo.benchmarks.suites import conftest
from towerzoo.registry import BLOCKS, ENCODERS, POOLINGS

FOLDER = Path(__file__).parents[3] / "benchmarks" / "suites"
MEASURED = ("batches", "evaluation", "parts", "startup", "towers", "training")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What pytest-benchmark writes of the suites, and what it prints."""
    file = tmp_path_factory.mktemp("measured") / "measured.json"
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"),
        *(str(FOLDER / f"test_{suite}.py") for suite in MEASURED),
        *("--benchmark-only", "--benchmark-quiet", f"--benchmark-json={file}"),
        *("--device=cpu", "--quick", "--events=3000"),
        # Importing takes long, and is what the process itself does already.
        *("-k", "not import"),
    ]
    # One thread, since others may be at work here.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOWERZOO_DATA": "/nowhere", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text()), done.stdout


def test_a_signal_that_training_takes_ends_the_session(tmp_path):
    (tmp_path / "sends.py").write_text("""
import os, signal
from towerzoo.benchmarks.measure.training_epoch import Clock
Clock.on_train_batch_end = lambda *arguments: os.kill(os.getpid(), signal.SIGTERM)
""")
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "sends", "-q"),
        *(str(FOLDER / "test_training.py"), "--benchmark-only", "--benchmark-quiet"),
        *("--device=cpu", "--quick", "--events=3000", "-k", "step and float32"),
    ]
    environment = os.environ | {"TOWERZOO_DATA": "/nowhere", "PYTEST_ADDOPTS": "", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 128 + signal.SIGTERM, done.stdout + done.stderr
    assert "SIGTERM ended the session" in done.stdout
    assert "FAILED" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def records(measured):
    return [Record.model_validate(one["extra_info"]) for one in measured[0]["benchmarks"]]


def test_every_suite_leaves_records(records):
    assert {record.suite for record in records} == set(MEASURED)
    assert len({(record.suite, record.key) for record in records}) == len(records) >= 20
    assert all("device" not in record.params for record in records)


def test_every_record_tells_the_memory_it_took(records):
    if PeakMemory("cpu").growth() is None:
        pytest.skip("this system does not tell a process's peak")
    assert all(record.peak_memory is not None for record in records)
    assert all(1 << 22 < record.peak_memory < 1 << 27 for record in records if record.suite == "startup")


def test_the_origin_is_told_once_a_file(measured):
    origin = Origin.model_validate(measured[0]["origin"])
    assert (origin.device_type, origin.data, origin.quick) == ("cpu", "synthetic, 3000 events", True)
    assert origin.threads == 1
    assert origin.roofline is not None
    assert measured[0]["machine_info"] == {}


def test_every_registered_part_is_measured(records):
    parts = {record.params["part"] for record in records if record.suite == "parts"}
    # One of vectors from a file is an embedding, once it is read.
    assert parts == {*BLOCKS.names(), *POOLINGS.names(), *ENCODERS.names()} - {"pretrained"}


def test_training_is_held_against_the_bare_loop_and_the_roofline(measured, records):
    pairs = {record.params["precision"]: record for record in records if record.pair}
    left_out = "Ask for it with --precision bf16." in measured[1]
    targets = {"float32": 1.35} if left_out else {"float32": 1.35, "bf16": 2.0}
    assert {name: record.pair.target for name, record in pairs.items()} == targets
    trained = [record for record in records if record.suite in ("towers", "training")]
    assert all(record.flops and record.roofline_share for record in trained)
    flops = {record.params["side"]: record.flops for record in trained if record.suite == "towers"}
    assert flops == {"user": 6 * 3 * 256 * 256, "item": 6 * (128 * 256 + 2 * 256 * 256)}
    assert {record.flops for record in trained if record.suite == "training"} == {sum(flops.values())}


def test_the_summary_shows_every_record(measured, records):
    for record in records:
        assert f"{record.suite}: {record.key}: " in measured[1]
    assert "compiling on a CPU takes minutes; ask for it with --compile" in measured[1]


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--device", "tpu", r"^--device must be a device, got 'tpu'\."),
        ("--precision", "half", r"^--precision must be a precision, got 'half'\."),
    ],
)
def test_wrong_options_are_usage_errors(option, value, expected):
    config = SimpleNamespace(addinivalue_line=lambda *line: None, getoption={option: value}.get, stash=pytest.Stash())
    with pytest.raises(pytest.UsageError, match=expected):
        conftest.pytest_configure(config)


def configured(**changes):
    options = SimpleNamespace(**{"device_type": "cpu", "quick": True, "events": None, **changes})
    config = SimpleNamespace(stash=pytest.Stash())
    config.stash[conftest.OPTIONS], config.stash[conftest.ROOFLINES] = options, {}
    config.stash[conftest.DEVICES_SEEN], config.stash[conftest.DATA] = {"cpu"}, "made by the suite"
    return config


def test_a_suite_of_the_cpu_is_not_told_to_be_of_the_gpu_that_was_asked_for():
    told = {}
    conftest.pytest_benchmark_update_json(configured(device_type="cuda"), told)
    assert Origin.model_validate(told["origin"]).device_type == "cpu"


@pytest.mark.parametrize(
    ("root", "events", "data"),
    [
        ("here", None, "movielens-1m"),
        ("here", 500, "synthetic, 500 events"),
        ("elsewhere", None, "synthetic, 1000209 events"),
        ("", None, "synthetic, 1000209 events"),
    ],
)
def test_the_origin_tells_the_data_that_was_found(tmp_path, monkeypatch, root, events, data):
    (tmp_path / "here" / "ml-1m").mkdir(parents=True)
    (tmp_path / "ml-1m").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOWERZOO_DATA", root and str(tmp_path / root))
    config = configured(events=events)
    folder = conftest.movielens_1m.__wrapped__(config)
    assert (folder is None) == bool(conftest.overrides.__wrapped__(config, folder))
    told = {}
    conftest.pytest_benchmark_update_json(config, told)
    assert told["origin"]["data"] == data


def test_pandas_gives_the_tensors_that_the_loop_needs(tmp_path):
    (tmp_path / "ratings.dat").write_text("2::10::5::1\n1::30::3::2\n2::30::4::3\n")
    (tmp_path / "users.dat").write_text("1::F::1::10::00000\n2::M::25::3::11111\n")
    (tmp_path / "movies.dat").write_text("10::A (1990)::Drama|Comedy\n30::B (1991)::Drama\n")
    columns = load_with_pandas(tmp_path)
    assert columns["user_id"].tolist() == [2, 1, 2]
    assert columns["gender"].tolist() == [2, 1, 2]
    assert columns["genres"].tolist() == [[2, 1, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0]]
    assert columns["label"].tolist() == [1.0, 0.0, 1.0]
