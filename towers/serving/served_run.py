"""A run that is served: found, opened, and replaced by a newer one while requests go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from towerzoo.towers.recommender import Recommender
from towerzoo.towers.run_folder import RunFolder
from towerzoo.towers.serving.run_answers import RunAnswers


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
        self.current = self._open(RunFolder.open(source).path)

    def reload(self) -> bool:
        """Opens what the source is now and lets it answer; where that fails, the current run goes on.

        Returns:
            Whether another run folder answers now.

        Raises:
            RunError: The run cannot be opened.
        """
        before = self.current.path
        self.current = self._open(RunFolder.open(self.source).path)
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
    configs = [RunFolder.open(source).name for source in sources]
    names = [
        config if configs.count(config) == 1 else f"{config}-{configs[: place + 1].count(config)}"
        for place, config in enumerate(configs)
    ]
    return [ServedRun(name, source, device=device) for name, source in zip(names, sources, strict=True)]
