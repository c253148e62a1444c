from __future__ import annotations

import json
import signal
import time

import pytest

from towerzoo.benchmarks.measure.result_file import read_result
from towerzoo.benchmarks.suites.options import SuiteOptions
from towerzoo.benchmarks.suites.run import require_suites, run_suite, run_suites, suite_names
from towerzoo.registry.errors import ExtraError, Interrupted, RunError

OPTIONS = SuiteOptions(device="cpu", quick=True)
# Stands in for the suites' own, which takes seconds to import; the whole is run in test_suites.py.
CONFTEST = """\
import json
import os

def pytest_addoption(parser):
    for name in ("--device", "--precision", "--events"):
        parser.addoption(name)
    parser.addoption("--quick", action="store_true")

def pytest_benchmark_update_json(output_json):
    output_json["origin"] = json.loads(os.environ["ORIGIN"])
"""
SUITES = {
    "sound": "def test_x(benchmark):\n    benchmark.pedantic(lambda: 1)\n    benchmark.extra_info.update(RECORD)\n",
    "failing": (
        "def test_x(benchmark):\n    benchmark.pedantic(lambda: 1)\n    benchmark.extra_info.update(RECORD)\n\n"
        "def test_y(benchmark):\n    benchmark(lambda: 1)\n    assert False\n"
    ),
    "skipped": "import pytest\n\ndef test_x(benchmark):\n    pytest.skip('there is no such thing')\n",
}


@pytest.fixture
def folder(tmp_path, make_record):
    """A folder of three suites: one passes, one fails, one is skipped."""
    path = tmp_path / "suites"
    path.mkdir()
    (path / "conftest.py").write_text(CONFTEST)
    for name, text in SUITES.items():
        record = make_record(suite=name).model_dump()
        (path / f"test_{name}.py").write_text(f"RECORD = {record!r}\n\n{text}")
    return path


@pytest.fixture
def run(folder, origin):
    environment = {"ORIGIN": json.dumps(origin.model_dump()), "PYTEST_ADDOPTS": ""}
    return lambda suite, options: run_suite(suite, options, folder=folder, environment=environment)


def test_what_passes_is_written_and_what_fails_is_told(tmp_path, run, capfd):
    told = []
    with pytest.raises(RunError) as raised:
        run_suites(["failing", "skipped", "sound"], OPTIONS, tmp_path / "out", tell=told.append, run=run)
    (file,) = (tmp_path / "out").iterdir()
    assert read_result(file).suite == "sound"
    failing, skipped = str(raised.value).splitlines()
    assert failing == (
        "suite failing must pass, got exit status 1 of pytest. Its results were not written; the failure is above."
    )
    assert skipped == (
        "suite skipped must measure something on cpu, got no records. Its tests were skipped for the reasons above."
    )
    assert told == [f"failed: {failing}", f"failed: {skipped}", f"results: {file}"]
    shown = capfd.readouterr().out
    assert "assert False" in shown
    assert "there is no such thing" in shown


@pytest.mark.parametrize(("number", "whose"), [(signal.SIGTERM, "getppid"), (signal.SIGINT, "getpid")])
def test_a_signal_here_or_to_pytest_ends_the_run(tmp_path, folder, run, number, whose):
    text = (
        f"import os, signal, time\n\ndef test_x(benchmark):\n    os.kill(os.{whose}(), {number})\n    time.sleep(60)\n"
    )
    # What the suites' own conftest does, in short.
    text += f"\nsignal.signal({number}, signal.SIG_DFL)\n"
    (folder / "test_failing.py").write_text(text)
    before, started = signal.getsignal(number), time.monotonic()
    message = f"^{number.name} ended the measurement. What was not done yet was not written.$"
    with pytest.raises(Interrupted, match=message) as raised:
        run_suites(["sound", "failing", "skipped"], OPTIONS, tmp_path / "out", tell=str, run=run)
    assert raised.value.signal_number == number
    assert time.monotonic() - started < 50
    assert signal.getsignal(number) is before
    (file,) = (tmp_path / "out").iterdir()
    assert read_result(file).suite == "sound"


def test_a_relative_folder_of_data_is_that_of_the_caller(tmp_path, folder, origin, monkeypatch):
    suite = folder / "test_sound.py"
    there = f"    import os\n    assert os.environ['TOWERZOO_DATA'] == {str(tmp_path / 'data')!r}\n"
    suite.write_text(suite.read_text() + there)
    monkeypatch.chdir(tmp_path)
    environment = {"ORIGIN": json.dumps(origin.model_dump()), "PYTEST_ADDOPTS": "", "TOWERZOO_DATA": "data"}
    assert run_suite("sound", OPTIONS, folder=folder, environment=environment).suite == "sound"


def test_earlier_results_stay_when_a_suite_fails(tmp_path, make_result, make_record):
    earlier = make_result()
    calls = iter([earlier, None])

    def run(suite, options):
        result = next(calls)
        if result is None:
            raise RunError("it failed")
        return result

    run_suites(["training"], OPTIONS, tmp_path, tell=str, run=run)
    with pytest.raises(RunError, match="it failed"):
        run_suites(["training"], OPTIONS, tmp_path, tell=str, run=run)
    (file,) = tmp_path.iterdir()
    assert read_result(file) == earlier


def test_the_suites_are_the_files():
    names = suite_names()
    assert {"batches", "evaluation", "loading", "parts", "startup", "threads", "towers", "training"} <= set(names)
    assert require_suites([]) == names
    assert require_suites(["towers", "parts", "towers"]) == ["towers", "parts"]


def test_an_unknown_suite_is_told():
    expected = r"^SUITES must be suites of benchmarks, got 'trianing'\. Did you mean 'training'\? Suites: batches, "
    with pytest.raises(RunError, match=expected):
        require_suites(["parts", "trianing"])


def test_without_pytest_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    expected = (
        r"^pytest and pytest_benchmark must be installed to measure, got none\. Run pip install 'towerzoo\[bench\]'\.$"
    )
    with pytest.raises(ExtraError, match=expected):
        require_suites([])
