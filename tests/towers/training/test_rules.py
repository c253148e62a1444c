"""What training checks of a config, in one pass with its schema and structure, and how towers execute."""

# ruff: noqa: E501  (whole messages, in tables)
from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from towerzoo.datasets import Batch
from towerzoo.registry.config import shipped_configs
from towerzoo.registry.errors import ConfigError
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.training.module import TrainingModule, build_module
from towerzoo.towers.training.rules import TRAINING_RULES, require_gpu

EMBEDDING = {"encoder": "embedding", "dim": 4}
PLAIN = {"block": {"name": "linear-act-dropout", "act": "tanh", "dropout": 0.0}, "widths": [8]}
TOWERS = {
    "user_tower": {"features": {"user_id": EMBEDDING, "gender": EMBEDDING}, **PLAIN},
    "item_tower": {"features": {"movie_id": EMBEDDING, "genres": {"encoder": "embedding-bag", "dim": 4}}, **PLAIN},
}
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def complaints(config: str | Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_experiment(config, overrides, TRAINING_RULES)
    return [str(problem) for problem in caught.value.problems]


SPARSE = "user_tower.features.gender.sparse=true"
GRAPHS = "training={execution: cuda-graphs}"


@pytest.mark.parametrize("config", shipped_configs(), ids=lambda file: file.stem)
def test_shipped_configs_keep_the_rules(config: Path) -> None:
    read_experiment(config, rules=TRAINING_RULES)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.early_stopping.monitor=valid/auk"], "training.early_stopping.monitor must be a figure of validation, got 'valid/auk'."
         "\n    Did you mean 'valid/auc'? Evaluated: valid/accuracy, "),
        (["data.batch_size=3", "trainer.devices=4"], "data.batch_size must be at least the 4 of trainer.devices, got 3.\n"
         "    Each device trains a share of the batch."),
        (["trainer={devices: 2, precision: 16-mixed}"], "trainer.precision must be one of bfloat16 or float32 where several devices "
         "train, got '16-mixed'.\n    Each device would scale its loss by itself."),
        (["trainer={precision: bf16-mixed, gradient_clip_val: 1.0}"], "optimizer.fused must be false where gradients are clipped in "
         "mixed precision, got True.\n    Add fused: false to the optimizer, or remove trainer.gradient_clip_val."),
        (["trainer={precision: auto, gradient_clip_val: 1.0}"], "optimizer.fused must be false where gradients are clipped in mixed "),
        ([SPARSE, "trainer.gradient_clip_val=1.0"], "trainer.gradient_clip_val must be null where encoders are sparse, got 1.0.\n"
         "    Torch cannot clip sparse gradients. Remove it, or `sparse: true` of user_tower.features.gender."),
        ([SPARSE, "optimizer={name: sgd, lr: 0.1, weight_decay: 0.1}"], "optimizer must be one that updates single vectors, as "
         "`sparse: true` of user_tower.features.gender asks, got {'name'"),
        ([SPARSE, "optimizer={name: adagrad, weight_decay: 0.1}"], "optimizer must be one that updates single vectors, as `sparse: "),
        ([GRAPHS, "training.unique=true"], "training.execution must be eager or compile where the distinct users and items of a batch "
         "are encoded, got 'cuda-graphs'.\n    Their number changes with every batch; a CUDA graph needs a fixed size."),
        ([GRAPHS, "training.early_stopping=null", "loss=sampled-softmax"], "training.execution must be eager or compile where the "
         "distinct users and items of a batch are encoded, got 'cuda-graphs'."),
        ([GRAPHS, "trainer.accumulate_grad_batches=2"], "training.execution must be eager or compile where the gradients of several "
         "batches are accumulated, got 'cuda-graphs'.\n    A graph overwrites them with those of the next batch."),
    ],
)  # fmt: skip
def test_settings_that_do_not_suit_each_other_are_reported_before_data_is_read(
    overrides: list[str], message: str
) -> None:
    (complaint,) = complaints("quickstart", *overrides)
    assert complaint.partition(": ")[2].startswith(message)


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer={precision: bf16-mixed, gradient_clip_val: 1.0}", "optimizer.fused=false"],
        [SPARSE, "optimizer={name: adamw, weight_decay: 0.1}"],
        [SPARSE, "optimizer={name: adagrad}"],
        [SPARSE, "optimizer={name: sgd, lr: 0.1, momentum: 0.9}"],
        [GRAPHS],
        ["training={execution: compile, unique: true, early_stopping: null}", "loss=sampled-softmax"],
    ],
)
def test_settings_that_suit_each_other_are_no_problem(overrides: list[str]) -> None:
    read_experiment("quickstart", overrides, TRAINING_RULES)


