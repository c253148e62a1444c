"""Where questions are handed in: one thread answers them, from the run that serves at that moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from towerzoo.registry.errors import RequestError, name_hint
from towerzoo.towers.serving.answers import JsonObject, RunAnswers
from towerzoo.towers.serving.batching import MicroBatches
from towerzoo.towers.serving.limits import Limits
from towerzoo.towers.serving.metrics import ServiceMetrics
from towerzoo.towers.serving.questions import Recommend
from towerzoo.towers.serving.runs import ServedRun


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
