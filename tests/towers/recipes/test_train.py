from __future__ import annotations

import io

from rich.console import Console

from towerzoo.towers.losses.sampled import BPR
from towerzoo.towers.recipes.train import train


def test_a_training_builds_its_loss_once_for_the_trial_and_the_model(make_experiment, tmp_path, monkeypatch):
    """All that is asked about a loss before is read from its class."""
    built = []
    init = BPR.__init__
    monkeypatch.setattr(BPR, "__init__", lambda self, **given: built.append(given) or init(self, **given))
    experiment = make_experiment(
        loss={"name": "bpr", "sampler": "in-batch"}, training={"max_epochs": 1, "early_stopping": {}}
    )
    train(experiment, name="mine", out=tmp_path, device="cpu", console=Console(file=io.StringIO()))
    assert len(built) == 1
