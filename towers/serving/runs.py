"""Opens the served runs, and replaces them by newer ones while requests are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from towerzoo.registry.errors import TowerZooError, one_line
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.recommend.saved_index import require_index
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.serving.answers import RunAnswers
from towerzoo.towers.serving.metrics import ServiceMetrics


class ServedRun:
    """A name in the service, and the run that currently answers under it.

    Args:
        name: Value of `run` in requests.
        source: A run folder, or `runs/NAME` for its newest run.
        with_index: Whether to search the index that was saved into the run.
        device: `cpu`, `cuda` or `auto`.

    Attributes:
        current: The opened run. It still answers after it was replaced.

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
        """Returns the newest run of the source.

        Raises:
            RunError: There is none, or it lacks the required index.
        """
        run = RunFolder(RunFolder.open(self.source).path.resolve())
        if self.with_index:
            require_index(run)
        return run

    def reload(self) -> None:
        """Replaces the current run by the newest one.

        Raises:
            RunError: The newest run cannot be opened; the current one continues to answer.
        """
        self.current = self._open()

    def _open(self) -> RunAnswers:
        run = self.newest()
        answers = RunAnswers(run.path, Recommender.open(run.path, device=self.device, index=self.with_index))
        answers.warm_up()
        return answers


def open_runs(sources: Sequence[Path], *, with_index: bool = False, device: str = "cpu") -> list[ServedRun]:
    """Opens runs under the names of their configs; runs of the same config are numbered.

    Raises:
        RunError: A run cannot be opened.
    """
    configs = [RunFolder.open(source).name for source in sources]
    names = [
        config if configs.count(config) == 1 else f"{config}-{configs[: position + 1].count(config)}"
        for position, config in enumerate(configs)
    ]
    return [
        ServedRun(name, source, with_index=with_index, device=device)
        for name, source in zip(names, sources, strict=True)
    ]


class Reloader:
    """Reloads runs, one at a time, in a thread of its own.

    Args:
        runs: The runs.
        metrics: Counts reloads.
        report: Called with a line about each reload.
    """

    def __init__(self, runs: Sequence[ServedRun], metrics: ServiceMetrics, report: Callable[[str], object]) -> None:
        self._runs = runs
        self._metrics = metrics
        self._report = report
        self._lock = asyncio.Lock()
        for run in runs:
            metrics.runs.labels(run.name, run.current.path.name).set(1)

    async def reload(self) -> list[str]:
        """Reloads all runs; a run whose newest folder cannot be opened continues unchanged.

        Returns:
            A message for each run that could not be opened.
        """
        async with self._lock:
            problems = [await self._reload(run) for run in self._runs]
        return [problem for problem in problems if problem is not None]

    async def watch(self, seconds: float) -> None:
        """Checks for newer runs forever.

        A run that cannot be opened is reported once and tried again when its files change: it may still be copied.
        """
        tried: dict[str, object] = {}
        while True:
            await asyncio.sleep(seconds)
            for run in self._runs:
                try:
                    newest = await asyncio.to_thread(run.newest)
                    state = newest.path, await asyncio.to_thread(_file_states, newest)
                except (TowerZooError, OSError):
                    continue
                if newest.path != run.current.path and state != tried.get(run.name):
                    tried[run.name] = state
                    async with self._lock:
                        await self._reload(run)

    async def _reload(self, run: ServedRun) -> str | None:
        before = run.current.path.name
        try:
            await asyncio.to_thread(run.reload)
        except Exception as error:  # any error, such as a GPU without memory for both runs
            self._metrics.reloads.labels(run.name, "failed").inc()
            problem = str(error)
            if not isinstance(error, TowerZooError):
                problem = f"{run.source} cannot be opened: {type(error).__name__}: {one_line(error)}. "
                problem += f"Run tools/serve.py {run.source} --port 0 --debug for the traceback."
            self._report(f"{run.name}: {before} continues to answer. {problem}")
            return problem
        now = run.current.path.name
        self._metrics.reloads.labels(run.name, "loaded").inc()
        self._metrics.runs.remove(run.name, before)
        self._metrics.runs.labels(run.name, now).set(1)
        self._report(f"{run.name}: {now} answers now.")
        return None


def _file_states(run: RunFolder) -> frozenset[tuple[str, int, int]]:
    """Returns the names, sizes and times of a run's files."""
    stats = ((file.name, file.stat()) for file in run.path.iterdir())
    return frozenset((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