CONFIG = """\
seed: -1
data:
  name: synthetic
  rooot: x
  batch_size: 2
  label: {column: stars, positive_from: 4}
  split: {name: random, fractions: [0.8, 0.1]}
user_tower:
  features:
    gendr: {encoder: embedding, dim: 8}
    age: {encoder: embedding, dim: many}
  widths: [8]
item_tower:
  features:
    genres: {encoder: embedding-bag, dim: 8, pooling: maen, sparse: true}
    movie_id: {encoder: history, dim: 8}
  block: linear-act-dropout
  widths: [9]
score: cosine
loss: bce-with-logits
optimizer: {name: adam, lr: 0, learning_rate: 1}
training: {max_epoch: 3, early_stopping: {monitor: valid/figure}}
trainer: {logger: true, precison: 16, devices: 4, gradient_clip_val: 1}
"""


def test_the_problems_of_all_layers_come_at_once_in_the_order_of_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schema, signatures, structure and training: each is checked as far as the settings that it reads are valid."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(CONFIG)
    where = [complaint.partition(" must be ")[0] for complaint in complaints("mine.yaml")]
    assert [line.removeprefix("mine.yaml:") for line in where] == [
        "1: seed", "4: data.rooot", "5: data.batch_size", "6: data.label.column", "7: data.split.fractions",
        "8: user_tower.block", "10: user_tower.features.gendr", "11: user_tower.features.age.dim",
        "15: item_tower.features.genres.pooling", "16: item_tower.features.movie_id.encoder", "18: item_tower.widths",
        "21: optimizer.learning_rate", "21: optimizer.lr", "22: training.max_epoch",
        "22: training.early_stopping.monitor", "23: trainer.logger", "23: trainer.precison", "23: trainer.gradient_clip_val",
    ]  # fmt: skip


def test_a_loss_of_candidates_over_a_base_that_watches_pairs_shows_what_to_write(tmp_path: Path) -> None:
    """The two lines that the message ends with correct the config."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: quickstart.yaml\nloss: sampled-softmax\nevaluation: {ranking: {at: [5]}}\n")
    (complaint,) = complaints(mine)
    assert complaint.endswith(
        "training.early_stopping.monitor must be a figure of validation, got 'valid/loss'.\n"
        "    Lists are ranked here, and pairs are not scored. Write\n"
        "        training:\n"
        "          early_stopping: {monitor: valid/ndcg@5}"
    )
    lines = complaint.splitlines()[-2:]
    mine.write_text(mine.read_text() + "\n".join(line.removeprefix(" " * 8) for line in lines) + "\n")
    experiment, _ = read_experiment(mine, rules=TRAINING_RULES)
    assert experiment.training.early_stopping is not None
    assert experiment.training.early_stopping.monitor == "valid/ndcg@5"
    assert experiment.training.early_stopping.patience == 2, "that of the base"


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


def test_encoders_whose_sizes_vary_do_not_make_a_program_for_each_batch(make_experiment, monkeypatch):
    torch._dynamo.reset()
    history = {"encoder": "history", "dim": 4, "by": "feedback"}
    experiment = make_experiment(
        data={"batch_size": 100},
        user_tower={"features": {"user_id": EMBEDDING, "events": history}, **PLAIN},
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
