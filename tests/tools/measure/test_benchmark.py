from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from towerzoo.benchmarks.measure import result_file
from towerzoo.benchmarks.measure.origin import here
from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.measure.result_file import Result, read_result, write_result
from towerzoo.benchmarks.suites import run as runs
from towerzoo.benchmarks.suites.run import interruption
from towerzoo.registry.errors import RunError
from towerzoo.tools.measure.benchmark import main


def result(value: float, suite: str = "training", **changes) -> Result:
    values = [0.99 * value, value, 1.01 * value]
    record = Record.of(values, suite=suite, name="step", params={"batch_size": 8}, unit="samples/s")
    origin = here("cpu", data="movielens-1m", quick=False).model_copy(update=changes)
    return Result(suite=suite, origin=origin, records=[record])


@pytest.fixture
def make_file(tmp_path: Path):
    def make(value: float, **changes) -> Path:
        return write_result(result(value, **changes), tmp_path / f"{value:g}")

    return make


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch):
    """Replaces pytest: every suite has a value, but `towers` fails."""
    seen = []

    def run(suite, options):
        seen.append((suite, options))
        if suite == "towers":
            raise RunError("Suite towers failed.")
        return result(10.0, suite)

    monkeypatch.setattr(runs.run_suites, "__kwdefaults__", {"run": run})
    return seen


def test_a_suite_is_run_for_real_and_leaves_its_file(invoke, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    options = ("--device", "cpu", "--precision", "bf16", "--quick", "--events", "3000", "--out", tmp_path / "out")
    done = invoke(main, "run", "evaluation", *options)
    assert done.exit_code == 0, done.output + capfd.readouterr().out
    (file,) = (tmp_path / "out").iterdir()
    assert done.output == f"results: {file}\n"
    written = read_result(file)
    assert file.name == f"evaluation-cpu-torch{written.origin.packages['torch'].partition('+')[0]}.json"
    assert written.origin.quick


def test_passing_suites_are_written_although_one_fails(invoke, tmp_path, measured):
    done = invoke(main, "run", "parts", "towers", "training", "--device", "cpu", "--out", tmp_path)
    assert done.exit_code == 1
    assert done.stderr == "error: Suite towers failed.\n"
    assert sorted(read_result(file).suite for file in tmp_path.iterdir()) == ["parts", "training"]
    assert [suite for suite, _ in measured] == ["parts", "towers", "training"]


def test_a_signal_ends_the_command_with_its_status(invoke, tmp_path, monkeypatch):
    def run(suite, options):
        raise interruption(signal.SIGTERM)

    monkeypatch.setattr(runs.run_suites, "__kwdefaults__", {"run": run})
    done = invoke(main, "run", "parts", "towers", "--out", tmp_path)
    assert done.exit_code == 143
    assert done.output == "SIGTERM ended the measurement. Unfinished results are not kept.\n"


def test_a_quick_run_leaves_the_checked_in_results_alone(invoke, tmp_path, measured, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(result_file, "results_folder", lambda: tmp_path / "checked in")
    assert invoke(main, "run", "parts", "--quick").exit_code == 0
    assert invoke(main, "run", "parts").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".benchmarks", "checked in"]
    assert [options.quick for _, options in measured] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (("run", "trianing"), 1, "got 'trianing'. Did you mean 'training'? Suites: "),
        (("run", "--device", "tpu"), 2, "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
        (("run", "--precision", "fp16"), 2, "'fp16' is not one of 'float32', 'bf16'"),
        (("run", "--events", "5"), 2, "5 is not in the range x>=100"),
        (("run", "--out", "file"), 2, "'file' is a file"),
        (("run", "--out", "file/below"), 1, "file/below cannot be created: Not a directory"),
        (("compare", "file", "file"), 2, "OLD and NEW are the same file."),
        (("compare", "file", "other"), 1, "file must be a result file of this version of TowerZoo, got "),
        (("compare", "file", "other", "--threshold", "0"), 2, "0.0 is not in the range x>0"),
        (("compare-commits", "no-such-commit", "HEAD"), 1, "OLD and NEW must be commits of "),
        (("compare-commits", "HEAD", "HEAD", "--suite", "trianing"), 1, "Did you mean 'training'?"),
        (("compare-commits", "HEAD", "HEAD", "--rounds", "0"), 2, "0 is not in the range x>=1"),
        (("peers", "--peer", "RecBol"), 1, "--peer must name a peer, got 'RecBol'. Did you mean 'RecBole'?"),
        (("peers", "--auc", "2"), 2, "2.0 is not in the range 0.5<=x<=1.0"),
        (("load", "nowhere"), 1, "nowhere must be a run folder, got no such folder."),
        (("report", "file", "--out", "x.html"), 1, "file must be a result file of this version of TowerZoo"),
        (("report", "--out", "no/x.html"), 1, "no/x.html cannot be written"),
        (("table", "file"), 1, "file must be a result file of this version of TowerZoo"),
    ],
)
def test_bad_input_fails_before_anything_is_run(invoke, measured, tmp_path, monkeypatch, arguments, status, expected):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text(json.dumps({"format": "another"}))
    done = invoke(main, *arguments)
    assert done.exit_code == status
    assert expected in " ".join(done.stderr.split())
    assert measured == []


