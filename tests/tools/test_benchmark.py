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
from towerzoo.tools.benchmark import main


def result(value: float, suite: str = "training", **changes) -> Result:
    rates = {"value": value, "lowest": 0.99 * value, "highest": 1.01 * value}
    record = Record(suite=suite, name="step", params={"batch_size": 8}, unit="samples/s", rounds=3, **rates)
    origin = here("cpu", data="movielens-1m", quick=False, roofline=None).model_copy(update=changes)
    return Result(suite=suite, origin=origin, records=[record])


@pytest.fixture
def make_file(tmp_path: Path):
    def make(value: float, **changes) -> Path:
        return write_result(result(value, **changes), tmp_path / f"{value:g}")

    return make


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch):
    """Stands in for pytest: every suite has a value, `towers` fails."""
    seen = []

    def run(suite, options, **kwargs):
        seen.append((suite, options))
        if suite == "towers":
            raise RunError("suite towers must pass, got exit status 1 of pytest. Look above.")
        return result(10.0, suite)

    monkeypatch.setattr(runs.run_suites, "__kwdefaults__", {"run": run})
    return seen


def test_suites_are_run_for_real_and_leave_their_file(invoke, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    options = ("--device", "cpu", "--precision", "bf16", "--quick", "--events", "2000", "--out", tmp_path / "out")
    done = invoke(main, "run", "batches", *options)
    assert done.exit_code == 0, done.output + capfd.readouterr().out
    (file,) = (tmp_path / "out").iterdir()
    assert done.output == f"results: {file}\n"
    written = read_result(file)
    assert file.name == f"batches-cpu-torch{written.origin.packages['torch'].partition('+')[0]}.json"
    assert [record.params for record in written.records] == [{"batch_size": 1024}]
    assert written.origin.quick


def test_what_passes_is_written_though_another_fails(invoke, tmp_path, measured):
    done = invoke(main, "run", "parts", "towers", "training", "--device", "cpu", "--out", tmp_path)
    assert done.exit_code == 1
    assert done.stderr == "error: suite towers must pass, got exit status 1 of pytest. Look above.\n"
    assert sorted(read_result(file).suite for file in tmp_path.iterdir()) == ["parts", "training"]
    assert [suite for suite, _ in measured] == ["parts", "towers", "training"]


def test_a_signal_ends_the_command_with_its_status(invoke, tmp_path, monkeypatch):
    def run(suite, options):
        raise interruption(signal.SIGTERM)

    monkeypatch.setattr(runs.run_suites, "__kwdefaults__", {"run": run})
    done = invoke(main, "run", "parts", "towers", "--out", tmp_path)
    assert done.exit_code == 143
    assert done.output == "SIGTERM ended the measurement. What was not done yet was not written.\n"


def test_a_quick_look_leaves_the_checked_in_results_alone(invoke, tmp_path, measured, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(result_file, "results_folder", lambda: tmp_path / "checked in")
    assert invoke(main, "run", "parts", "--quick").exit_code == 0
    assert invoke(main, "run", "parts").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".benchmarks", "checked in"]
    assert [options.quick for _, options in measured] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("trianing",), "SUITES must be suites of benchmarks, got 'trianing'. Did you mean 'training'? Suites: "),
        (("--device", "tpu"), "--device must be a device, got 'tpu'. "),
        (("--precision", "fp16"), "--precision must be a precision, got 'fp16'. "),
        (("--events", "5"), "--events must be a whole number >= 100, got 5. "),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_run(invoke, measured, arguments, expected):
    done = invoke(main, "run", *arguments)
    assert done.exit_code == 1
    assert f"error: {expected}" in done.stderr
    assert measured == []


