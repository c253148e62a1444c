"""New users with a few known events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from towerzoo.registry.errors import RunError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.encoders.events import NO_EVENT
from towerzoo.towers.model.build import build_model, load_data
from towerzoo.towers.recipes.evaluate import evaluate
from towerzoo.towers.recipes.few_shots import few_shots, require_history
from towerzoo.towers.recipes.slices import mask_biases, mask_columns
from towerzoo.towers.runs.folder import RunFolder
from towerzoo.towers.training.module import build_module

WHOLE = {"encoder": "history", "dim": 4, "pooling": "sqrtn"}
LATEST = {"encoder": "history", "dim": 4, "last": 3}


@pytest.fixture(params=[WHOLE, LATEST], ids=["whole", "latest"])
def experiment(request, make_experiment) -> Experiment:
    vectors = {"encoder": "embedding", "dim": 4, "init": {"name": "normal", "std": 1.0}}
    return make_experiment(
        data={"split": "leave-last-out"},
        user_tower={"features": {"user_id": vectors, "gender": vectors, "events": request.param}, "combine": "sum"},
        item_tower={"features": {"movie_id": vectors}},
        score={"name": "dot", "user_bias": True, "item_bias": True},
    )


@pytest.mark.parametrize("k", [0, 1, 3, 1_000, 10**20])
def test_limited_histories_hold_the_last_events(experiment, k):
    schema = load_data(experiment).schema
    limited = replace(schema, users=replace(schema.users, history=schema.users.history.limited(k)))
    few, whole = (build_model(experiment, world).user_tower.encoder("events").eval() for world in (limited, schema))
    rows = torch.arange(len(schema.users))
    lists, all_events = few.inputs(rows, as_of="test"), whole.inputs(rows, as_of="test")
    width = min(k, lists.shape[1], all_events.shape[1])
    assert torch.equal(lists[:, :width], all_events[:, :width]), "the newest come first"
    assert bool((lists[:, width:] == NO_EVENT).all())
    assert torch.allclose(few.encode_rows(rows, as_of="test"), few(lists), atol=1e-6)


def test_figures_are_those_of_users_without_an_id_and_with_short_histories(experiment, tmp_path: Path):
    data = load_data(experiment)
    model = build_module(experiment, data.schema)
    torch.nn.init.normal_(model.model.score.biases.user.weight)  # type: ignore[union-attr, operator]
    run = RunFolder(tmp_path)
    run.save_weights(model.model, model.loss)
    known = evaluate(model, data, experiment, "cpu")["test"]
    genders = data.schema.users.columns["gender"].values
    found = few_shots(run, experiment, data, [0, 2, 1_000], "cpu")
    assert list(found) == ["0", "2", "1000", "all"]
    assert found["1000"] == pytest.approx(found["all"], nan_ok=True)
    assert found["0"]["auc"] != found["2"]["auc"] != found["all"]["auc"]
    assert torch.equal(data.schema.users.columns["gender"].values, genders)

    again = load_data(experiment)
    mask_columns(again, ["user_id"])
    masked = build_module(experiment, again.schema)
    run.load_weights(masked.model)
    mask_biases(masked.model, again, ["user_id"])
    assert evaluate(masked, again, experiment, "cpu")["test"] == pytest.approx(found["all"], nan_ok=True)
    assert found["all"]["auc"] != known["auc"]


def test_a_run_without_a_history_is_refused(make_experiment, tmp_path: Path):
    message = (
        r"--shots needs a run whose user tower has a history encoder, but .* has only user_id, gender, age, "
        r"occupation\. Add a feature \{encoder: history, dim: 64\} and train again\."
    )
    with pytest.raises(RunError, match=message):
        require_history(RunFolder(tmp_path), make_experiment())
