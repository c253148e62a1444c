from __future__ import annotations

import pytest

from towerzoo.towers.losses.lab import check_sampler
from towerzoo.towers.losses.samplers import InBatchSampler

MIXED = {"name": "mixed", "parts": ["in-batch", {"name": "uniform", "n": 99}]}
SAMPLERS = ["in-batch", {"name": "popularity", "n": 1024}, MIXED]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_only_the_corrected_gradient_agrees_with_the_full_softmax(sampler, temperature):
    corrected, plain = (check_sampler(sampler, logq=logq, temperature=temperature, draws=60) for logq in (True, False))
    assert corrected.agrees
    assert not plain.agrees
    assert plain.bias > 5 * plain.standard_error


def test_the_catalogue_is_the_full_softmax():
    check = check_sampler("catalogue", draws=3)
    assert check.bias < 1e-9
    assert check.variance < 1e-18


def test_items_shown_agree_only_in_a_mix():
    mixed = {"name": "mixed", "parts": ["from-column", {"name": "uniform", "n": 2048}]}
    corrected, plain = (check_sampler(mixed, logq=logq, draws=60) for logq in (True, False))
    assert corrected.agrees
    assert not plain.agrees
    alone, uncorrected = (check_sampler("from-column", logq=logq, draws=3) for logq in (True, False))
    assert alone == uncorrected, "items that are always present need no correction"
    assert alone.variance < 1e-18
    assert not alone.agrees


def test_more_candidates_vary_less():
    few, many = (check_sampler({"name": "uniform", "n": n}).variance for n in (100, 1000))
    assert many < few / 5


def test_a_wrong_probability_shows(monkeypatch):
    right = InBatchSampler.expected
    monkeypatch.setattr(InBatchSampler, "expected", lambda self, rows, n: right(self, rows, n) ** 0.9)
    assert not check_sampler("in-batch").agrees