def test_all_wrong_suites_and_options_are_told_at_once(invoke, measured):
    options = ("--device", "tpu", "--precision", "half", "--events", "5")
    done = invoke(main, "run", "trianing", "parts", "twoers", *options)
    assert done.exit_code == 1
    wrong = [line.partition(". ")[0] for line in done.stderr.removeprefix("error: ").splitlines()]
    of_options = [
        "--device must be a device, got 'tpu'",
        "--precision must be a precision, got 'half'",
        "--events must be a whole number >= 100, got 5",
    ]
    assert wrong == [
        *(f"SUITES must be suites of benchmarks, got '{name}'" for name in ("trianing", "twoers")),
        *of_options,
    ]
    assert measured == []
    commits = ("no-such-commit", "no-other-commit", "--rounds", "0", "--suite", "trianing", "--threshold", "0")
    done = invoke(main, "compare", *commits, *options)
    wrong = [line.partition(". ")[0] for line in done.stderr.removeprefix("error: ").splitlines()]
    assert wrong[:2] == ["--threshold must be a ratio above 0, got 0.0", "--rounds must be a whole number >= 1, got 0"]
    for found, commit in zip(wrong[2:4], commits, strict=False):
        assert found.startswith("OLD and NEW must be result files or commits of ")
        assert found.endswith(f", got '{commit}'")
    assert wrong[4:] == ["--suite must be suites of benchmarks, got 'trianing'", *of_options]


@pytest.mark.parametrize(
    ("place", "expected"),
    [("file", "must be a folder, got a file. Choose"), ("file/below", "must be a folder that can be written, got")],
)
def test_a_place_where_no_results_can_lie_is_told_before_anything_is_run(invoke, measured, tmp_path, place, expected):
    (tmp_path / "file").write_text("")
    done = invoke(main, "run", "parts", "--out", tmp_path / place)
    assert done.exit_code == 1
    assert f"error: {tmp_path / place} {expected}" in done.stderr
    assert measured == []


def test_files_are_compared(invoke, make_file):
    done = invoke(main, "compare", make_file(10.0), make_file(5.0))
    assert done.exit_code == 0
    assert "0.500" in done.output
    assert "slower: step (batch_size 8)" in done.output


def test_a_ratio_below_the_threshold_fails(invoke, make_file):
    old, new = make_file(10.0), make_file(8.9)
    done = invoke(main, "compare", old, new, "--threshold", "0.9")
    assert done.exit_code == 1
    assert "below 0.9: step (batch_size 8), ratio 0.890" in done.output
    assert invoke(main, "compare", old, new, "--threshold", "0.8").exit_code == 0
    assert invoke(main, "compare", new, old, "--threshold", "0.9").exit_code == 0


def test_another_machine_is_refused_unless_forced(invoke, make_file):
    old, new = make_file(10.0), make_file(9.0, cpu="another")
    refused = invoke(main, "compare", old, new)
    assert refused.exit_code == 1
    assert "OLD and NEW must come from the same machine, device and versions, got cpu " in refused.stderr
    forced = invoke(main, "compare", old, new, "--force")
    assert forced.exit_code == 0
    assert "NOT COMPARABLE" in forced.output
    assert "compared by force: cpu " in forced.output


def test_a_wrong_file_is_told(invoke, make_file, tmp_path):
    file, foreign = make_file(10.0), tmp_path / "foreign.json"
    foreign.write_text(json.dumps({"machine_info": {}}))
    for arguments in (("compare", file, foreign), ("report", foreign, "--out", "x.html"), ("table", foreign)):
        done = invoke(main, *arguments)
        assert done.exit_code == 1
        assert done.stderr.startswith(
            f"error: {foreign} must be a result file of format 'towerzoo-benchmarks', got None."
        )


@pytest.mark.parametrize("threshold", ["0", "-1", "nan"])
def test_a_wrong_threshold_is_told(invoke, make_file, threshold):
    file = make_file(10.0)
    done = invoke(main, "compare", file, file, "--threshold", threshold)
    assert done.exit_code == 1
    assert "--threshold must be a ratio above 0, got " in done.stderr


