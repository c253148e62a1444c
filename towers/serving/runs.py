"""A run that is served: found, opened, and replaced by a newer one while requests go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from towerzoo.registry.errors import TowerZooError, one_line
from towerzoo.towers.recommend.saved_index import open_recommender, require_index
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.serving.answers import RunAnswers
from towerzoo.towers.serving.metrics import ServiceMetrics


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


class Reloading:
    """Opens runs anew, one at a time, in a thread beside that of the model.

    Args:
        runs: The runs.
        metrics: Is told of loads.
        tell: Is told in a line what became of each.
    """

    def __init__(self, runs: Sequence[ServedRun], metrics: ServiceMetrics, tell: Callable[[str], object]) -> None:
        self._runs = runs
        self._metrics = metrics
        self._tell = tell
        self._one_at_a_time = asyncio.Lock()
        for run in runs:
            metrics.swapped(run.name, None, run.current.path.name)

    async def reload(self) -> list[str]:
        """Lets all runs answer from what their folders hold now; those that cannot be opened go on as they are.

        Returns:
            What went wrong.
        """
        async with self._one_at_a_time:
            problems = [await self._reload(run) for run in self._runs]
        return [problem for problem in problems if problem is not None]

    async def watch(self, seconds: float) -> None:
        """Looks for newer runs for ever; one that cannot be opened is told of, and tried again once its files change.

        So a run may be copied to its place: what is read of it before it is whole is not the last word.
        """
        tried: dict[str, object] = {}
        while True:
            await asyncio.sleep(seconds)
            for run in self._runs:
                try:
                    found = await asyncio.to_thread(run.newest)
                    state = found.path, await asyncio.to_thread(_files, found)
                except (TowerZooError, OSError):
                    continue
                if found.path != run.current.path and state != tried.get(run.name):
                    tried[run.name] = state
                    async with self._one_at_a_time:
                        await self._reload(run)

    async def _reload(self, run: ServedRun) -> str | None:
        before = run.current.path.name
        try:
            await asyncio.to_thread(run.reload)
        except Exception as error:  # of any kind, such as a GPU without room for both: the one before goes on
            self._metrics.reloads.labels(run.name, "failed").inc()
            problem = str(error) if isinstance(error, TowerZooError) else _unforeseen(run, error)
            self._tell(f"{run.name}: {before} goes on. {problem}")
            return problem
        now = run.current.path.name
        self._metrics.reloads.labels(run.name, "loaded").inc()
        self._metrics.swapped(run.name, before, now)
        self._tell(f"{run.name}: {now} answers now.")
        return None


def _files(run: RunFolder) -> frozenset[tuple[str, int, int]]:
    """Returns the names, sizes and times of a run's files."""
    found = ((file.name, file.stat()) for file in run.path.iterdir())
    return frozenset((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


def _unforeseen(run: ServedRun, error: Exception) -> str:
    return (
        f"{run.source} must be a run that can be opened, got {type(error).__name__}: {one_line(error)}. "
        f"See where with tools/serve.py {run.source} --port 0 --debug."
    )
