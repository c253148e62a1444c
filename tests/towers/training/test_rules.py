from __future__ import annotations

import shutil
from itertools import islice

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from towerzoo.datasets import Batch
from towerzoo.registry.errors import ConfigError
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.training.module import TrainingModule, build_module
from towerzoo.towers.training.rules import require_gpu

EMBEDDING = {"encoder": "embedding", "dim": 4}
PLAIN = {"block": {"name": "linear-act-dropout", "act": "tanh", "dropout": 0.0}, "widths": [8]}
TOWERS = {
    "user_tower": {"features": {"user_id": EMBEDDING, "gender": EMBEDDING}, **PLAIN},
    "item_tower": {"features": {"movie_id": EMBEDDING, "genres": {"encoder": "embedding-bag", "dim": 4}}, **PLAIN},
}
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def programs() -> int:
    return int(counters["stats"]["unique_graphs"])


def losses_and_gradients(module: TrainingModule, batches: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    values = []
    for user, item in batches:
        module.zero_grad()
        logits = module.logits(Batch(user, item, user))
        loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.ones(len(user)))
        loss.backward()
        values += [loss.detach(), *(parameter.grad.clone() for parameter in module.parameters())]
    return values


@pytest.mark.skipif(shutil.which("c++") is None, reason="compiling needs a C++ compiler")
@pytest.mark.parametrize("unique", [False, True])
def test_compiled_towers_train_as_eager_ones_and_evaluate_without_a_program(make_experiment, unique):
    torch._dynamo.reset()
    counters.clear()
    eager, compiled = (
        make_experiment(**TOWERS, training={"execution": execution, "unique": unique})
        for execution in ("eager", "compile")
    )
    data = load_data(eager)
    events = data.schema.interactions
    batches = [(events.user[rows], events.item[rows]) for rows in data.split.train.split(100)[:3]]
    model = build_module(compiled, data.schema)
    model.eval()
    expected = build_module(eager, data.schema).eval().model(*batches[0])
    torch.testing.assert_close(model.model(*batches[0]), expected)
    assert programs() == 0
    model.train()
    plain = losses_and_gradients(build_module(eager, data.schema).train(), batches)
    torch.testing.assert_close(losses_and_gradients(model, batches), plain, rtol=1e-4, atol=1e-6)
    assert programs() == 2, "one for each tower, also where distinct rows are of another number in each batch"
    assert [*model.state_dict()] == [*build_module(eager, data.schema).state_dict()]


@pytest.mark.parametrize("setting", ["training.unique=true", "loss={name: sampled-softmax, sampler: in-batch}"])
def test_graphs_of_batches_of_ever_new_sizes_are_refused_before_anything_is_read(setting):
    expected = (
        r"training\.execution must be eager or compile where the distinct users and items of a batch are encoded, "
        r"got 'cuda-graphs'\.\n    They are of another number in each batch, and a graph is not\."
    )
    overrides = ["training.execution=cuda-graphs", "training.early_stopping=null", setting]
    with pytest.raises(ConfigError, match=expected):
        read_experiment("tanh_bn", overrides)
    read_experiment("tanh_bn", ["training.execution=cuda-graphs"])
    read_experiment("tanh_bn", ["training.execution=compile", *overrides[1:]])


def test_graphs_of_steps_of_several_batches_are_refused_before_anything_is_read():
    expected = (
        r"training\.execution must be eager or compile where the gradients of several batches are added up, "
        r"got 'cuda-graphs'\.\n    A graph writes those of the next batch over them\."
    )
    steps = "trainer.accumulate_grad_batches=2"
    with pytest.raises(ConfigError, match=expected):
        read_experiment("tanh_bn", ["training.execution=cuda-graphs", steps])
    read_experiment("tanh_bn", ["training.execution=compile", steps])


def test_encoders_whose_sizes_vary_do_not_make_a_program_for_each_batch(make_experiment, monkeypatch):
    torch._dynamo.reset()
    history = {"encoder": "history", "dim": 4, "by": "feedback"}
    experiment = make_experiment(
        data={"batch_size": 100},
        user_tower={"features": {"user_id": EMBEDDING, "met": history}, **PLAIN},
        item_tower={"features": {"title": {"encoder": "letter-trigrams", "dim": 4}, "movie_id": EMBEDDING}, **PLAIN},
        training={"execution": "compile"},
    )
    data = load_data(experiment)
    counter, compile = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda run, *, mode, dynamic: compile(run, backend=counter, dynamic=dynamic))
    compiled = build_module(experiment, data.schema).train()
    monkeypatch.undo()
    plain = build_module(experiment.model_copy(update={"training": make_experiment().training}), data.schema).train()
    for batch in islice(data.train_batches(), 5):
        found, expected = (module.logits(batch) for module in (compiled, plain))
        torch.testing.assert_close(found, expected)
    assert counter.frame_count == 2, "one for each tower"


@pytest.mark.parametrize("execution", ["compile", "cuda-graphs"])
def test_a_cpu_does_not_compile(make_experiment, execution):
    experiment = make_experiment(training={"execution": execution})
    require_gpu(experiment, GPU)
    expected = (
        rf"^training\.execution must be eager on a CPU, got '{execution}'\.\n.*Add --set training\.execution=eager\."
    )
    with pytest.raises(ConfigError, match=expected):
        require_gpu(experiment, CPU)
    require_gpu(make_experiment(), CPU)
