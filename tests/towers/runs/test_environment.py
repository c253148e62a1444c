from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

import pytest
import torch

from towerzoo.towers.runs import environment as module
from towerzoo.towers.runs.environment import commit, device_name, environment

FILE = "environment.py"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout with one commit, in which the module appears to lie."""
    (tmp_path / FILE).write_text("1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", FILE)
    git(tmp_path, "commit", "--quiet", "-m", "first")
    monkeypatch.setattr(module, "__file__", str(tmp_path / FILE))
    return tmp_path


def test_the_commit_is_short_and_marked_if_files_differ(checkout):
    head = git(checkout, "rev-parse", "HEAD")[:10]
    assert commit() == head
    git(checkout, "tag", "v1")
    assert commit() == head, "a tag is no commit"
    (checkout / FILE).write_text("2\n")
    assert commit() == f"{head}+"


@pytest.mark.parametrize("where", ["an untracked copy in a checkout", "no checkout", "no git"])
def test_elsewhere_there_is_no_commit(checkout, tmp_path_factory, monkeypatch, where):
    if where == "no git":
        monkeypatch.setenv("PATH", str(checkout / "nothing"))
    else:
        outside = tmp_path_factory.mktemp("outside") if where == "no checkout" else checkout / ".venv"
        outside.mkdir(exist_ok=True)
        (outside / FILE).write_text("1\n")
        monkeypatch.setattr(module, "__file__", str(outside / FILE))
    assert commit() is None


def test_what_stands_beside_a_figure(monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ("torch", "no-such-package"))
    about = environment(torch.device("cpu"))
    assert set(about) == {"device", "threads", "python", "platform", "packages", "commit"}
    assert about["device"].startswith("cpu (")
    assert about["threads"] == torch.get_num_threads()
    assert about["packages"] == {"torch": importlib.metadata.version("torch"), "no-such-package": None}


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nmodel name\t: Chip 9000: Pro\nmodel name\t: Other\n", "cpu (Chip 9000: Pro)"),
        ("", "cpu (abc)"),
    ],
)
def test_the_name_of_a_cpu(monkeypatch, cpuinfo, expected):
    monkeypatch.setattr(Path, "read_text", lambda self: cpuinfo)
    monkeypatch.setattr(module.platform, "processor", lambda: "")
    monkeypatch.setattr(module.platform, "machine", lambda: "abc")
    assert device_name(torch.device("cpu")) == expected


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_the_name_of_a_gpu():
    assert torch.cuda.get_device_name() in device_name(torch.device("cuda"))
