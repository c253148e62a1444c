"""A run that is served: found, opened, and replaced by a newer one while requests go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from towerzoo.registry.errors import RunError
from towerzoo.towers.recommender import Recommender
from towerzoo.towers.run_folder import ABOUT, RunFolder, started
from towerzoo.towers.serving.run_answers import RunAnswers

LAST_WRITTEN: Final = "report.html"
"""The file whose presence says that a run is finished."""


def find_run(source: Path) -> Path:
    """Returns the run folder that a path means: itself, or the newest finished run of `runs/NAME`.

    Raises:
        RunError: It is neither, or holds no finished run.
    """
    if not source.is_dir() or (source / ABOUT).exists():
        return source
    finished = [file.parent for file in source.glob(f"*/{LAST_WRITTEN}")]
    if not finished:
        raise RunError(
            f"{source} must be a run folder, or one that holds finished runs, got none in it. "
            "Runs lie in runs/NAME/TIME."
        )
    return max(finished, key=started)


class ServedRun:
    """A place in the service, where one run is followed by the next.

    Args:
        name: What clients call it.
        source: A run folder, or `runs/NAME`, of which the newest run is served.
        device: Where the model computes.

    Attributes:
        current: What answers now; whoever holds it may go on asking it after it was replaced.

    Raises:
        RunError: The run cannot be opened.
    """

    def __init__(self, name: str, source: Path, *, device: str = "cpu") -> None:
        self.name = name
        self.source = source
        self.device = device
        self.current = self._open(find_run(source))

    def reload(self) -> bool:
        """Opens what the source is now and lets it answer; where that fails, the current run goes on.

        Returns:
            Whether another run folder answers now.

        Raises:
            RunError: The run cannot be opened.
        """
        before = self.current.path
        self.current = self._open(find_run(self.source))
        return self.current.path != before

    def _open(self, path: Path) -> RunAnswers:
        answers = RunAnswers(path.resolve(), Recommender.open(path, device=self.device))
        answers.warm_up()
        return answers


def open_runs(sources: Sequence[Path], *, device: str = "cpu") -> list[ServedRun]:
    """Opens all runs to serve, each called as its config; numbered where two are of one.

    Raises:
        RunError: One of them cannot be opened.
    """
    configs = [RunFolder.open(find_run(source)).name for source in sources]
    names = [
        config if configs.count(config) == 1 else f"{config}-{configs[: place + 1].count(config)}"
        for place, config in enumerate(configs)
    ]
    return [ServedRun(name, source, device=device) for name, source in zip(names, sources, strict=True)]
