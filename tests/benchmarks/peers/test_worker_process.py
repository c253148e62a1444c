import dataclasses
import re
import sys
from pathlib import Path

import pytest

from towerzoo.benchmarks.measure.processes import LineProcess
from towerzoo.benchmarks.peers.worker_process import WorkerProcess
from towerzoo.registry.errors import PeerError


def test_a_worker_answers_with_figures(make_system, settings):
    with WorkerProcess(make_system(), settings) as worker:
        assert worker.ask("prepare")["samples"] == 1000
        assert worker.ask("train") == {"seconds": 0.5, "samples": 500}
        assert worker.ask("evaluate") == {"seconds": 0.25, "samples": 100, "auc": 0.75}
        answer = worker.ask("time-to-auc")
        assert (answer["auc"], answer["epochs"], answer["reached"]) == (0.7, 2, True)


def test_a_command_runs_those_that_it_needs(make_system, settings, fake_source):
    source = fake_source.replace("return 500, 0.5", "return self.prepare() // 2, 0.5").replace(
        "return 100, 0.25", "return self.train()[0] // 5, 0.25"
    )
    with WorkerProcess(make_system(source), settings) as worker:
        assert worker.ask("evaluate")["samples"] == 100


def test_an_auc_out_of_time_is_not_reached(make_system, settings, fake_source):
    source = fake_source.replace("until(auc)", "(time.sleep(0.05), until(auc))[1]")
    with WorkerProcess(make_system(source), dataclasses.replace(settings, target_auc=0.9, bound=0.01)) as worker:
        answer = worker.ask("time-to-auc")
    assert (answer["auc"], answer["epochs"], answer["reached"]) == (0.6, 1, False)


def test_what_libraries_print_does_not_mix_with_the_answers(make_system, settings, fake_source):
    chatter = "import os\nprint('loading')\nos.write(1, b'from C\\n')\nassert input is not None\n"
    with WorkerProcess(make_system(chatter + fake_source), settings) as worker:
        assert worker.ask("train")["samples"] == 500


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file or directory"), ("", "Permission denied")])
def test_a_python_that_does_not_start(make_system, settings, tmp_path, content, reason):
    python = tmp_path / "python"
    if content is not None:
        python.write_text(content)
    system = dataclasses.replace(make_system(name="RecBole"), python=python)
    with pytest.raises(PeerError, match=rf"^RecBole has no Python at .*/python: {reason}\. Run make bench-peers, "):
        WorkerProcess(system, settings)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("raise MemoryError('no room')", r"ended with status 1 instead of answering 'train'\.(?s:.*)no room"),
        ("import os; os.kill(os.getpid(), 9)", "ended with status -9 instead of answering 'train'"),
        ("time.sleep(60)", r"did not answer 'train' within 0\.5 s\.$"),
        ("return 0, 0.5", "'s samples in the answer to 'train' must be positive, got 0"),
        ("return 5, float('inf')", "'s seconds in the answer to 'train' must be positive, got inf"),
    ],
)
def test_a_worker_that_does_not_answer(make_system, settings, fake_source, words, expected):
    source = fake_source.replace("return 500, 0.5", words)
    with WorkerProcess(make_system(source), settings) as worker:
        worker.patience = 0.5 if "did not" in expected else 60
        with pytest.raises(PeerError, match=rf"^fake ?{expected}"):
            worker.ask("train")


def test_an_answer_must_be_json():
    command = [sys.executable, "-c", "input(); print('nonsense')"]
    expected = r"^x answered its settings with b'nonsense\\n' instead of JSON\.$"
    with LineProcess("x", command) as process, pytest.raises(PeerError, match=expected):
        process.ask_line("{}", "its settings")


def test_a_system_that_cannot_be_imported(make_system, settings):
    with pytest.raises(PeerError, match=r"(?s)instead of answering its settings\..*No module named 'no_such_peer'"):
        WorkerProcess(make_system("import no_such_peer"), settings)


def test_nothing_is_left_behind(make_system, settings, fake_source):
    source = fake_source.replace(
        "return 1000", "open('log.txt', 'w').close(); print(self.settings['scratch']); return 1"
    )
    with WorkerProcess(make_system(source), settings) as worker:
        worker.ask("prepare")
        worker._errors.seek(0)
        printed = re.search(r"^/.*$", worker._errors.read().decode(), re.M)
        scratch = Path(printed.group())
        assert (scratch / "log.txt").exists()
    assert not scratch.exists()
    assert worker._process.poll() is not None
