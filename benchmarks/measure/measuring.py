"""The `measure` fixture's object: times one thing and leaves its record with pytest-benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.record import PairedRatio, Record
from towerzoo.benchmarks.measure.roofline import DTYPES, Roofline, stopwatch, training_flops


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: Rounds that count, after a warm-up.
        pairs: Rounds of an alternation that count. A ratio varies more than a rate, since both halves do.
        seconds: About how long a round repeats a step.
        samples: About how many samples a round trains.
    """

    rounds: int
    pairs: int
    seconds: float
    samples: int


THOROUGH = Effort(rounds=5, pairs=11, seconds=0.3, samples=64 * 1024)
QUICK = Effort(rounds=2, pairs=2, seconds=0.05, samples=20 * 1024)


@dataclass
class Measure:
    """Measures for one test. A test measures once, so that each test leaves one record.

    Attributes:
        benchmark: pytest-benchmark's fixture.
        suite: The test's suite.
        name: What it measures.
        params: Its parameters.
        device: `cpu` or `cuda`.
        effort: How much is measured.
        roofline: Returns the device's best rates with the current number of threads.
        records: The session's records.

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
        """Measures the rate of calls of `run`, which is repeated until a round is filled.

        Args:
            run: One step.
            samples: Samples a step, the numerator of the unit.
            unit: A rate.
            flops: Floating point operations of matrix products a sample, for the record's share of the roofline; the
                roofline is that of the parameter `precision`, or of float32 if there is none.
            params: Parameters in addition to the test's.
        """
        # Created before the warm-up, which allocates most of the memory.
        peak = PeakMemory(self.device)
        rate = stopwatch(run, samples=samples, device=self.device, seconds=self.effort.seconds)
        return self.rate(rate, unit=unit, flops=flops, memory=peak.growth, **params)

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
        """Measures a function that times itself.

        Args:
            run: Runs once and returns its rate, or its time if the unit is `s`.
            unit: `s`, or a rate.
            flops: As in `calls`.
            memory: Whether to record this process's peak of memory, or a function that returns another process's.
            breakdown: Returns the seconds a step by group of operations; called once all is measured.
            params: Parameters in addition to the test's.
        """
        peak = PeakMemory(self.device).growth if memory is True else memory or None
        run()
        values: list[float] = []
        self.benchmark.pedantic(lambda: values.append(run()), rounds=self.effort.rounds)
        more = {"peak_memory": peak() if peak else None, "breakdown": breakdown() if breakdown else None}
        return self._keep(values, unit, flops, params, **more)

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
            ours: Runs the measured thing once and returns its rate.
            baseline: Runs the baseline once and returns its rate.
            unit: Unit of both rates; larger is better.
            target: What the median of the ratios should reach.
            flops: As in `calls`, of the measured thing.
            memory: Returns the peak of the measured thing if it runs in another process; by default, the peak is that
                of its warm-up in this process.
            params: Parameters in addition to the test's.
        """
        # In the warm-up alone: returning free memory to the system makes the next round map it again.
        peak = PeakMemory(self.device)
        ours()
        growth = peak.growth()
        baseline()
        pairs: list[tuple[float, float]] = []
        self.benchmark.pedantic(lambda: pairs.append((ours(), baseline())), rounds=self.effort.pairs)
        values, others = ([pair[side] for pair in pairs] for side in (0, 1))
        ratios = PairedRatio.of(values, others, target=target)
        return self._keep(values, unit, flops, params, pair=ratios, peak_memory=memory() if memory else growth)

    def _keep(self, values: list[float], unit: str, flops: float | None, params: dict[str, Any], **more: Any) -> Record:
        params = {**self.params, **params}
        share = None
        if flops:
            share = statistics.median(values) * flops / getattr(self.roofline(), params.get("precision", "float32"))
        fields = {"suite": self.suite, "name": self.name, "params": params, "unit": unit, **more}
        record = Record.of(values, flops=flops or None, roofline_share=share, **fields)
        self.benchmark.extra_info.update(record.model_dump())
        self.records.append(record)
        return record


def measure_module(
    measure: Measure, module: nn.Module, *inputs: Tensor, batch_size: int, precision: str = "float32"
) -> None:
    """Measures a part's forward and backward pass; bf16 runs it under autocast, as training does."""
    module.to(measure.device).train()
    # Leaf tensors on the device, so that no gradient is copied back.
    moved = [tensor.to(measure.device).detach().requires_grad_(tensor.requires_grad) for tensor in inputs]

    def step() -> None:
        module.zero_grad()
        for tensor in moved:
            tensor.grad = None
        with torch.autocast(measure.device, dtype=DTYPES["bf16"], enabled=precision == "bf16"):
            vectors = module(*moved)
        vectors.float().sum().backward()

    measure.calls(step, samples=batch_size, flops=training_flops(module))
