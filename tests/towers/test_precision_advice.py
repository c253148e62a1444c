from __future__ import annotations

import pytest
import torch

from towerzoo.towers import precision_advice as module
from towerzoo.towers.precision_advice import precision_advice, product_seconds


@pytest.mark.parametrize(
    ("precision", "device", "seconds", "told"),
    [
        ("bf16-mixed", "cpu", 2.0, True),
        ("bf16-true", "cpu", 2.0, True),
        ("bf16-mixed", "cpu", 0.5, False),
        ("bf16-mixed", "cpu", 1.05, False),
        ("32-true", "cpu", 2.0, False),
        ("bf16-mixed", "cuda", 2.0, False),
    ],
)
def test_it_is_told_where_bfloat16_is_the_slower_one(make_experiment, monkeypatch, precision, device, seconds, told):
    monkeypatch.setattr(module, "product_seconds", lambda dtype: seconds if dtype is torch.bfloat16 else 1.0)
    advice = precision_advice(make_experiment(trainer={"precision": precision}), torch.device(device))
    expected = "bfloat16 matrix products take 2.0 times as long as float32 ones on this processor. Add"
    assert (advice or "").startswith(expected) is told


def test_nothing_is_said_where_no_precision_is_given(make_experiment):
    assert precision_advice(make_experiment(), torch.device("cpu")) is None


def test_products_take_time():
    assert product_seconds(torch.float32) > 0
