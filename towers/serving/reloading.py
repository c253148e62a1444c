"""Replaces runs by newer ones while requests go on: at a request, at a signal, or because a newer one is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from towerzoo.registry.errors import TowerZooError
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.serving.metrics import ServiceMetrics
from towerzoo.towers.serving.runs import ServedRun


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
    reason = " ".join(str(error).split()).removesuffix(".")
    return (
        f"{run.source} must be a run that can be opened, got {type(error).__name__}: {reason}. "
        f"See where with tools/serve.py {run.source} --port 0 --debug."
    )
