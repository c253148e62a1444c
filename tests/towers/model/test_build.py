"""What `read_experiment` checks beyond the schema."""

# ruff: noqa: E501  (whole messages, in tables)
from __future__ import annotations

from pathlib import Path

import pytest

from towerzoo.registry.config import shipped_configs
from towerzoo.registry.errors import ConfigError
from towerzoo.towers.model.build import read_experiment

USER_FEATURES = "age, gender, occupation, user_id"


def complaints(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_experiment("quickstart", overrides)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("file", shipped_configs(), ids=lambda file: file.stem)
def test_shipped_configs_have_no_problem(file: Path) -> None:
    experiment, document = read_experiment(file)
    assert document.problems == []
    assert experiment.data.name in ("movielens-1m", "synthetic")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("user_tower.features.gendr={encoder: embedding, dim: 2}", "--set: user_tower.features.gendr must be a feature of the "
         f"synthetic dataset's users, got 'gendr'.\n    Did you mean 'gender'? Features: {USER_FEATURES}."),
        ("item_tower.features.age={encoder: embedding, dim: 2}", "--set: item_tower.features.age must be a feature of the synthetic "
         "dataset's items, got 'age'.\n    Features: genres, movie_id, title."),
        ("data.label.column=ratng", "--set: data.label.column must be a feedback column of the dataset, got 'ratng'.\n    Did you mean "
         "'rating'? Columns: probability, rating."),
        ("data.users=x", "--set: data.users must be a whole number >= 1, got 'x'."),
        ("data.label=3", "--set: data.label must be 'implicit', or a mapping with exactly one of positive_from, equals and "
         "implicit: true, got 3."),
        ("user_tower=3", "--set: user_tower must be a mapping with features, got 3."),
        ("user_tower.features=3", "--set: user_tower.features must be a mapping, got 3."),
        ("data=3", "--set: data must be a mapping with name, label, split, got 3."),
    ],
)  # fmt: skip
def test_one_mistake_gives_one_message(override: str, message: str) -> None:
    assert [complaint[: len(message)] for complaint in complaints(override)] == [message]


def test_a_text_may_be_a_feature_of_its_own_side_alone() -> None:
    title = "title={encoder: letter-trigrams, dim: 2}"
    experiment, _ = read_experiment("quickstart", [f"item_tower.features.{title}"])
    assert experiment.item_tower.features["title"]["pooling"] == "sum"  # type: ignore[index]
    (complaint,) = complaints(f"user_tower.features.{title}")
    assert "must be a feature of the synthetic dataset's users, got 'title'" in complaint


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("{encoder: bucketized, dim: 2, boundaries: []}", "boundaries must be a list"),
        ("{encoder: bucketized, dim: 2, boundaries: [.inf]}", "boundaries[0] must be a number (Input should be a finite number), got inf."),
        ("{encoder: hashed-embedding, dim: 2, buckets: 9, hashes: 9}", "hashes must be a whole number >= 1 and <= 8, got 9."),
        ("{encoder: numeric, transform: cube}", "transform must be 'standard', 'log' or 'quantile', got 'cube'."),
        ("{encoder: embedding, dim: 2, id_dropout: 1.0}", "id_dropout must be a number >= 0 and < 1, got 1.0."),
        ("{encoder: pretrained, dim: 2}", "path must be text, got nothing."),
    ],
)  # fmt: skip
def test_parameters_of_encoders_are_checked(override: str, message: str) -> None:
    (complaint,) = complaints(f"user_tower.features.gender={override}")
    assert complaint.startswith(f"--set: user_tower.features.gender.{message}")


def test_items_have_no_history() -> None:
    (complaint,) = complaints("item_tower.features.movie_id={encoder: history, dim: 2}")
    assert complaint.startswith(
        "--set: item_tower.features.movie_id.encoder must be another encoder than 'history', which is of users, got 'history'."
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss=sampled-softmax", "evaluation.pairs=true"], "evaluation.pairs must be false where the loss compares positive events "
         "with candidates, got True.\n    Its logits are no probabilities; evaluate rankings instead."),
        (["evaluation.pairs=false"], "evaluation.pairs must be true where no ranking is evaluated, got False.\n    Add evaluation."),
        (["data.split=files"], "data.split must be a split of events for data without its own split, got 'files'.\n    Name"),
    ],
)  # fmt: skip
def test_an_evaluation_and_a_split_suit_the_loss_and_the_data(overrides: list[str], message: str) -> None:
    (complaint,) = complaints(*overrides)
    assert complaint.startswith(f"--set: {message}")


def test_the_structure_of_a_config_is_read_without_lightning_and_its_training_not_checked() -> None:
    overrides = ["training.early_stopping.monitor=valid/x", "trainer.devices=2000", "training.execution=cuda-graphs"]
    experiment, _ = read_experiment("quickstart", overrides)
    assert experiment.trainer.devices == 2000
