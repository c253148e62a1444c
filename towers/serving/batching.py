"""Micro-batching: requests that wait at the same time are answered by one call of the model."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from towerzoo.registry.errors import RequestError, name_hint
from towerzoo.towers.serving.answers import JsonObject, RunAnswers
from towerzoo.towers.serving.metrics import ServiceMetrics
from towerzoo.towers.serving.runs import ServedRun
from towerzoo.towers.serving.schema import Limits, Recommend

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

MOST_AT_ONCE: Final = 64
"""Questions of one batch."""
MOST_WAITING: Final = 1024
"""Questions that may wait; at the rates of one process more of them would be answered seconds late."""


class Overloaded(Exception):  # noqa: N818  (told to the client, who may ask again)
    """So many questions wait that another one would be answered late."""


class MicroBatches(Generic[Asked, Answer]):
    """Hands questions to one worker thread, which answers all that wait at once.

    A batch is never waited for: a question that comes alone is answered alone, and those that come while the worker is
    busy are its next batch. So batches grow with the load, and an idle service adds no latency.

    Args:
        answer: Answers a batch, one answer a question, in order; runs in the worker thread. An exception in the place
            of an answer is raised to the one who asked; one that is raised goes to all of the batch.
        most_at_once: Questions of one batch, >= 1.
        most_waiting: Questions that may wait, >= 1.
        watch: Is told the size of each batch, in the worker thread.

    Example:
        >>> async def ask() -> list[int]:
        ...     batches = MicroBatches(lambda numbers: [2 * number for number in numbers])
        ...     answers = await asyncio.gather(*map(batches.ask, [1, 2, 3]))
        ...     batches.close()
        ...     return answers
        >>> asyncio.run(ask())
        [2, 4, 6]
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Answer | Exception]],
        *,
        most_at_once: int = MOST_AT_ONCE,
        most_waiting: int = MOST_WAITING,
        watch: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._answer = answer
        self._most_at_once = most_at_once
        self._most_waiting = most_waiting
        self._watch = watch
        self._closed = False
        self._waiting: queue.SimpleQueue[tuple[Asked, asyncio.Future[Answer]] | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._work, name="model", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """Questions that no batch has taken yet."""
        return self._waiting.qsize()

    async def ask(self, question: Asked) -> Answer:
        """Returns the answer to a question.

        Raises:
            Overloaded: Too many questions wait.
            RuntimeError: It is closed.
        """
        if self._closed:
            raise RuntimeError("the service is closed.")
        if self.waiting >= self._most_waiting:
            raise Overloaded
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.put((question, future))
        return await future

    def close(self) -> None:
        """Ends the worker, after what waits is answered."""
        self._closed = True
        self._waiting.put(None)
        self._worker.join()

    def _work(self) -> None:
        while True:
            batch, ended = self._next_batch()
            if batch:
                self._answer_batch(batch)
            if ended:
                return

    def _next_batch(self) -> tuple[list[tuple[Asked, asyncio.Future[Answer]]], bool]:
        batch: list[tuple[Asked, asyncio.Future[Answer]]] = []
        taken = self._waiting.get()
        while taken is not None:
            batch.append(taken)
            if len(batch) == self._most_at_once:
                return batch, False
            try:
                taken = self._waiting.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _answer_batch(self, batch: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        self._watch(len(batch))
        answers: Sequence[Answer | Exception]
        try:
            answers = self._answer([question for question, _ in batch])
        except Exception as error:
            answers = [error] * len(batch)
        # One wake-up of the loop a batch; all futures of a service belong to one loop.
        loop = batch[0][1].get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_deliver, [future for _, future in batch], answers)


def _deliver(futures: Sequence[asyncio.Future[Answer]], answers: Sequence[Answer | Exception]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # its client hung up
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


class Question(NamedTuple):
    """What is asked of which run: somebody to recommend for, or anything else that its answers are asked for."""

    run: ServedRun
    asked: Recommend | Callable[[RunAnswers], JsonObject]


class Desk:
    """Takes questions and gives their answers.

    Args:
        runs: The runs; the first one answers where none is named.
        limits: How many questions are answered at once, and may wait.
        metrics: Is told of batches.
    """

    def __init__(self, runs: Sequence[ServedRun], limits: Limits, metrics: ServiceMetrics) -> None:
        self.runs = {run.name: run for run in runs}
        self._batches: MicroBatches[Question, JsonObject] = MicroBatches(
            _answer, most_at_once=limits.batch, most_waiting=limits.waiting, watch=metrics.batches.observe
        )
        metrics.watch_waiting(lambda: self._batches.waiting)

    async def ask(self, name: str | None, asked: Recommend | Callable[[RunAnswers], JsonObject]) -> JsonObject:
        """Returns the answer of the run of a name.

        Raises:
            RequestError: There is no such run, or it cannot answer that.
            Overloaded: Too many questions wait.
        """
        return await self._batches.ask(Question(self.run(name), asked))

    def run(self, name: str | None) -> ServedRun:
        """Returns the run of a name, or the first one.

        Raises:
            RequestError: There is no such run.
        """
        if name is None:
            return next(iter(self.runs.values()))
        if name not in self.runs:
            raise RequestError(f"run must be one that is served, got {name!r}. {name_hint(name, self.runs, 'Runs')}")
        return self.runs[name]

    def close(self) -> None:
        """Answers what waits, and ends."""
        self._batches.close()


def _answer(questions: Sequence[Question]) -> list[JsonObject | Exception]:
    answers: list[JsonObject | Exception] = [RuntimeError("not answered")] * len(questions)
    together: dict[ServedRun, list[int]] = {}
    for place, question in enumerate(questions):
        if isinstance(question.asked, Recommend):
            together.setdefault(question.run, []).append(place)
            continue
        try:
            answers[place] = question.asked(question.run.current)
        except Exception as error:
            answers[place] = error
    for run, places in together.items():
        asks = [asked for place in places if isinstance(asked := questions[place].asked, Recommend)]
        for place, answer in zip(places, _recommend(run.current, asks), strict=True):
            answers[place] = answer
    return answers


def _recommend(answers: RunAnswers, asks: Sequence[Recommend]) -> Sequence[JsonObject | Exception]:
    try:
        return answers.recommend(asks)
    except Exception as error:
        return [error] * len(asks)
