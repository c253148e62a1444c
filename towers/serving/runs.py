"""A run that is served: found, opened, and replaced by a newer one while requests go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from towerzoo.towers.recommend.saved_index import open_recommender, require_index
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.serving.answers import RunAnswers


class ServedRun:
    """A place in the service, where one run is followed by the next.

    Args:
        name: What clients call it.
        source: A run folder, or `runs/NAME`, of which the newest run is served.
        with_index: Whether answers come from the index that was saved into the run.
        device: Where the model computes.

    Attributes:
        current: What answers now; whoever holds it may go on asking it after it was replaced.

    Raises:
        RunError: The run cannot be opened.
    """

    def __init__(self, name: str, source: Path, *, with_index: bool = False, device: str = "cpu") -> None:
        self.name = name
        self.source = source
        self.with_index = with_index
        self.device = device
        self.current = self._open()

    def newest(self) -> RunFolder:
        """Returns the run that the source is now.

        Raises:
            RunError: There is none, or it lacks the index that is wanted.
        """
        run = RunFolder(RunFolder.open(self.source).path.resolve())
        if self.with_index:
            require_index(run)
        return run

    def reload(self) -> bool:
        """Opens what the source is now and lets it answer; where that fails, the current run goes on.

        Returns:
            Whether another run folder answers now.

        Raises:
            RunError: The run cannot be opened.
        """
        before = self.current.path
        self.current = self._open()
        return self.current.path != before

    def _open(self) -> RunAnswers:
        run = self.newest()
        answers = RunAnswers(run.path, open_recommender(run, with_index=self.with_index, device=self.device))
        answers.warm_up()
        return answers


def open_runs(sources: Sequence[Path], *, with_index: bool = False, device: str = "cpu") -> list[ServedRun]:
    """Opens all runs to serve, each called as its config; numbered where two are of one.

    Raises:
        RunError: One of them cannot be opened.
    """
    configs = [RunFolder.open(source).name for source in sources]
    names = [
        config if configs.count(config) == 1 else f"{config}-{configs[: place + 1].count(config)}"
        for place, config in enumerate(configs)
    ]
    return [
        ServedRun(name, source, with_index=with_index, device=device)
        for name, source in zip(names, sources, strict=True)
    ]
