from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from towerzoo.registry import OPTIMIZERS
from towerzoo.towers.model.build import load_data
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module

ROWS, DIM = 12, 3


def gradients(steps: int, seed: int = 0) -> Iterator[Tensor]:
    """Sparse gradients of some rows each, with rows that come twice, and one row that never comes."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(ROWS - 1, (5,), generator=draw)
        rows[1] = rows[0]
        yield torch.sparse_coo_tensor(
            rows[None], torch.randn(5, DIM, generator=draw), (ROWS, DIM), check_invariants=True
        )


def weights_after(optimizer: torch.optim.Optimizer, weight: nn.Parameter, steps: int = 30) -> Tensor:
    for gradient in gradients(steps):
        weight.grad = gradient
        optimizer.step()
    return weight.detach()


def start() -> nn.Parameter:
    return nn.Parameter(torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(9)))


@pytest.mark.parametrize("fused", [True, False])
def test_sparse_steps_equal_those_of_torchs_sparse_adam(fused):
    ours, theirs = start(), start()
    spec = {"name": "adam", "lr": 0.05, "beta1": 0.8, "beta2": 0.9, "fused": fused}
    found = weights_after(OPTIMIZERS.build(spec, parameters=[ours]), ours)
    expected = weights_after(torch.optim.SparseAdam([theirs], lr=0.05, betas=(0.8, 0.9)), theirs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(found[ROWS - 1], start().detach()[ROWS - 1]), "a row without gradients stays as it is"


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_rows_in_every_batch_go_as_with_dense_gradients(name):
    """Weight decay included: where all rows have a gradient, row by row and dense are the same."""
    results = []
    for sparse in (True, False):
        weight, draw = start(), torch.Generator().manual_seed(2)
        optimizer = OPTIMIZERS.build({"name": name, "lr": 0.05, "weight_decay": 0.1}, parameters=[weight])
        for _ in range(20):
            gradient = torch.randn(ROWS, DIM, generator=draw)
            weight.grad = gradient.to_sparse(1) if sparse else gradient
            optimizer.step()
        results.append(weight.detach())
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


def test_dense_and_sparse_parameters_share_one_optimizer():
    table, matrix = start(), nn.Parameter(torch.ones(2, 2))
    alone = nn.Parameter(torch.ones(2, 2))
    optimizer = OPTIMIZERS.build("adam", parameters=[table, matrix])
    other = torch.optim.Adam([alone], lr=1e-3)
    for gradient in gradients(5):
        table.grad, matrix.grad, alone.grad = gradient, torch.full((2, 2), 0.3), torch.full((2, 2), 0.3)
        optimizer.step()
        other.step()
        assert table.grad is gradient, "gradients are left as they were"
    torch.testing.assert_close(matrix.detach(), alone.detach())
    assert not torch.equal(table.detach(), start().detach())


def test_the_state_survives_a_checkpoint():
    whole, first = start(), start()
    expected = weights_after(OPTIMIZERS.build("adam", parameters=[whole]), whole, steps=6)
    all_gradients = list(gradients(6))
    before = OPTIMIZERS.build("adam", parameters=[first])
    for gradient in all_gradients[:3]:
        first.grad = gradient
        before.step()
    after = OPTIMIZERS.build("adam", parameters=[first])
    after.load_state_dict(before.state_dict())
    for gradient in all_gradients[3:]:
        first.grad = gradient
        after.step()
    assert torch.equal(first.detach(), expected)


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_that_half_precision_has_scaled_are_scaled_back_and_left_out_where_they_overflow(fused):
    spec = {"name": "adam", "lr": 0.05, "weight_decay": 0.1, "fused": fused}
    scaled, plain = start(), start()
    optimizer = OPTIMIZERS.build(spec, parameters=[scaled])
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for gradient in gradients(5):
        scaled.grad = scaler.scale(torch.ones(())) * gradient
        scaler.step(optimizer)
        scaler.update()
    expected = weights_after(OPTIMIZERS.build(spec, parameters=[plain]), plain, steps=5)
    torch.testing.assert_close(scaled.detach(), expected)
    scaled.grad = next(gradients(1)) * torch.inf
    scaler.step(optimizer)
    torch.testing.assert_close(scaled.detach(), expected)


def test_the_closure_runs_with_gradients_and_its_loss_is_returned():
    weight = nn.Parameter(torch.ones(2))
    optimizer = OPTIMIZERS.build("adam", parameters=[weight])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 2.0
    assert bool((weight < 1).all())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adagrad", {"name": "sgd", "lr": 0.1}], ids=str)
def test_sparse_encoders_train_through_the_trainer(optimizer, make_experiment, make_trainer):
    sparse = {"encoder": "embedding", "dim": 4, "sparse": True}
    bag = {"encoder": "embedding-bag", "dim": 4, "max_length": 6, "sparse": True}
    blocks = {"block": "linear-act-dropout", "widths": [8]}
    experiment = make_experiment(
        user_tower={"features": {"user_id": sparse}, **blocks},
        item_tower={"features": {"movie_id": sparse, "genres": bag}, **blocks},
        optimizer=optimizer,
    )
    data = load_data(experiment)
    model = build_module(experiment, data.schema)
    before = {name: value.clone() for name, value in model.named_parameters()}
    make_trainer(max_epochs=1).fit(model, DataModule(data))
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), f"{name} has not moved"
    padding = model.model.item_tower.encoder("genres").embedding.weight[0]
    assert not padding.any(), "the padding vector stays zero"
