from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from towerzoo.registry.errors import RunError
from towerzoo.towers.runs.checkpoints import load_state, read_checkpoint

STATE = nn.Sequential(nn.Linear(2, 3)).state_dict()


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def plant_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Bomb(path.with_name("exploded")), "epoch": 1}, protocol=2))


DAMAGED, FOREIGN = "The checkpoint {} is damaged.", "The checkpoint {} holds more than tensors and plain values."
ANOTHER = "{} must be a checkpoint of TowerZoo, got another file."


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(Path.unlink, "{} must be a checkpoint, got no such file.", id="missing"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:40]), DAMAGED, id="truncated early"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-100]), DAMAGED, id="truncated late"),
        pytest.param(lambda path: path.write_bytes(b""), DAMAGED, id="empty"),
        pytest.param(lambda path: path.write_bytes(bytes(range(256)) * 40), FOREIGN, id="random bytes"),
        pytest.param(plant_pickle, FOREIGN, id="pickle that runs code"),
        pytest.param(
            lambda path: torch.save({"state_dict": Bomb(path.with_name("exploded")), "epoch": 1}, path),
            FOREIGN,
            id="torch file that runs code",
        ),
        pytest.param(lambda path: torch.save(STATE, path), ANOTHER, id="plain state dict"),
        pytest.param(lambda path: torch.save([1, 2], path), ANOTHER, id="list"),
        pytest.param(lambda path: torch.save({"state_dict": {"a": 1}, "epoch": 1}, path), ANOTHER, id="no tensors"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_refused_and_runs_no_code(tmp_path, damage, expected):
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": STATE, "epoch": 3}, path)
    assert read_checkpoint(path)["epoch"] == 3
    damage(path)
    with pytest.raises(RunError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(expected.format(path))
    assert "weights_only" not in str(caught.value)
    assert not path.with_name("exploded").exists()


def test_the_planted_pickle_would_run_code(tmp_path):
    plant_pickle(tmp_path / "best.ckpt")
    pickle.loads((tmp_path / "best.ckpt").read_bytes())
    assert (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("layers", "differences"),
    [
        ([nn.Linear(2, 3), nn.Linear(3, 1)], r'Missing key\(s\) in state_dict: "1\.weight", "1\.bias"'),
        ([], r'Unexpected key\(s\) in state_dict: "0\.weight", "0\.bias"'),
        ([nn.Linear(2, 4)], r"size mismatch for 0\.weight: .*\[3, 2\].* in current model is torch\.Size\(\[4, 2\]\)"),
    ],
)
def test_another_architecture_is_refused(tmp_path, layers, differences):
    expected = rf"x.ckpt holds the weights of another architecture. {differences}.*\. Use the config and the data that"
    with pytest.raises(RunError, match=expected):
        load_state(nn.Sequential(*layers), STATE, tmp_path / "x.ckpt")
