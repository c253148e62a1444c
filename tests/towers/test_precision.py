from __future__ import annotations

import pytest
import torch

from towerzoo.towers import device as module
from towerzoo.towers.device import bfloat16_ratio, precision_advice, settled_precision
from towerzoo.towers.training.trainer import make_trainer


@pytest.fixture
def take(monkeypatch):
    """Lets bfloat16 take so many times as long as float32."""
    return lambda ratio: monkeypatch.setattr(module, "bfloat16_ratio", lambda: ratio)


@pytest.mark.parametrize(("ratio", "chosen"), [(0.5, "bf16-mixed"), (0.9, "32-true"), (8.0, "32-true")])
def test_a_processor_trains_in_what_is_faster(make_experiment, take, ratio, chosen):
    take(ratio)
    experiment = make_experiment(trainer={"precision": "auto", "gradient_clip_val": 1.0})
    settled = settled_precision(experiment, torch.device("cpu"))
    assert settled.trainer == {"precision": chosen, "gradient_clip_val": 1.0}
    assert make_trainer(experiment, "cpu", callbacks=[], logger=False).precision == chosen


@pytest.mark.parametrize(("native", "chosen"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_trains_in_bfloat16_where_it_has_it(make_experiment, monkeypatch, native, chosen):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: native or including_emulation)
    settled = settled_precision(make_experiment(trainer={"precision": "auto"}), torch.device("cuda"))
    assert settled.trainer == {"precision": chosen}


@pytest.mark.parametrize("trainer", [{}, {"precision": "16-mixed"}, {"precision": None}], ids=str)
def test_what_a_person_chose_is_left(make_experiment, take, trainer):
    take(0.5)
    experiment = make_experiment(trainer=trainer)
    assert settled_precision(experiment, torch.device("cpu")) is experiment


@pytest.mark.parametrize(
    ("precision", "device", "ratio", "told"),
    [
        ("bf16-mixed", "cpu", 2.0, True),
        ("bf16-true", "cpu", 2.0, True),
        ("bf16-mixed", "cpu", 0.5, False),
        ("bf16-mixed", "cpu", 1.05, False),
        ("32-true", "cpu", 2.0, False),
        ("bf16-mixed", "cuda", 2.0, False),
    ],
)
def test_it_is_told_where_bfloat16_is_the_slower_one(make_experiment, take, precision, device, ratio, told):
    take(ratio)
    advice = precision_advice(make_experiment(trainer={"precision": precision}), torch.device(device))
    expected = "bfloat16 matrix products take 2.0 times as long as float32 ones on this processor. Add"
    assert (advice or "").startswith(expected) is told


def test_nothing_is_said_where_no_precision_is_given(make_experiment):
    assert precision_advice(make_experiment(), torch.device("cpu")) is None


def test_products_take_time():
    assert bfloat16_ratio() > 0
