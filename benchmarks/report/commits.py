"""Two commits measured in alternation, by the same suites."""

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
"""What a commit is measured by; the suites are this checkout's own, so that they are the same for both."""

Run = Callable[[Mapping[str, str]], Result]
"""Runs a suite with variables added to the environment."""


@raised_signals()
def run_in_alternation(
    old: str, new: str, run: Run, *, rounds: int, checkout: Path = CHECKOUT
) -> tuple[list[Result], list[Result]]:
    """Runs a suite on two commits in turn, so that both meet the machine in the same state.

    Args:
        old: The commit to compare with.
        new: The commit that is compared.
        run: Runs the suite once.
        rounds: How often each is run.
        checkout: A git checkout that has both.

    Returns:
        The results of either, in the order of the rounds.

    Raises:
        RunError: As of `require_commits`, or the suite does not pass on one of them.
        Interrupted: SIGINT or SIGTERM came.
    """
    hashes = require_commits(old, new, rounds=rounds, checkout=checkout)
    with checked_out(hashes[0], checkout) as first, checked_out(hashes[1], checkout) as second:
        results: tuple[list[Result], list[Result]] = ([], [])
        for number in range(rounds):
            order = ((0, first), (1, second))
            # What goes first may find the machine cooler, or its caches colder.
            for place, links in order if number % 2 == 0 else reversed(order):
                path = [str(links), os.environ.get("PYTHONPATH", "")]
                result = run({"PYTHONPATH": os.pathsep.join(filter(None, path))})
                _require_commit(result, hashes[place])
                results[place].append(result)
        return results


def require_commits(old: str, new: str, *, rounds: int, checkout: Path = CHECKOUT) -> list[str]:
    """Returns the whole hashes of two commits.

    Raises:
        RunError: They cannot be measured for so many rounds; all that is wrong is told.
    """
    problems = [] if rounds >= 1 else [f"--rounds must be a whole number >= 1, got {rounds}. Try 3."]
    hashes = []
    for commit in dict.fromkeys((old, new)):
        try:
            hashes.append(resolve(commit, checkout))
        except RunError as error:
            problems.append(str(error))
    if problems:
        raise RunError("\n".join(problems))
    return [hashes[0], hashes[-1]]


def resolve(commit: str, checkout: Path = CHECKOUT) -> str:
    """Returns the whole hash of a commit, a branch or a tag.

    Raises:
        RunError: There is none of that name, or this is no git checkout.
    """
    try:
        return _git(checkout, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}").strip()
    except (OSError, subprocess.CalledProcessError):
        raise RunError(
            f"OLD and NEW must be result files or commits of {checkout}, got {commit!r}. "
            "List files with ls benchmarks/results, commits with git log --oneline."
        ) from None


@contextmanager
def checked_out(commit: str, checkout: Path = CHECKOUT) -> Iterator[Path]:
    """Checks a commit out elsewhere, and yields a folder that makes it `towerzoo` when it leads PYTHONPATH.

    Raises:
        RunError: Git cannot do so.
    """
    with tempfile.TemporaryDirectory() as temporary:
        tree, links = Path(temporary) / "tree", Path(temporary) / "links"
        try:
            _git(checkout, "worktree", "add", "--detach", "--quiet", str(tree), commit)
        except subprocess.CalledProcessError as error:
            raise RunError(
                f"commit {commit} must be one that git can check out, got {error.stderr.strip()!r}. "
                "Free space, or run git worktree prune."
            ) from None
        try:
            namespace = links / "towerzoo"
            namespace.mkdir(parents=True)
            for folder in MEASURED:
                (namespace / folder).symlink_to(tree / folder)
            (namespace / "benchmarks").symlink_to(Path(__file__).parents[1])
            yield links
        finally:
            _git(checkout, "worktree", "remove", "--force", str(tree))


def _require_commit(result: Result, commit: str) -> None:
    # Python's paths decide what is measured, and something else may lead them.
    found = result.origin.commit
    if found is None or not commit.startswith(found):
        raise RunError(
            f"suite {result.suite} must measure commit {commit[:10]}, got {found!r}. "
            "See that no other TowerZoo leads Python's path."
        )


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout
