"""Several ranks train to the weights of one process."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from towerzoo.datasets.batches.loaders import ShareLoader
from towerzoo.registry.errors import TrainingError
from towerzoo.registry.experiment import Data
from towerzoo.towers.model.build import load_data
from towerzoo.towers.runs.epochs import read_epochs
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.fit import fit
from towerzoo.towers.training.module import build_module
from towerzoo.towers.training.rank_processes import several_ranks
from towerzoo.towers.training.ranks import Ranks

EMBEDDING = {"encoder": "embedding", "dim": 4}
BAG = {"encoder": "embedding-bag", "dim": 4, "max_length": 6}
PLAIN = {"block": "linear-act-dropout", "widths": [6], "init": "xavier-normal"}
NO_DROPOUT = {**PLAIN, "block": {"name": "linear-act-dropout", "act": "tanh", "dropout": 0.0}}
LISTS = {"label": {"positive_from": 1}, "split": "leave-last-out"}
IN_BATCH = {"name": "sampled-softmax", "sampler": "in-batch", "temperature": 0.5}
MIXED = {"name": "mixed", "parts": ["in-batch", {"name": "uniform", "n": 20}]}

CASES = {
    "pairs": {"loss": {"name": "bce-with-logits", "label_smoothing": 0.1, "positive_weight": 2.0}},
    "pairs of distinct users and items": {"training": {"max_epochs": 2, "unique": True}},
    "penalties": {
        "user_tower": {"features": {"user_id": {**EMBEDDING, "penalty": 0.1}}, **NO_DROPOUT},
        "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.5},
    },
    "bpr": {"loss": {"name": "bpr", "sampler": "in-batch"}, "data": LISTS},
    "softmax": {"loss": IN_BATCH, "data": LISTS},
    "softmax, uniform negatives": {
        "loss": {**IN_BATCH, "sampler": MIXED, "hardest": 15},
        "data": LISTS,
        "trainer": {"gradient_clip_val": 0.05},
    },
    "sparse": {
        "loss": IN_BATCH,
        "data": LISTS,
        "item_tower": {"features": {"movie_id": {**EMBEDDING, "sparse": True}, "genres": BAG}, **NO_DROPOUT},
        "trainer": {"accumulate_grad_batches": 2},
    },
    "streamed events with weights": {
        "user_tower": {"features": {"user": EMBEDDING}},
        "item_tower": {"features": {"item": EMBEDDING}},
    },
}
TOGETHER = ("pairs", "bpr", "softmax, uniform negatives", "sparse", "streamed events with weights")
"""The cases that processes of their own train; all are compared by their gradients."""


@pytest.fixture(scope="module")
def streamed(tmp_path_factory) -> Data:
    """300 training events with weights in row groups of 50, 60 to validate and 60 to test."""
    root, numbers = tmp_path_factory.mktemp("stream"), np.random.default_rng(0)
    for part, n in (("train", 300), ("valid", 60), ("test", 60)):
        ids = {"user": numbers.integers(0, 20, n), "item": numbers.integers(0, 15, n)}
        table = pa.table({**ids, "rating": numbers.integers(1, 6, n), "w": numbers.random(n) + 0.1})
        pq.write_table(table, root / f"{part}.parquet", row_group_size=50)
    columns = {"user": "user", "item": "item", "feedback": ["rating"], "weight": "w"}
    files = {"files": "train.parquet", "valid": "valid.parquet", "test": "test.parquet", "stream": True}
    label = {"column": "rating", "positive_from": 4}
    data = {"name": "tabular", "root": str(root), "interactions": {**files, **columns, "shuffle_buffer": 100}}
    return Data.model_validate({**data, "label": label, "split": "files", "batch_size": 25})


@pytest.fixture(scope="module")
def experiment_of(make_experiment, streamed):
    """Makes the experiment of a case, without dropout, whose last batch is smaller than the others."""

    def make(case: str):
        sections = CASES[case]
        standard = {
            "user_tower": {"features": dict.fromkeys(("user_id", "gender"), EMBEDDING), **NO_DROPOUT},
            "item_tower": {"features": {"movie_id": EMBEDDING, "genres": BAG}, **NO_DROPOUT},
            "training": {"max_epochs": 2},
            # Steps that differ as the gradients do: Adam makes as much of a gradient that is all rounding as of others.
            "optimizer": {"name": "sgd", "lr": 0.1},
        }
        data = {"interactions": 400, "batch_size": 25, **sections.get("data", {})}
        experiment = make_experiment(**{**standard, **sections, "data": data})
        return experiment.model_copy(update={"data": streamed}) if case.startswith("streamed") else experiment

    return make


def gradients(model, data, ranks: int, *, gathered: bool = True) -> list[torch.Tensor]:
    """Returns the sum of the gradients of all shares of the first batch."""
    model.zero_grad()
    for rank in range(ranks):
        loader = data.train_batches()
        batch = next(iter(loader if ranks == 1 else ShareLoader(loader, rank, ranks)))
        torch.manual_seed(5)
        model.training_step(batch if gathered else batch._replace(all_items=batch.item), 0).backward()
    return [parameter.grad.to_dense().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_shares_sum_to_that_of_the_batch(case, experiment_of, make_trainer):
    experiment = experiment_of(case)
    data = load_data(experiment)
    model = build_module(experiment, data.schema)
    make_trainer(limit_train_batches=0, limit_val_batches=0).fit(model, DataModule(data))
    model.train()
    model.on_fit_start()
    whole = gradients(model, data, 1)
    for ranks in (2, 30):  # of 30, some have no event
        torch.testing.assert_close(gradients(model, data, ranks), whole, rtol=1e-4, atol=1e-6)
    if "softmax" in case or case == "bpr":
        alone = gradients(model, data, 2, gathered=False)
        assert max((a - b).abs().max() for a, b in zip(alone, whole, strict=True)) > 1e-3


def fitted(experiment, path: Path, ranks: Ranks) -> tuple[RunFolder, torch.nn.Module]:
    """Trains an experiment into a folder as one of some ranks."""
    run = RunFolder(path)
    data = load_data(experiment)
    model = build_module(experiment, data.schema)
    fit(experiment, data, model, run, "cpu", ranks, Console(file=io.StringIO()))
    return run, model


def test_two_ranks_train_to_the_weights_of_one(experiment_of, tmp_path):
    experiments = {f"{number} {case}": experiment_of(case) for number, case in enumerate(TOGETHER)}
    for name, experiment in experiments.items():
        for folder in ("one", "two"):
            (tmp_path / folder / name / "checkpoints").mkdir(parents=True)
            RunFolder(tmp_path / folder / name).save_experiment(experiment)
    program = [str(Path(__file__).with_name("second_rank.py"))]
    trained = {}

    def train_all() -> None:
        with several_ranks(RunFolder(tmp_path / "two" / "0 pairs"), 2, torch.device("cpu"), program) as ranks:
            for name, experiment in experiments.items():
                trained[name] = fitted(experiment, tmp_path / "two" / name, ranks)
            ranks.sum(torch.ones(1))  # the other one has died by now

    with pytest.raises(TrainingError, match=r"process of rank 1 ended with exit status 3(?s:.*)out of breath"):
        train_all()
    assert not torch.distributed.is_initialized()
    for name, experiment in experiments.items():
        run, expected = fitted(experiment, tmp_path / "one" / name, Ranks())
        other, found = trained[name]
        torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=1e-4, atol=2e-5)
        for one, two in zip(figures(run), figures(other), strict=True):
            assert two == pytest.approx(one, rel=1e-3)


def figures(run: RunFolder) -> list[dict[str, float]]:
    clock = {"seconds", "samples_per_second"}
    return [{name: value for name, value in row.items() if name not in clock} for row in read_epochs(run)]
