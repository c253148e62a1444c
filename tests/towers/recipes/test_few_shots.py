"""New users of whom a few events are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from towerzoo.registry.errors import RunError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.encoders.history import NO_EVENT
from towerzoo.towers.model.build import build_model, load_data
from towerzoo.towers.recipes.evaluate import evaluate
from towerzoo.towers.recipes.few_shots import few_shots, histories_of, require_history
from towerzoo.towers.recipes.slices import mask_biases, mask_columns
from towerzoo.towers.runs.folder import RunFolder

WHOLE = {"encoder": "history", "dim": 4, "pooling": "sqrtn"}
LATEST = {"encoder": "history", "dim": 4, "last": 3}


@pytest.fixture(params=[WHOLE, LATEST], ids=["whole", "latest"])
def experiment(request, make_experiment) -> Experiment:
    vectors = {"encoder": "embedding", "dim": 4, "init": {"name": "normal", "std": 1.0}}
    return make_experiment(
        data={"split": "leave-last-out"},
        user_tower={"features": {"user_id": vectors, "gender": vectors, "met": request.param}, "combine": "sum"},
        item_tower={"features": {"movie_id": vectors}},
        score={"name": "dot", "user_bias": True, "item_bias": True},
    )


@pytest.mark.parametrize("k", [0, 1, 3, 1_000, 10**20])
def test_histories_hold_the_last_events_and_are_whole_again_afterwards(experiment, k):
    model = build_model(experiment, load_data(experiment).schema)
    (encoder,) = model.user_tower.histories
    rows = torch.arange(model.user_tower.n_rows)
    with model.finished():
        whole = encoder.lists(rows)
        with histories_of(model, k):
            few = encoder.lists(rows)
            vectors = encoder.eval()(rows)
        assert torch.equal(encoder.lists(rows), whole)
    width = min(k, whole.shape[1])
    assert torch.equal(few[:, :width], whole[:, :width]), "the newest come first"
    assert bool((few[:, width:] == NO_EVENT).all())
    assert torch.allclose(vectors, encoder.pool(few), atol=1e-6)


def test_figures_are_those_of_users_without_an_id_and_with_short_histories(experiment, tmp_path: Path):
    data = load_data(experiment)
    model = build_model(experiment, data.schema)
    torch.nn.init.normal_(model.score.biases.user.weight)  # type: ignore[union-attr, operator]
    run = RunFolder(tmp_path)
    run.save_weights(model)
    known = evaluate(model, data, experiment, "cpu")["test"]
    genders = data.schema.users.columns["gender"].values
    found = few_shots(run, experiment, data, [0, 2, 1_000], "cpu")
    assert list(found) == ["0", "2", "1000", "all"]
    assert found["1000"] == pytest.approx(found["all"], nan_ok=True)
    assert found["0"]["auc"] != found["2"]["auc"] != found["all"]["auc"]
    assert torch.equal(data.schema.users.columns["gender"].values, genders)

    again = load_data(experiment)
    mask_columns(again, ["user_id"])
    masked = build_model(experiment, again.schema)
    run.load_weights(masked)
    mask_biases(masked, again, ["user_id"])
    assert evaluate(masked, again, experiment, "cpu")["test"] == pytest.approx(found["all"], nan_ok=True)
    assert found["all"]["auc"] != known["auc"]


def test_a_run_without_a_history_is_refused(make_experiment, tmp_path: Path):
    message = (
        r"--shots must be given with a run whose user tower has a history encoder, got .* with user_id, gender, age, "
        r"occupation\. Add a feature \{encoder: history, dim: 64\} and train again\."
    )
    with pytest.raises(RunError, match=message):
        require_history(RunFolder(tmp_path), make_experiment())
