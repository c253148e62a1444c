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
# Replaces the suites' own conftest, which takes seconds to import; test_suites.py runs the real one.
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
    "skipped": "import pytest\n\ndef test_x(benchmark):\n    pytest.skip('nothing to measure')\n",
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


def test_passing_suites_are_written_and_failures_are_reported(tmp_path, run, capfd):
    lines = []
    with pytest.raises(RunError) as raised:
        run_suites(["failing", "skipped", "sound"], OPTIONS, tmp_path / "out", report=lines.append, run=run)
    (file,) = (tmp_path / "out").iterdir()
    assert read_result(file).suite == "sound"
    failing, skipped = str(raised.value).splitlines()
    assert failing == "Suite failing failed with exit status 1, see above. Its results are not kept."
    assert skipped == "Suite skipped measured nothing on cpu: its tests were skipped, see above."
    assert lines == [f"failed: {failing}", f"failed: {skipped}", f"results: {file}"]
    shown = capfd.readouterr().out
    assert "assert False" in shown
    assert "nothing to measure" in shown


@pytest.mark.parametrize(("number", "target"), [(signal.SIGTERM, "getppid"), (signal.SIGINT, "getpid")])
def test_a_signal_to_the_command_or_to_pytest_ends_the_run(tmp_path, folder, run, number, target):
    text = (
        f"import os, signal, time\n\ndef test_x(benchmark):\n    os.kill(os.{target}(), {number})\n    time.sleep(60)\n"
    )
    # As the suites' own conftest does.
    text += f"\nsignal.signal({number}, signal.SIG_DFL)\n"
    (folder / "test_failing.py").write_text(text)
    before, started = signal.getsignal(number), time.monotonic()
    message = f"^{number.name} ended the measurement. Unfinished results are not kept.$"
    with pytest.raises(Interrupted, match=message) as raised:
        run_suites(["sound", "failing", "skipped"], OPTIONS, tmp_path / "out", report=str, run=run)
    assert raised.value.signal_number == number
    assert time.monotonic() - started < 50
    assert signal.getsignal(number) is before
    (file,) = (tmp_path / "out").iterdir()
    assert read_result(file).suite == "sound"


def test_a_relative_data_folder_is_relative_to_the_caller(tmp_path, folder, origin, monkeypatch):
    suite = folder / "test_sound.py"
    check = f"    import os\n    assert os.environ['TOWERZOO_DATA'] == {str(tmp_path / 'data')!r}\n"
    suite.write_text(suite.read_text() + check)
    monkeypatch.chdir(tmp_path)
    environment = {"ORIGIN": json.dumps(origin.model_dump()), "PYTEST_ADDOPTS": "", "TOWERZOO_DATA": "data"}
    assert run_suite("sound", OPTIONS, folder=folder, environment=environment).suite == "sound"


def test_earlier_results_stay_when_a_suite_fails(tmp_path, make_result):
    earlier = make_result()
    results = iter([earlier])

    def run(suite, options):
        if result := next(results, None):
            return result
        raise RunError("it failed")

    run_suites(["training"], OPTIONS, tmp_path, report=str, run=run)
    with pytest.raises(RunError, match="it failed"):
        run_suites(["training"], OPTIONS, tmp_path, report=str, run=run)
    (file,) = tmp_path.iterdir()
    assert read_result(file) == earlier


def test_suites_are_named_by_their_files(monkeypatch):
    names = suite_names()
    assert {"evaluation", "loading", "parts", "startup", "towers", "training"} <= set(names)
    assert require_suites([]) == names
    assert require_suites(["towers", "parts", "towers"]) == ["towers", "parts"]
    with pytest.raises(RunError, match=r"got 'trianing'\. Did you mean 'training'\? Suites: .*\n.*got 'twoers'\."):
        require_suites(["parts", "trianing", "twoers"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExtraError, match=r"Run pip install 'towerzoo\[bench\]'\.$"):
        require_suites([])
