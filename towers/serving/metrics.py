"""What the service counts of itself, in Prometheus' text format."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from towerzoo.towers.serving.errors import App, Message, Receive, Send

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServiceMetrics:
    """The service's own counters, apart from those of others in the process.

    Attributes:
        batches: Questions of each batch of the model.
        reloads: Loads of a run while serving, by name and outcome.
        runs: 1 for each run folder that answers, 0 for those before, by name.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter("towerzoo_requests", "Requests answered.", ["path", "status"], registry=self._registry)
        self._series: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._seconds = Histogram(
            "towerzoo_request_seconds",
            "From a request's head to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.batches = Histogram(
            "towerzoo_batch_size",
            "Questions answered by one call of the model.",
            buckets=SIZES,
            registry=self._registry,
        )
        self.reloads = Counter(
            "towerzoo_reloads", "Loads of a run while serving.", ["name", "outcome"], registry=self._registry
        )
        self.runs = Gauge(
            "towerzoo_run", "1 for the run folder that answers.", ["name", "run"], registry=self._registry
        )
        self._waiting = Gauge("towerzoo_waiting", "Questions that wait for the model.", registry=self._registry)

    def watch_waiting(self, count: Callable[[], int]) -> None:
        """Says how to count the questions that wait."""
        self._waiting.set_function(count)

    def swapped(self, name: str, before: str | None, now: str) -> None:
        """Notes which run folder answers under a name."""
        if before is not None:
            self.runs.remove(name, before)
        self.runs.labels(name, now).set(1)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Counts a request by the route that took it, since paths themselves are without end."""
        key = path, status
        if key not in self._series:  # both are of small number, and finding a series takes longer than counting in it
            self._series[key] = self._requests.labels(path, str(status)), self._seconds.labels(path)
        count, took = self._series[key]
        count.inc()
        took.observe(seconds)

    def text(self) -> bytes:
        """Returns all of it as Prometheus reads it."""
        return generate_latest(self._registry)


class Measured:
    """Counts and times the requests of an application.

    Args:
        app: The application.
        metrics: What counts.
    """

    def __init__(self, app: App, *, metrics: ServiceMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Passes a request on, and counts it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 499  # the client hung up before it was answered

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = scope.get("route")
            path = getattr(route, "path_format", "other")
            self._metrics.answered(path, status, time.perf_counter() - started)
