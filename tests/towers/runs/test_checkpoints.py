from __future__ import annotations

import pytest
import torch
from torch import nn

from towerzoo.registry.errors import RunError
from towerzoo.towers.runs.checkpoints import load_state, read_checkpoint


@pytest.mark.parametrize(
    ("layers", "differences"),
    [
        ([nn.Linear(2, 3), nn.Linear(3, 1)], r"got no 1\.weight, no 1\.bias\. Use the config"),
        ([], r"got an extra 0\.weight, an extra 0\.bias\. Use"),
        ([nn.Linear(2, 4)], r"got 0\.weight of shape \(3, 2\) for \(4, 2\), 0\.bias of shape \(3,\) for \(4,\)\. Use"),
        ([nn.Linear(1, 1), nn.BatchNorm1d(1)], r"got no 1\.weight, no 1\.bias, no 1\.running_mean and 4 more\. Use"),
    ],
)
def test_weights_of_another_architecture_are_told(tmp_path, layers, differences):
    state = nn.Sequential(nn.Linear(2, 3)).state_dict()
    with pytest.raises(RunError, match=f"x.ckpt must hold the weights of this architecture, {differences}"):
        load_state(nn.Sequential(*layers), state, tmp_path / "x.ckpt")


def test_a_checkpoint_of_lightning_comes_back(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1)}, "epoch": 3}, tmp_path / "best.ckpt")
    assert read_checkpoint(tmp_path / "best.ckpt")["epoch"] == 3
