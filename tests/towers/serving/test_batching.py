from __future__ import annotations

import asyncio
import threading

import pytest

from towerzoo.towers.serving.batching import MicroBatches, Overloaded


class Blocked:
    """Batches whose worker doubles numbers, and waits for `go`."""

    def __init__(self, **limits):
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.batches = MicroBatches(self._answer, on_batch=self.sizes.append, **limits)

    def _answer(self, numbers):
        assert self.go.wait(10)
        if -2 in numbers:
            raise OSError("the whole batch")
        return [ValueError("only this") if number == -1 else 2 * number for number in numbers]

    async def submit_all(self, *numbers):
        """Lets the worker take 0 alone while the other numbers wait, then lets it go."""
        first = asyncio.ensure_future(self.batches.submit(0))
        while not self.sizes:
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(self.batches.submit(number)) for number in numbers]
        await asyncio.sleep(0)
        self.go.set()
        return await asyncio.gather(first, *others, return_exceptions=True)


@pytest.mark.parametrize(("limits", "sizes"), [({}, [1, 20]), ({"most_at_once": 8}, [1, 8, 8, 4])])
def test_waiting_requests_are_answered_in_order_in_batches_of_limited_size(limits, sizes):
    blocked = Blocked(**limits)
    assert asyncio.run(blocked.submit_all(*range(1, 21))) == [2 * number for number in range(21)]
    assert blocked.sizes == sizes


def test_an_error_reaches_only_its_request():
    first, second, third = asyncio.run(Blocked().submit_all(-1, 3))
    assert (first, str(second), third) == (0, "only this", 6)


def test_a_failure_reaches_the_whole_batch_and_the_worker_continues():
    async def submit(blocked):
        failed = await blocked.submit_all(-2, 3)
        return failed, await blocked.batches.submit(4)

    failed, after = asyncio.run(submit(Blocked()))
    assert [str(response) for response in failed] == ["0", "the whole batch", "the whole batch"]
    assert after == 8


def test_requests_beyond_the_limit_are_rejected():
    responses = asyncio.run(Blocked(most_waiting=3).submit_all(*range(1, 6)))
    assert responses[:4] == [0, 2, 4, 6]
    assert all(isinstance(response, Overloaded) for response in responses[4:])


def test_a_cancelled_request_is_skipped():
    async def submit(blocked):
        others = asyncio.ensure_future(blocked.submit_all(1, 2))
        cancelled = asyncio.ensure_future(blocked.batches.submit(5))
        await asyncio.sleep(0)
        cancelled.cancel()
        return await others

    assert asyncio.run(submit(Blocked())) == [0, 2, 4]


def test_closing_answers_waiting_requests_and_ends_the_thread():
    async def submit(blocked):
        waiting = [asyncio.ensure_future(blocked.batches.submit(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        blocked.go.set()
        blocked.batches.close()
        return await asyncio.gather(*waiting)

    blocked = Blocked()
    assert asyncio.run(submit(blocked)) == [2, 4]
    assert not blocked.batches._worker.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(blocked.batches.submit(1))