def test_options_without_effect_are_refused_all_at_once(invoke, make_file):
    old, new = make_file(10.0), make_file(9.0)
    options = {"suite": "parts", "rounds": 2, "device": "cpu", "precision": "bf16", "events": 500}
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    done = invoke(main, "compare", old, new, *given, "--quick", "--threshold", "0")
    assert done.exit_code == 1
    lines = done.stderr.removeprefix("error: ").splitlines()
    why = "Files hold what was measured; name two commits to measure them so."
    expected = [
        f"--{name} must be left out where OLD and NEW are result files, got {value!r}. {why}"
        for name, value in {**options, "quick": True}.items()
    ]
    assert sorted(lines[:-1]) == sorted(expected)
    assert lines[-1] == "--threshold must be a ratio above 0, got 0.0. Try 0.9."


def test_a_file_is_not_compared_with_itself(invoke, make_file):
    file = make_file(10.0)
    done = invoke(main, "compare", file, file.parent / "." / file.name, "--threshold", "0.9")
    assert done.exit_code == 1
    assert f"error: NEW must be another file than OLD, got '{file}' for both. Give one of " in done.stderr


def test_commits_are_not_compared_by_force(invoke):
    done = invoke(main, "compare", "HEAD", "HEAD", "--force")
    assert done.exit_code == 1
    assert done.stderr == (
        "error: --force must be left out where OLD and NEW are commits, got True. "
        "Commits are measured alike, on one machine.\n"
    )


def test_an_unknown_commit_is_told(invoke):
    done = invoke(main, "compare", "no-such-commit", "HEAD", "--quick")
    assert done.exit_code == 1
    assert "OLD and NEW must be result files or commits of " in done.stderr
    assert ", got 'no-such-commit'." in done.stderr


def test_an_unknown_suite_of_commits_is_told(invoke):
    done = invoke(main, "compare", "HEAD", "HEAD", "--suite", "trianing")
    assert done.exit_code == 1
    assert "error: --suite must be suites of benchmarks, got 'trianing'. Did you mean 'training'?" in done.stderr


def test_commits_are_compared_round_by_round(invoke, monkeypatch):
    from towerzoo.benchmarks.report import commits

    def alternate(old, new, run, *, rounds):
        assert (old, new, rounds) == ("HEAD", "HEAD", 2)
        return [result(10.0), result(5.0)], [result(9.0), result(4.0)]

    monkeypatch.setattr(commits, "run_in_alternation", alternate)
    arguments = ("compare", "HEAD", "HEAD", "--rounds", "2", "--device", "cpu")
    done = invoke(main, *arguments)
    assert done.exit_code == 0, done.output
    for ratio in ("0.850", "0.800", "0.900"):
        assert ratio in done.output
    assert invoke(main, *arguments, "--threshold", "0.9").exit_code == 1


def test_the_report_is_written_whole(invoke, make_file, tmp_path):
    done = invoke(main, "report", make_file(10.0), "--out", tmp_path / "report.html")
    assert done.output == f"report: {tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")
    # Before anything is read and drawn.
    refused = invoke(main, "report", tmp_path / "no.json", "--out", tmp_path / "nowhere" / "report.html")
    assert refused.exit_code == 1
    assert "report.html must be a file that can be written, got 'No such file or directory'." in refused.stderr


def test_the_table_is_put_between_the_marks(invoke, make_file, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n<!-- benchmarks:begin -->\nstale\n<!-- benchmarks:end -->\nThe end.\n")
    file = make_file(10.0)
    text = invoke(main, "table", file).output
    assert "| training: step | 1 | 10 samples/s | batch_size 8 | - | - |" in text
    for _ in range(2):  # writing it again changes nothing
        assert invoke(main, "table", file, "--write", readme).exit_code == 0
        marked = f"# Title\n<!-- benchmarks:begin -->\n{text}<!-- benchmarks:end -->\nThe end.\n"
        assert readme.read_text() == marked


def test_missing_marks_are_told(invoke, make_file, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    done = invoke(main, "table", make_file(10.0), "--write", readme)
    assert done.exit_code == 1
    assert "got no <!-- benchmarks:begin --> and <!-- benchmarks:end -->. Add them" in done.stderr


def test_no_results_are_told(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(result_file, "results_folder", lambda: tmp_path)
    for arguments in (("table",), ("report", "--out", "x.html")):
        done = invoke(main, *arguments)
        assert done.exit_code == 1
        assert "FILES must be result files, got none in " in done.stderr
