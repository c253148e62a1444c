import re
from pathlib import Path

import pytest

from towerzoo.benchmarks.peers.systems import System
from towerzoo.benchmarks.peers.worker_process import WorkerProcess
from towerzoo.registry.errors import PeerError


def test_a_worker_answers_in_figures(make_system, settings):
    with WorkerProcess(make_system(), settings) as worker:
        assert worker.ask("prepare")["samples"] == 1000
        assert worker.ask("train") == {"seconds": 0.5, "samples": 500}
        assert worker.ask("evaluate") == {"seconds": 0.25, "samples": 100, "auc": 0.75}
        answer = worker.ask("time-to-auc")
        assert (answer["auc"], answer["epochs"], answer["reached"]) == (0.7, 2, True)


def test_commands_carry_out_what_they_need(make_system, settings, fake_source):
    source = fake_source.replace("return 500, 0.5", "return self.prepare() // 2, 0.5").replace(
        "return 100, 0.25", "return self.train()[0] // 5, 0.25"
    )
    with WorkerProcess(make_system(source), settings) as worker:
        assert worker.ask("evaluate")["samples"] == 100


def test_out_of_time_is_not_reached(make_system, settings, fake_source):
    source = fake_source.replace("until(auc)", "(time.sleep(0.05), until(auc))[1]")
    hurried = settings.__class__(settings.data, threads=1, steps=1, target_auc=0.9, bound=0.01)
    with WorkerProcess(make_system(source), hurried) as worker:
        answer = worker.ask("time-to-auc")
    assert (answer["auc"], answer["epochs"], answer["reached"]) == (0.6, 1, False)


def test_what_libraries_print_does_not_come_between(make_system, settings, fake_source):
    chatter = "import os\nprint('loading')\nos.write(1, b'from C\\n')\nassert input is not None\n"
    with WorkerProcess(make_system(chatter + fake_source), settings) as worker:
        assert worker.ask("train")["samples"] == 500


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (None, None, "No such file or directory"),
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("nonsense", 0o755, "Exec format error"),
    ],
)
def test_a_python_that_does_not_start(make_system, settings, tmp_path, content, mode, reason):
    python = tmp_path / "python"
    if content:
        python.write_text(content)
        python.chmod(mode)
    system = System("recbole", make_system().worker, python)
    with pytest.raises(PeerError, match=rf"recbole must have a Python that starts, got '{reason}' of '.*'\. Run make"):
        WorkerProcess(system, settings)


def test_a_system_that_cannot_be_imported(make_system, settings, fake_source):
    with pytest.raises(PeerError, match=r"(?s)must answer its settings, got the end .*No module named 'no_such_peer'"):
        WorkerProcess(make_system("import no_such_peer\n" + fake_source), settings)


def test_a_worker_that_dies_is_told_with_its_last_words(make_system, settings, fake_source):
    source = fake_source.replace("return 500, 0.5", "raise MemoryError('no room for 7 rows')")
    with WorkerProcess(make_system(source), settings) as worker:
        message = r"(?s)fake must answer 'train', got the end of its process with status 1\..*no room for 7 rows"
        with pytest.raises(PeerError, match=message):
            worker.ask("train")
        with pytest.raises(PeerError, match="fake must answer 'prepare', got the end of its process"):
            worker.ask("prepare")


def test_a_worker_that_is_killed(make_system, settings, fake_source):
    source = fake_source.replace("return 500, 0.5", "import os; os.kill(os.getpid(), 9)")
    with (
        WorkerProcess(make_system(source), settings) as worker,
        pytest.raises(PeerError, match="got the end of its process with status -9"),
    ):
        worker.ask("train")


@pytest.mark.parametrize(
    ("written", "shown"),
    [("nonsense", "'nonsense'"), ("[1]", r"'\[1\]'"), ("3", "'3'"), ('{"seconds": 1}', """'{"seconds": 1}'""")],
)
def test_a_worker_that_answers_nonsense(make_system, settings, fake_source, written, shown):
    # Past what serve.py does with the streams: the answers go out by the first free number after those.
    talks = f"import os\n        [os.write(n, {written!r}.encode() + b'\\n') for n in range(3, 9) if _is_pipe(n)]"
    helper = """
def _is_pipe(number):
    import os, stat, fcntl
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode) and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_WRONLY
    except OSError:
        return False
"""
    source = fake_source.replace("return 500, 0.5", f"{talks}; time.sleep(60)") + helper
    message = rf"fake's answer to 'train' must be a line of JSON with seconds, samples, got {shown}\. Look at .*fake.py"
    with WorkerProcess(make_system(source), settings) as worker, pytest.raises(PeerError, match=message):
        worker.ask("train")


@pytest.mark.parametrize("name", ["samples", "seconds", "auc"])
@pytest.mark.parametrize("value", ["0", "-5", "float('nan')", "float('inf')", "10**400", "1e-300", "'long'", "None"])
def test_figures_that_are_none(make_system, settings, fake_source, name, value):
    sound = {"samples": "100", "seconds": "0.25", "auc": "0.75"}
    source = fake_source.replace(", ".join(sound.values()), ", ".join({**sound, name: value}.values()))
    with WorkerProcess(make_system(source), settings) as worker:
        message = f"fake's {name} in the answer to 'evaluate' must be a number from 1e-09 to 1e\\+15, got "
        with pytest.raises(PeerError, match=message):
            worker.ask("evaluate")


def test_a_worker_that_hangs(make_system, settings, fake_source):
    source = fake_source.replace("return 500, 0.5", "time.sleep(60)")
    with WorkerProcess(make_system(source), settings, patience=2.0) as worker:
        worker.patience = 0.05
        with pytest.raises(PeerError, match=r"fake must answer 'train' within 0\.05 s, got nothing\. Ask for fewer"):
            worker.ask("train")


def test_nothing_is_left_behind(make_system, settings, fake_source):
    source = fake_source.replace(
        "return 1000", "open('log.txt', 'w').close(); print(self.settings['scratch']); return 1"
    )
    with WorkerProcess(make_system(source), settings) as worker:
        worker.ask("prepare")
        worker._errors.seek(0)
        scratch = Path(re.search(r"^/.*$", worker._errors.read().decode(), re.M).group())
        assert (scratch / "log.txt").exists()
    assert not scratch.exists()
    assert worker._process.poll() is not None
