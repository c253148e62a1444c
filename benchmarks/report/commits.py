"""Measures two commits in alternation, with the same suites."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from towerzoo.benchmarks.measure.result_file import Result
from towerzoo.benchmarks.suites.run import raised_signals
from towerzoo.registry.errors import RunError

CHECKOUT = Path(__file__).parents[2]
MEASURED = ("registry", "datasets", "towers", "tools", "configs")
"""Folders that are taken from a commit; the suites are those of this checkout, the same for both commits."""
LAYOUT = "towers/model/build.py"
"""A file that only commits with the present layout have."""


@raised_signals()
def run_in_alternation(
    old: str, new: str, run: Callable[[Mapping[str, str]], Result], *, rounds: int, checkout: Path = CHECKOUT
) -> tuple[list[Result], list[Result]]:
    """Runs a suite on two commits in turn, so that both find the machine in the same state.

    Args:
        old: The commit to compare with.
        new: The commit that is compared.
        run: Runs the suite once, with variables added to the environment.
        rounds: How often each is run.
        checkout: A git checkout that has both.

    Returns:
        The results of either commit, in the order of the rounds.

    Raises:
        RunError: A commit does not exist or has another layout, or the suite does not pass on it.
        Interrupted: SIGINT or SIGTERM came.
    """
    hashes = [resolve(commit, checkout) for commit in (old, new)]
    with checked_out(hashes[0], checkout) as first, checked_out(hashes[1], checkout) as second:
        results: tuple[list[Result], list[Result]] = ([], [])
        for number in range(rounds):
            order = ((0, first), (1, second))
            # The first of a round may find the machine cooler, or its caches colder.
            for side, links in order if number % 2 == 0 else reversed(order):
                path = [str(links), os.environ.get("PYTHONPATH", "")]
                result = run({"PYTHONPATH": os.pathsep.join(filter(None, path))})
                _require_commit(result, hashes[side])
                results[side].append(result)
        return results


def resolve(commit: str, checkout: Path = CHECKOUT) -> str:
    """Returns the whole hash of a commit, a branch or a tag.

    Raises:
        RunError: It does not exist, has another layout, or `checkout` is no git checkout.
    """
    try:
        full = _git(checkout, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}").strip()
    except (OSError, subprocess.CalledProcessError):
        raise RunError(
            f"OLD and NEW must be commits of {checkout}, got {commit!r}. List commits with git log --oneline."
        ) from None
    try:
        _git(checkout, "cat-file", "-e", f"{full}:{LAYOUT}")
    except subprocess.CalledProcessError:
        raise RunError(
            f"Commit {commit} has another layout: it has no {LAYOUT}. The suites measure only commits with the present "
            f"layout. Choose a later commit, or measure this one with its own suites."
        ) from None
    return full


@contextmanager
def checked_out(commit: str, checkout: Path = CHECKOUT) -> Iterator[Path]:
    """Checks a commit out elsewhere, and yields a folder that makes it `towerzoo` at the head of PYTHONPATH.

    Raises:
        RunError: Git cannot check it out.
    """
    with tempfile.TemporaryDirectory() as temporary:
        tree, links = Path(temporary) / "tree", Path(temporary) / "links"
        try:
            _git(checkout, "worktree", "add", "--detach", "--quiet", str(tree), commit)
        except subprocess.CalledProcessError as error:
            raise RunError(
                f"Git cannot check out {commit}: {error.stderr.strip()}. Free space, or run git worktree prune."
            ) from None
        try:
            # As `make links` does, but with this checkout's benchmarks.
            namespace = links / "towerzoo"
            namespace.mkdir(parents=True)
            for place in (*(tree / folder for folder in MEASURED), *(tree / "towerzoo").glob("*")):
                (namespace / place.name).symlink_to(place)
            (namespace / "benchmarks").symlink_to(Path(__file__).parents[1])
            yield links
        finally:
            _git(checkout, "worktree", "remove", "--force", str(tree))


def _require_commit(result: Result, commit: str) -> None:
    # Python's path decides what is measured, and another TowerZoo may lead it.
    measured = result.origin.commit
    if measured is None or not commit.startswith(measured):
        raise RunError(
            f"Suite {result.suite} measured commit {measured} instead of {commit[:10]}. "
            "Check that no other TowerZoo precedes it on Python's path."
        )


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout
