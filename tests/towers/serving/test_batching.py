from __future__ import annotations

import asyncio
import threading

import pytest

from towerzoo.towers.serving.batching import MicroBatches, Overloaded


class Held:
    """A worker that answers with the double of a number, and is held up until it is let go."""

    def __init__(self, **limits):
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.batches = MicroBatches(self._answer, watch=self.sizes.append, **limits)

    def _answer(self, numbers):
        assert self.go.wait(10)
        if -2 in numbers:
            raise OSError("all of it")
        return [ValueError("only this") if number == -1 else 2 * number for number in numbers]

    async def answers(self, *numbers):
        """Lets the first one be taken alone, the others wait, and the worker go."""
        first = asyncio.ensure_future(self.batches.ask(0))
        while not self.sizes:
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(self.batches.ask(number)) for number in numbers]
        await asyncio.sleep(0)
        self.go.set()
        return await asyncio.gather(first, *others, return_exceptions=True)


def test_what_waits_is_answered_together_in_order():
    held = Held()
    assert asyncio.run(held.answers(*range(1, 21))) == [2 * number for number in range(21)]
    assert held.sizes == [1, 20]


def test_batches_are_of_bounded_size():
    held = Held(most_at_once=8)
    assert asyncio.run(held.answers(*range(1, 21))) == [2 * number for number in range(21)]
    assert held.sizes == [1, 8, 8, 4]


def test_an_error_goes_to_the_one_who_asked():
    first, second, third = asyncio.run(Held().answers(-1, 3))
    assert (first, str(second), third) == (0, "only this", 6)


def test_a_failure_goes_to_all_of_the_batch_and_the_worker_goes_on():
    async def ask(held):
        failed = await held.answers(-2, 3)
        return failed, await held.batches.ask(4)

    failed, after = asyncio.run(ask(Held()))
    assert [str(answer) for answer in failed] == ["0", "all of it", "all of it"]
    assert after == 8


def test_too_many_are_turned_away():
    async def ask(held):
        answers = await held.answers(*range(1, 6))
        return [answer for answer in answers if not isinstance(answer, Overloaded)], answers[-1]

    answered, last = asyncio.run(ask(Held(most_waiting=3)))
    assert answered == [0, 2, 4, 6]
    assert isinstance(last, Overloaded)


def test_who_hung_up_is_left_out():
    async def ask(held):
        waiting = asyncio.ensure_future(held.answers(1, 2))
        lost = asyncio.ensure_future(held.batches.ask(5))
        await asyncio.sleep(0)
        lost.cancel()
        return await waiting

    assert asyncio.run(ask(Held())) == [0, 2, 4]


def test_closing_answers_what_waits_and_ends_the_thread():
    async def ask(held):
        waiting = [asyncio.ensure_future(held.batches.ask(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        held.go.set()
        held.batches.close()
        return await asyncio.gather(*waiting)

    held = Held()
    assert asyncio.run(ask(held)) == [2, 4]
    assert not held.batches._worker.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(held.batches.ask(1))
