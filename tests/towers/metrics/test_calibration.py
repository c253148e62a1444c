from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from towerzoo.towers.metrics import calibration as calibration_module
from towerzoo.towers.metrics.calibration import calibration_error


def events(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, generator=generator)
    return logits, (torch.rand(n, generator=generator) < torch.sigmoid(logits / 2 - 1)).float()


@pytest.mark.parametrize("bins", [1, 10, 15, 100])
def test_it_equals_that_of_torchmetrics(bins):
    logits, labels = events(20_000, 0)
    expected = binary_calibration_error(torch.sigmoid(logits.double()), labels.int(), n_bins=bins, norm="l1").item()
    assert expected > 0.05
    assert calibration_error(logits, labels, bins) == pytest.approx(expected, abs=1e-6)


def test_it_does_not_depend_on_the_blocks(monkeypatch):
    logits, labels = events(1_000, 1)
    whole = calibration_error(logits, labels)
    monkeypatch.setattr(calibration_module, "EVENTS_AT_ONCE", 7)
    assert calibration_error(logits, labels) == pytest.approx(whole, abs=1e-12)


def test_the_share_of_positives_predicted_for_all_has_no_error_in_any_order():
    labels = torch.tensor([1.0] * 30 + [0.0] * 70)
    assert calibration_error(torch.logit(torch.full((100,), 0.3)), labels) == pytest.approx(0, abs=1e-7)


def test_certainty_falls_into_the_last_bin_and_can_be_wrong():
    certain = torch.tensor([800.0, 800.0, -800.0, -800.0])
    assert calibration_error(certain, torch.tensor([1.0, 1.0, 0.0, 0.0])) == 0
    assert calibration_error(certain, torch.tensor([0.0, 0.0, 1.0, 1.0])) == 1


def test_too_sure_and_too_unsure_do_not_make_up_for_each_other():
    logits = torch.logit(torch.tensor([0.9, 0.9, 0.1, 0.1]))
    labels = torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert calibration_error(logits, labels) == pytest.approx(0.4)
    assert calibration_error(logits, labels, bins=1) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("logits", [[], [1.0, math.nan]], ids=str)
def test_what_is_not_defined_is_nan(logits):
    assert math.isnan(calibration_error(torch.tensor(logits), torch.ones(len(logits))))
