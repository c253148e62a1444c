from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from towerzoo.towers.model.build import load_data
from towerzoo.towers.recipes import profile as step_profile
from towerzoo.towers.recipes.profile import PARTS, mark_parts, parts_of_events, profile_step
from towerzoo.towers.recipes.train import profile_training
from towerzoo.towers.training.module import build_module


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    for name, steps in {"WARM_UP": 1, "TIMED": 3, "PROFILED": 2, "RESERVE": 1}.items():
        monkeypatch.setattr(step_profile, name, steps)


@pytest.mark.parametrize("unique", [False, True])
def test_every_part_of_a_step_takes_time_and_the_model_stays_unmarked(unique, make_experiment):
    experiment = make_experiment(data={"batch_size": 64}, training={"unique": unique})
    data = load_data(experiment)
    model = build_module(experiment, data.schema)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seconds = profile_step(experiment, data, model, "cpu")
    assert tuple(seconds) == PARTS
    assert all(seconds[part] > 0 for part in PARTS if part not in ("other operations", "Python, loop, batches"))
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items()), "steps were trained"
    assert "training_step" not in vars(model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_step_of_several_batches_is_timed_once_and_counts_their_samples(make_experiment, monkeypatch):
    started = []
    monkeypatch.setattr(step_profile._Steps, "_now", lambda self: started.append(1) or float(len(started)))
    experiment = make_experiment(data={"batch_size": 64}, trainer={"accumulate_grad_batches": 2})
    console = Console(file=io.StringIO(), width=120)
    profile_training(experiment, device="cpu", console=console)
    assert len(started) == 2
    assert f"all, {2 * 64 * step_profile.TIMED:,} samples/s" in console.file.getvalue()


OPERATIONS = {
    "aten::addmm": "matrix products",
    "AddmmBackward0": "matrix products",
    "aten::ge_": "dropout",
    "aten::native_batch_norm": "batch norm",
    "NativeBatchNormBackward0": "batch norm",
    "_FastTanh": "activations",
    "_FastTanhBackward": "activations",
    "aten::embedding": "embeddings",
    "EmbeddingBackward0": "embeddings",
    "_CosineBackward": "score and loss",
    "aten::binary_cross_entropy_with_logits": "score and loss",
    "BinaryCrossEntropyWithLogitsBackward0": "score and loss",
    "aten::_fused_adam_": "optimizer",
}


def test_backward_operations_belong_to_the_part_of_their_forward_operation(make_experiment):
    experiment = make_experiment()
    data = load_data(experiment)
    model = build_module(experiment, data.schema)
    optimizer = model.configure_optimizers()

    def closure() -> torch.Tensor:  # as Lightning does, backward runs inside the optimizer's step
        optimizer.zero_grad()
        loss = model.training_step(next(iter(data.train_batches())), 0)
        loss.backward()
        return loss

    removers = mark_parts(model)
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        optimizer.step(closure)
    for remove in removers:
        remove()
    found: dict[str, set[str]] = {}
    for event, part in parts_of_events(profiler.events()):
        found.setdefault(event.name, set()).add(part)
    assert {name: found[name] for name in OPERATIONS} == {name: {part} for name, part in OPERATIONS.items()}
    assert found["aten::mul"] >= {"dropout", "score and loss"}, "one operation, two parts"


def test_kernels_do_not_count_in_addition_to_their_operations():
    operation, kernel = (
        FunctionEvent(1, name, thread=1, start_us=0, end_us=9, device_type=device)
        for name, device in (("aten::mm", DeviceType.CPU), ("gemm", DeviceType.CUDA))
    )
    assert parts_of_events([operation, kernel]) == [(operation, "other operations")]
