"""The `measure` fixture's object: times one thing and leaves its record with pytest-benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.record import Record, alternate, paired_ratio
from towerzoo.benchmarks.measure.roofline import DTYPES, Roofline, stopwatch, training_flops


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: Rounds that count; a warm-up goes before them.
        pairs: Rounds that count of two things in alternation. A ratio swings more than a rate, as both halves do.
        seconds: For about how long a round repeats a step.
        samples: About how many samples a round trains, where it trains.
    """

    rounds: int
    pairs: int
    seconds: float
    samples: int


THOROUGH = Effort(rounds=5, pairs=11, seconds=0.3, samples=64 * 1024)
QUICK = Effort(rounds=2, pairs=2, seconds=0.05, samples=20 * 1024)


@dataclass
class Measure:
    """Measures for one test. A test measures once, so that a test is a record.

    Attributes:
        benchmark: pytest-benchmark's fixture.
        suite: The test's suite.
        name: What it measures.
        params: Its parameters.
        device: `cpu` or `cuda`.
        effort: How much is measured.
        roofline: Returns what the device does at best with the current threads.
        records: Where records go, for the report at the end of the session.

    Example:
        A test of a suite::

            @pytest.mark.parametrize("batch_size", [1024, 8192])
            def test_tower(measure: Measure, device: str, batch_size: int) -> None:
                tower, rows = ...
                measure.calls(lambda: tower(rows).sum().backward(), samples=batch_size, flops=training_flops(tower))
    """

    benchmark: Any
    suite: str
    name: str
    params: dict[str, Any]
    device: str
    effort: Effort
    roofline: Callable[[], Roofline]
    records: list[Record] = field(default_factory=list)

    def calls(
        self,
        run: Callable[[], object],
        *,
        samples: float,
        unit: str = "samples/s",
        flops: float | None = None,
        **params: Any,
    ) -> Record:
        """Measures how often `run` can be called; it is called as often as fills a round.

        Args:
            run: One step.
            samples: What a step works off, in the numerator of the unit.
            unit: A rate.
            flops: Floating point operations of matrix products a sample; the record then says their share of the
                roofline of the parameter `precision`, float32 where there is none.
            params: Parameters beside those of the test.
        """
        # Before the warm-up, where most of the memory is taken.
        peak = PeakMemory(self.device)
        rate = stopwatch(run, samples=samples, device=self.device, seconds=self.effort.seconds)
        return self._rounds(rate, peak.growth, unit=unit, flops=flops, **params)

    def rate(
        self,
        run: Callable[[], float],
        *,
        unit: str = "samples/s",
        flops: float | None = None,
        memory: bool | Callable[[], int | None] = True,
        breakdown: Callable[[], dict[str, float]] | None = None,
        **params: Any,
    ) -> Record:
        """Measures with a function that times itself.

        Args:
            run: Runs once and returns its rate, or its time where the unit is `s`.
            unit: `s`, or a rate.
            flops: As in `calls`.
            memory: Whether the memory of this process is that of what is measured, or what tells another one's peak.
            breakdown: Tells the seconds a step by group of operations, once all is measured.
            params: Parameters beside those of the test.
        """
        peak = PeakMemory(self.device).growth if memory is True else memory or None
        run()
        return self._rounds(run, peak, unit=unit, flops=flops, breakdown=breakdown, **params)

    def pair(
        self,
        ours: Callable[[], float],
        baseline: Callable[[], float],
        *,
        unit: str = "samples/s",
        target: float,
        flops: float | None = None,
        memory: Callable[[], int | None] | None = None,
        **params: Any,
    ) -> Record:
        """Measures two things in alternation.

        Args:
            ours: Runs the thing itself once and returns its rate.
            baseline: Runs what it is compared with once and returns its rate.
            unit: Unit of both rates; larger is better.
            target: What the median of the ratios should reach.
            flops: As in `calls`, of the thing itself.
            memory: Tells the peak of the thing itself, where it has a process of its own; else it is that of the
                warm-up in this one.
            params: Parameters beside those of the test.
        """
        values: list[float] = []
        peaks: list[int | None] = []

        def noted() -> float:
            # Once: what is given back to the system for it would have to be mapped anew in every round.
            peak = None if memory or values else PeakMemory(self.device)
            values.append(ours())
            if peak:
                peaks.append(peak.growth())
            return values[-1]

        pair = self.benchmark.pedantic(
            alternate,
            args=(self.name, noted, baseline),
            kwargs={"unit": unit, "target": target, "rounds": self.effort.pairs},
        )
        # The first value is the warm-up's.
        peak_memory = memory() if memory else peaks[0]
        return self._keep(values[1:], unit, flops, params, pair=paired_ratio(pair), peak_memory=peak_memory)

    def _rounds(
        self,
        run: Callable[[], float],
        peak: Callable[[], int | None] | None,
        *,
        unit: str,
        flops: float | None,
        breakdown: Callable[[], dict[str, float]] | None = None,
        **params: Any,
    ) -> Record:
        values: list[float] = []
        self.benchmark.pedantic(lambda: values.append(run()), rounds=self.effort.rounds)
        more = {"peak_memory": peak() if peak else None, "breakdown": breakdown() if breakdown else None}
        return self._keep(values, unit, flops, params, **more)

    def _keep(self, values: list[float], unit: str, flops: float | None, params: dict[str, Any], **more: Any) -> Record:
        params = {**self.params, **params}
        value = statistics.median(values)
        share = None
        if flops:
            share = value * flops / self.roofline().rate(params.get("precision", "float32"))
        record = Record(
            suite=self.suite,
            name=self.name,
            params=params,
            unit=unit,
            value=value,
            lowest=min(values),
            highest=max(values),
            rounds=len(values),
            flops=flops or None,
            roofline_share=share,
            **more,
        )
        self.benchmark.extra_info.update(record.model_dump())
        self.records.append(record)
        return record


def measure_module(
    measure: Measure, module: nn.Module, *inputs: Tensor, batch_size: int, precision: str = "float32"
) -> None:
    """Measures a part's forward and backward pass, as a mixed precision has it."""
    module.to(measure.device).train()
    # Leaves there, so that no gradient is copied back; and none is added to that of the step before.
    moved = [one.to(measure.device).detach().requires_grad_(one.requires_grad) for one in inputs]

    def step() -> None:
        module.zero_grad()
        for one in moved:
            one.grad = None
        with torch.autocast(measure.device, dtype=DTYPES["bf16"], enabled=precision == "bf16"):
            vectors = module(*moved)
        vectors.float().sum().backward()

    measure.calls(step, samples=batch_size, flops=training_flops(module))
