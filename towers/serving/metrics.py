"""Counters of the service in the text format of Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServiceMetrics:
    """The service's counters.

    Attributes:
        registry: The registry of these counters alone.
        requests: Responses by route and status.
        seconds: Duration of requests by route. Paths would be unbounded, routes are not.
        batches: Sizes of batches.
        waiting: Requests that wait for the model.
        reloads: Reloads by run name and outcome.
        runs: 1 for the run folder that answers under a name.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("towerzoo_requests", "Requests answered.", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "towerzoo_request_seconds",
            "Time from the head of a request to the end of its response.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batches = Histogram(
            "towerzoo_batch_size", "Requests answered by one call of the model.", buckets=SIZES, registry=registry
        )
        self.waiting = Gauge("towerzoo_waiting", "Requests waiting for the model.", registry=registry)
        self.reloads = Counter("towerzoo_reloads", "Reloads of a run.", ["name", "outcome"], registry=registry)
        self.runs = Gauge("towerzoo_run", "1 for the run folder that answers.", ["name", "run"], registry=registry)


class MetricsMiddleware:
    """Counts and times the requests of an application."""

    def __init__(self, app: ASGIApp, *, metrics: ServiceMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, and counts it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 499  # unless a response follows: the client disconnected before it

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            path = getattr(scope.get("route"), "path_format", "other")
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)
