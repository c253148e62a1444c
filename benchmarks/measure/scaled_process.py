"""Training on generated data of any size in a process of its own, so that its memory is all that it takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.rate_process import RateProcess, answer_rates
from towerzoo.benchmarks.measure.training_epoch import epoch_rate
from towerzoo.towers.device import settle_process
from towerzoo.towers.model.build import load_data, read_experiment

CONFIG = "tanh_bn_dropout_first"


def scaled_process(
    *, users: int, items: int, interactions: int, device: str, overrides: Sequence[str] = ()
) -> RateProcess:
    """Starts it; what it reports is the rate of a new model's first steps, and the memory of data and training."""
    world = f"name: synthetic, users: {users}, items: {items}, interactions: {interactions}"
    data = f"data={{{world}, label: {{positive_from: 4}}, split: random, batch_size: 1024}}"
    return RateProcess("towerzoo.benchmarks.measure.scaled_process", [device, data, *overrides])


if __name__ == "__main__":
    device = sys.argv[1]
    settle_process(torch.device(device))
    peak = PeakMemory(device)
    experiment, _ = read_experiment(CONFIG, sys.argv[2:])
    data = load_data(experiment)
    answer_rates(
        # An epoch begins with the order of all its events, which is no part of a step.
        lambda steps: epoch_rate(experiment, data, steps=steps + 1, skip=1, device=device),
        peak.growth,
    )
