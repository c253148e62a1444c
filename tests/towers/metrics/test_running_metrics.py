from __future__ import annotations

import pytest
import torch

from towerzoo.towers.metrics.pairs import RunningMetrics, SplitMetrics


def test_figures_are_those_of_metrics_that_keep_everything():
    kept, running = SplitMetrics(), RunningMetrics()
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for size in (7, 100, 1):
            logits, labels = torch.randn(size, generator=generator), torch.rand(size, generator=generator).round()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
            for metrics in (kept, running):
                metrics.update(loss, logits, labels)
        expected, found = kept.compute(), running.compute()
        assert found.keys() == {"loss", "accuracy"}
        for name, value in found.items():
            assert value.item() == pytest.approx(expected[name].item(), rel=1e-6)
        kept.reset()
        running.reset()


def test_a_loss_that_is_no_number_shows():
    metrics = RunningMetrics()
    for loss in (float("nan"), 1.0):
        metrics.update(torch.tensor(loss), torch.zeros(2), torch.ones(2))
    assert metrics.compute()["loss"].isnan()
