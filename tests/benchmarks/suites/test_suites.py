"""The suites themselves, on a dataset so small that they take seconds; their figures mean nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.measure.result_file import Origin
from towerzoo.benchmarks.suites import conftest
from towerzoo.benchmarks.suites.options import SuiteOptions
from towerzoo.registry import BLOCKS, ENCODERS, POOLINGS

FOLDER = Path(__file__).parents[3] / "benchmarks" / "suites"
MEASURED = ("evaluation", "loading", "parts", "startup", "towers", "training")


def run_pytest(*arguments, **variables):
    """Runs pytest on suites, on 3,000 generated events."""
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments),
        *("--benchmark-only", "--benchmark-quiet", "--device=cpu", "--quick", "--events=3000"),
    ]
    # One thread, since the cores may be busy.
    changes = {"OMP_NUM_THREADS": "1", "TOWERZOO_DATA": "/nowhere", "PYTEST_ADDOPTS": "", **variables}
    return subprocess.run(
        command, cwd=FOLDER.parent, capture_output=True, text=True, check=False, env=os.environ | changes
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What pytest-benchmark writes of the suites, and what it prints."""
    file = tmp_path_factory.mktemp("measured") / "measured.json"
    files = [str(FOLDER / f"test_{suite}.py") for suite in MEASURED]
    # Importing takes long, and the process does it anyway.
    done = run_pytest(*files, f"--benchmark-json={file}", "-k", "not import")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text()), done.stdout


def test_a_signal_that_training_handles_ends_the_session(tmp_path):
    (tmp_path / "sends.py").write_text("""
import os, signal
from towerzoo.benchmarks.measure.training_epoch import Clock
Clock.on_train_batch_end = lambda *arguments: os.kill(os.getpid(), signal.SIGTERM)
""")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    suite = str(FOLDER / "test_training.py")
    done = run_pytest(suite, "-p", "sends", "-k", "training_step and float32", PYTHONPATH=path)
    assert done.returncode == 128 + signal.SIGTERM, done.stdout + done.stderr
    assert "SIGTERM ended the session" in done.stdout
    assert "FAILED" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def records(measured):
    return [Record.model_validate(benchmark["extra_info"]) for benchmark in measured[0]["benchmarks"]]


def test_every_suite_leaves_records(measured, records):
    assert {record.suite for record in records} == set(MEASURED)
    assert len({(record.suite, record.key) for record in records}) == len(records) >= 20
    assert all("device" not in record.params for record in records)
    for record in records:
        assert f"{record.suite}: {record.key}: " in measured[1]
    assert "training.execution=compile needs a GPU" in measured[1]


def test_records_of_this_process_have_its_peak_of_memory(records):
    if PeakMemory("cpu").growth() is None:
        pytest.skip("this system does not report a process's peak of memory")
    assert {record.suite for record in records if record.peak_memory is None} == {"startup"}


def test_a_file_has_its_origin(measured):
    origin = Origin.model_validate(measured[0]["origin"])
    assert (origin.device_type, origin.data, origin.quick) == ("cpu", "synthetic, 3000 events", True)
    assert origin.threads == 1
    assert origin.roofline is not None


def test_every_registered_part_is_measured(records):
    parts = {record.params["part"] for record in records if record.suite == "parts"}
    # Vectors from a file are an embedding, once the file is read.
    assert parts == {*BLOCKS.names(), *POOLINGS.names(), *ENCODERS.names()} - {"pretrained"}


def test_training_is_compared_with_the_bare_loop_and_the_roofline(measured, records):
    pairs = {record.params["precision"]: record for record in records if record.pair}
    left_out = "Request it with --precision bf16." in measured[1]
    targets = {"float32": 1.35} if left_out else {"float32": 1.35, "bf16": 2.0}
    assert {name: record.pair.target for name, record in pairs.items()} == targets
    trained = [record for record in records if record.suite in ("towers", "training") and record.unit == "samples/s"]
    assert {record.params.get("threads") for record in trained} >= {None, 1}
    assert all(record.flops and record.roofline_share for record in trained)
    flops = {record.params["side"]: record.flops for record in trained if record.suite == "towers"}
    assert flops == {"user": 6 * 3 * 256 * 256, "item": 6 * (128 * 256 + 2 * 256 * 256)}
    assert {record.flops for record in trained if record.suite == "training"} == {sum(flops.values())}
    profiled = [record for record in records if record.breakdown]
    assert {record.key.partition(" (")[0] for record in profiled} == {"profiled step"}


def test_a_suite_that_measured_the_cpu_alone_has_it_in_its_origin(monkeypatch):
    monkeypatch.setattr(SuiteOptions, "device_type", "cuda")
    config = pytest.Config.fromdictargs({}, [])
    config.stash[conftest.SESSION] = conftest.Session(SuiteOptions(device="cpu"), devices={"cpu"})
    output = {}
    conftest.pytest_benchmark_update_json(config, output)
    assert Origin.model_validate(output["origin"]).device_type == "cpu"


@pytest.mark.parametrize(
    ("root", "events", "data"),
    [
        ("here", None, "movielens-1m"),
        ("here", 500, "synthetic, 500 events"),
        ("elsewhere", None, "synthetic, 1000209 events"),
        ("", None, "synthetic, 1000209 events"),
    ],
)
def test_the_origin_names_the_data_that_was_used(tmp_path, monkeypatch, root, events, data):
    (tmp_path / "here" / "ml-1m").mkdir(parents=True)
    (tmp_path / "ml-1m").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOWERZOO_DATA", root and str(tmp_path / root))
    session = conftest.Session(SuiteOptions(device="cpu", events=events))
    folder = conftest.movielens_1m.__wrapped__(session)
    assert (folder is None) == bool(conftest.overrides.__wrapped__(session, folder))
    assert session.data == data