def test_files_are_compared(invoke, make_file):
    old, new = make_file(10.0), make_file(8.9)
    done = invoke(main, "compare", old, new)
    assert done.exit_code == 0
    assert "0.890" in done.output
    assert "slower: step (batch_size 8)" in done.output
    failed = invoke(main, "compare", old, new, "--threshold", "0.9")
    assert failed.exit_code == 1
    assert "below 0.9: step (batch_size 8), ratio 0.890" in failed.output
    assert invoke(main, "compare", new, old, "--threshold", "0.9").exit_code == 0


def test_files_of_another_machine_are_refused_unless_forced(invoke, make_file):
    old, new = make_file(10.0), make_file(9.0, cpu="another")
    refused = invoke(main, "compare", old, new)
    assert refused.exit_code == 1
    assert "OLD and NEW must come from the same machine, device and versions, got cpu " in refused.stderr
    forced = invoke(main, "compare", old, new, "--force")
    assert forced.exit_code == 0
    assert "NOT COMPARABLE" in forced.output
    assert "compared despite: cpu " in forced.output


def test_commits_are_compared_round_by_round(invoke, monkeypatch):
    from towerzoo.benchmarks.report import commits

    def alternate(old, new, run, *, rounds):
        assert (old, new, rounds) == ("HEAD", "HEAD", 2)
        return [result(10.0), result(5.0)], [result(9.0), result(4.0)]

    monkeypatch.setattr(commits, "run_in_alternation", alternate)
    arguments = ("compare-commits", "HEAD", "HEAD", "--rounds", "2", "--device", "cpu")
    done = invoke(main, *arguments)
    assert done.exit_code == 0, done.output
    for ratio in ("0.850", "0.800", "0.900"):
        assert ratio in done.output
    assert invoke(main, *arguments, "--threshold", "0.9").exit_code == 1


def test_peers_are_measured_printed_and_kept(invoke, monkeypatch, tmp_path):
    from towerzoo.benchmarks.peers import run
    from towerzoo.datasets.movielens import release

    def measure_peers(settings, *, peers, configs, rounds, report):
        assert (settings.threads, settings.target_auc, rounds, peers, configs) == (1, 0.78, 1, ("RecBole",), ("fast",))
        report("left out: RecBole")
        return result(10.0, "peers")

    monkeypatch.setattr(run, "measure_peers", measure_peers)
    monkeypatch.setattr(release, "find", lambda *_, **__: tmp_path)
    options = ("--auc", "0.78", "--threads", "1", "--peer", "RecBole", "--towerzoo", "fast", "--out", tmp_path)
    done = invoke(main, "peers", *options)
    assert done.exit_code == 0, done.output
    (file,) = tmp_path.iterdir()
    assert (
        done.stdout == f"peers: step (batch_size 8): 10 samples/s (9.9 samples/s to 10.1 samples/s)\nresults: {file}\n"
    )
    assert done.stderr == "left out: RecBole\n"


def test_the_report_is_written_whole(invoke, make_file, tmp_path):
    done = invoke(main, "report", make_file(10.0), "--out", tmp_path / "report.html")
    assert done.output == f"report: {tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")


def test_the_table_is_put_between_its_marks(invoke, make_file, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n<!-- benchmarks:begin -->\nstale\n<!-- benchmarks:end -->\nThe end.\n")
    file = make_file(10.0)
    text = invoke(main, "table", file).output
    assert "| training: step | 1 | 10 samples/s | batch_size 8 | - | - |" in text
    for _ in range(2):  # writing it again changes nothing
        assert invoke(main, "table", file, "--write", page).exit_code == 0
        assert page.read_text() == f"# Title\n<!-- benchmarks:begin -->\n{text}<!-- benchmarks:end -->\nThe end.\n"


def test_without_results_there_is_no_report(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(result_file, "results_folder", lambda: tmp_path)
    for arguments in (("table",), ("report", "--out", tmp_path / "x.html")):
        done = invoke(main, *arguments)
        assert done.exit_code == 1
        assert done.stderr.startswith("error: There are no result files in ")
