"""Micro-batching: one call of the model answers all requests that wait at the same time."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from towerzoo.registry.errors import RequestError, name_hint
from towerzoo.towers.serving.answers import RunAnswers
from towerzoo.towers.serving.metrics import ServiceMetrics
from towerzoo.towers.serving.runs import ServedRun
from towerzoo.towers.serving.schema import Limits, RecommendRequest

Request = TypeVar("Request")
Response = TypeVar("Response")


class Overloaded(Exception):  # noqa: N818  (the client may try again)
    """Too many requests wait to answer another one in time."""


class MicroBatches(Generic[Request, Response]):
    """Passes requests to one worker thread, which answers all waiting requests as a batch.

    The worker never waits for a batch to fill: a lone request is answered alone, and requests that arrive while the
    worker is busy form its next batch. Batches therefore grow with the load, and an idle service adds no latency.

    Args:
        answer: Called in the worker thread with a batch; returns one response per request, in order. An exception in
            place of a response is raised to the caller of that request; a raised exception goes to the whole batch.
        most_at_once: Largest batch, >= 1.
        most_waiting: Requests that may wait, >= 1.
        on_batch: Called in the worker thread with the size of each batch.

    Example:
        >>> async def double() -> list[int]:
        ...     batches = MicroBatches(lambda numbers: [2 * number for number in numbers])
        ...     responses = await asyncio.gather(*map(batches.submit, [1, 2, 3]))
        ...     batches.close()
        ...     return responses
        >>> asyncio.run(double())
        [2, 4, 6]
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Request]], Sequence[Response | Exception]],
        *,
        most_at_once: int = 64,
        most_waiting: int = 1024,
        on_batch: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._answer = answer
        self._most_at_once = most_at_once
        self._most_waiting = most_waiting
        self._on_batch = on_batch
        self._closed = False
        self._queue: queue.SimpleQueue[tuple[Request, asyncio.Future[Response]] | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._work, name="model", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._queue.qsize()

    async def submit(self, request: Request) -> Response:
        """Returns the response to a request.

        Raises:
            Overloaded: Too many requests wait.
            RuntimeError: The queue is closed.
        """
        if self._closed:
            raise RuntimeError("The service is closed.")
        if self.waiting >= self._most_waiting:
            raise Overloaded
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._queue.put((request, future))
        return await future

    def close(self) -> None:
        """Answers the requests in the queue and ends the worker."""
        self._closed = True
        self._queue.put(None)
        self._worker.join()

    def _work(self) -> None:
        closed = False
        while not closed:
            batch = []
            entry = self._queue.get()
            while entry is not None:
                batch.append(entry)
                if len(batch) == self._most_at_once or self._queue.empty():  # no other thread takes from the queue
                    break
                entry = self._queue.get()
            closed = entry is None
            if batch:
                self._answer_batch(batch)

    def _answer_batch(self, batch: list[tuple[Request, asyncio.Future[Response]]]) -> None:
        self._on_batch(len(batch))
        responses: Sequence[Response | Exception]
        try:
            responses = self._answer([request for request, _ in batch])
        except Exception as error:
            responses = [error] * len(batch)
        # One wake-up of the event loop per batch; all futures of a service belong to one loop.
        loop = batch[0][1].get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, [future for _, future in batch], responses)


def _resolve(futures: Sequence[asyncio.Future[Response]], responses: Sequence[Response | Exception]) -> None:
    for future, response in zip(futures, responses, strict=True):
        if future.done():  # the client disconnected
            continue
        if isinstance(response, Exception):
            future.set_exception(response)
        else:
            future.set_result(response)


RunRequest = RecommendRequest | Callable[[RunAnswers], Any]
"""A request to one run: recommendations, which are batched, or any other call."""


class RequestQueue:
    """Queues requests, each for the run that it names.

    Args:
        runs: The runs; the first one answers requests that name none.
        limits: Size of batches and of the queue.
        metrics: Counts batches and waiting requests.
    """

    def __init__(self, runs: Sequence[ServedRun], limits: Limits, metrics: ServiceMetrics) -> None:
        self.runs = {run.name: run for run in runs}
        self._batches: MicroBatches[tuple[ServedRun, RunRequest], Any] = MicroBatches(
            _answer, most_at_once=limits.batch, most_waiting=limits.waiting, on_batch=metrics.batches.observe
        )
        metrics.waiting.set_function(lambda: self._batches.waiting)

    async def submit(self, name: str | None, request: RunRequest) -> Any:
        """Returns the response of a run.

        Args:
            name: Name of the run; None for the first one.
            request: The request.

        Raises:
            RequestError: There is no such run, or it cannot answer the request.
            Overloaded: Too many requests wait.
        """
        name = next(iter(self.runs)) if name is None else name
        if name not in self.runs:
            raise RequestError(f"run must be a served run, got {name!r}. {name_hint(name, self.runs, 'Runs')}")
        return await self._batches.submit((self.runs[name], request))

    def close(self) -> None:
        """Answers the waiting requests and ends the worker."""
        self._batches.close()


def _answer(batch: Sequence[tuple[ServedRun, RunRequest]]) -> list[Any]:
    responses: dict[int, Any] = {}
    recommends: dict[ServedRun, dict[int, RecommendRequest]] = {}
    for position, (run, request) in enumerate(batch):
        if isinstance(request, RecommendRequest):
            recommends.setdefault(run, {})[position] = request
            continue
        try:
            responses[position] = request(run.current)
        except Exception as error:
            responses[position] = error
    for run, requests in recommends.items():
        try:
            responses.update(zip(requests, run.current.recommend([*requests.values()]), strict=True))
        except Exception as error:
            responses.update(dict.fromkeys(requests, error))
    return [responses[position] for position in range(len(batch))]
