from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from towerzoo.benchmarks.report.commits import LAYOUT, MEASURED, checked_out, resolve, run_in_alternation
from towerzoo.registry.errors import RunError

MARK = "import towerzoo, towerzoo.registry.mark as mark, towerzoo.benchmarks as suites; "
WHERE = "assert towerzoo.FRONT_DOOR == mark.NUMBER; print(mark.NUMBER, suites.__file__)"


@pytest.fixture
def checkout(tmp_path):
    """A repository of three commits, v0 to v2, of a TowerZoo whose registry holds a number; v0 has another layout."""
    folder = tmp_path / "checkout"
    for name in MEASURED:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")

    def git(*arguments):
        own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        who = ("-c", "user.name=T", "-c", "user.email=t@example.org")
        subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, env=os.environ | own)

    git("init")
    for number in (0, 1, 2):
        if number:
            (folder / "towers" / "model").mkdir(parents=True, exist_ok=True)
            (folder / LAYOUT).touch()
            (folder / "towerzoo").mkdir(exist_ok=True)
            (folder / "towerzoo" / "__init__.py").write_text(f"FRONT_DOOR = {number}\n")
        (folder / "registry" / "mark.py").write_text(f"NUMBER = {number}\n")
        git("add", ".")
        git("commit", "-m", f"number {number}")
        git("tag", f"v{number}")
    return folder


@pytest.fixture
def measured(make_record, make_result, checkout, monkeypatch):
    """Runs a suite that measures the number of the commit at the head of PYTHONPATH."""
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(environment):
        done = subprocess.run(
            [sys.executable, "-P", "-c", MARK + WHERE],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        number, suites = done.stdout.split(maxsplit=1)
        assert Path(suites.strip()).samefile(Path(__file__).parents[3] / "benchmarks" / "__init__.py")
        seen.append(int(number))
        return make_result(make_record(float(number)), commit=resolve(f"v{number}", checkout)[:10])

    seen: list[int] = []
    run.seen = seen
    return run


def test_commits_are_measured_in_alternation_by_the_same_suites(checkout, measured):
    old, new = run_in_alternation("v1", "v2", measured, rounds=3, checkout=checkout)
    assert measured.seen == [1, 2, 2, 1, 1, 2]
    assert [result.records[0].value for result in old] == [1.0] * 3
    assert [result.records[0].value for result in new] == [2.0] * 3


def worktrees(checkout):
    listed = subprocess.run(["git", "worktree", "list"], cwd=checkout, capture_output=True, text=True, check=True)
    return len(listed.stdout.splitlines())


def test_no_checkout_is_left_behind(checkout, measured):
    def fails(environment):
        assert worktrees(checkout) == 3
        raise RunError("the suite failed")

    with pytest.raises(RunError, match="the suite failed"):
        run_in_alternation("v1", "v2", fails, rounds=1, checkout=checkout)
    assert worktrees(checkout) == 1
    with checked_out("v1", checkout) as links:
        tree = (links / "towerzoo" / "registry").resolve()
        assert (tree / "mark.py").is_file()
    assert not tree.exists()
    assert worktrees(checkout) == 1


def test_another_towerzoo_ahead_on_the_path_is_noticed(checkout, make_result):
    other = make_result(commit="0123456789")
    expected = r"^Suite training measured commit 0123456789 instead of \w{10}\. Check that no other TowerZoo precedes"
    with pytest.raises(RunError, match=expected):
        run_in_alternation("v1", "v2", lambda environment: other, rounds=1, checkout=checkout)


@pytest.mark.parametrize("name", ["v3", "", "--all", "v1:registry"])
def test_an_unknown_commit_fails_before_anything_is_measured(checkout, measured, name):
    expected = rf"^OLD and NEW must be commits of .*checkout, got '{name}'\. List commits with git log --oneline\."
    with pytest.raises(RunError, match=expected):
        run_in_alternation("v1", name, measured, rounds=1, checkout=checkout)
    assert measured.seen == []


def test_a_commit_of_another_layout_fails_before_anything_is_measured(checkout, measured):
    expected = r"^Commit v0 has another layout: it has no towers/model/build\.py\. The suites measure only commits with"
    with pytest.raises(RunError, match=expected):
        run_in_alternation("v0", "v1", measured, rounds=1, checkout=checkout)
    assert measured.seen == []


def test_a_folder_without_git_has_no_commits(tmp_path):
    with pytest.raises(RunError, match=r"^OLD and NEW must be commits of .*, got 'HEAD'\."):
        resolve("HEAD", tmp_path)
