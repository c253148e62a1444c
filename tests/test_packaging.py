"""The wheel holds the folders, all of them, and nothing else."""

import importlib.metadata
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

TOP = Path(__file__).parents[1]
FOLDERS = ("registry", "datasets", "towers", "tools", "benchmarks", "configs")


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory):
    """Names in the wheel that is built from a clean copy of the tracked files."""
    out = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    for name in tracked.strip("\0").split("\0"):
        target = out / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((TOP / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(out), "."]
    subprocess.run(build, cwd=out / "source", check=True, timeout=300)
    (wheel,) = out.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.install
def test_the_wheel_is_the_folders(wheel_files):
    expected = {
        f"towerzoo/{file.relative_to(TOP)}" if folder != "towerzoo" else str(file.relative_to(TOP))
        for folder in (*FOLDERS, "towerzoo")
        for pattern in ("*.py", "*.pyi", "*.yaml", "*.j2", "*.html", "py.typed")
        for file in (TOP / folder).rglob(pattern)
        if "results" not in file.relative_to(TOP).parts[:-1]
    }
    inside = {name for name in wheel_files if ".dist-info/" not in name}
    assert inside == expected
    assert len(inside) > 60


@pytest.mark.install
def test_nothing_collides_in_site_packages(wheel_files):
    assert {name.partition("/")[0] for name in wheel_files if ".dist-info/" not in name} == {"towerzoo"}


def test_the_lowest_versions_that_are_tested_are_those_that_the_ranges_allow():
    """All but those of the extra `export`, which needs a newer torch than the rest, and of tools for developers."""
    lowest = {
        f"{requirement.name.lower()}=={bound.version}"
        for requirement in map(Requirement, importlib.metadata.requires("towerzoo"))
        for bound in requirement.specifier
        if bound.operator == ">=" and extra_of(requirement) in {None, "bench", "faiss", "qdrant", "serve"}
    }
    lines = (TOP / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if not line.startswith("#")} == lowest


def extra_of(requirement: Requirement) -> str | None:
    found = re.search(r'extra == "(\w+)"', str(requirement.marker))
    return found and found[1]


def test_no_tool_hides_a_module_of_the_standard_library():
    """`python tools/x.py` puts tools/ first on the path. Only CPython's own tests import `test`."""
    names = {file.stem for file in (TOP / "tools").glob("*.py")} - {"__init__", "test"}
    assert names & set(sys.stdlib_module_names) == set()
