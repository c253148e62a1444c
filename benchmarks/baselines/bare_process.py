"""The bare loop in its own process, with torch's settings for memory and threads instead of TowerZoo's."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from towerzoo.benchmarks.baselines.bare_loop import BareLoop
from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.processes import RateProcess, answer_rates
from towerzoo.towers.model.build import load_data, read_experiment

CONFIG = "tanh_bn_dropout_first"
"""The config whose data and batch size the loop uses."""


def bare_process(device: str, overrides: Sequence[str]) -> RateProcess:
    """Starts the loop on `cpu` or `cuda`, with overrides of the config's data."""
    return RateProcess("towerzoo.benchmarks.baselines.bare_process", [device, *overrides])


if __name__ == "__main__":
    peak = PeakMemory(sys.argv[1])
    experiment, _ = read_experiment(CONFIG, sys.argv[2:])
    data = load_data(experiment)
    size = experiment.data.batch_size
    loop = BareLoop(data.schema, data.labels, data.split.train, batch_size=size, device=sys.argv[1])
    answer_rates(loop.rate, peak.growth)
