"""Of assembly, `read_experiment`: what is checked beyond the schema, and that all problems come at once."""

# ruff: noqa: E501  (messages are told as they stand, in tables)
from __future__ import annotations

from pathlib import Path

import pytest

from towerzoo.registry.config import shipped_configs
from towerzoo.registry.errors import ConfigError
from towerzoo.towers.model.build import read_experiment
from towerzoo.towers.training.rules import TRAINER_KEYS_SET_ELSEWHERE

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
        ("trainer.precison=3", "--set: trainer.precison must be an argument of pytorch_lightning.Trainer, got 'precison'.\n"
         "    Did you mean 'precision'? Arguments: accumulate_grad_batches, "),
        ("trainer.self=3", "--set: trainer.self must be an argument of pytorch_lightning.Trainer, got 'self'."),
        ("trainer=3", "--set: trainer must be a mapping, got 3."),
        ("data.users=x", "--set: data.users must be a whole number >= 1, got 'x'."),
        ("data.label=3", "--set: data.label must be 'implicit', or a mapping with exactly one of positive_from, equals and "
         "implicit: true, got 3."),
        ("user_tower=3", "--set: user_tower must be a mapping with features, got 3."),
        ("user_tower.features=3", "--set: user_tower.features must be a mapping, got 3."),
        ("data=3", "--set: data must be a mapping with name, label, split, got 3."),
    ],
)  # fmt: skip
def test_one_mistake_gives_one_message(override: str, message: str) -> None:
    assert [told[: len(message)] for told in complaints(override)] == [message]


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
        ("{encoder: bucketized, dim: 2, boundaries: [.inf]}", "boundaries[0] must be a finite number, got inf."),
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


@pytest.mark.parametrize("key", TRAINER_KEYS_SET_ELSEWHERE)
def test_what_towerzoo_gives_the_trainer_itself_is_refused_with_what_to_use(key: str) -> None:
    hint = TRAINER_KEYS_SET_ELSEWHERE[key] or "TowerZoo sets this itself; remove it."
    message = f"--set: trainer.{key} must be an argument that TowerZoo leaves to you, got {key!r}.\n    {hint}"
    assert complaints(f"trainer.{key}=1") == [message]


def test_arguments_of_the_trainer_pass_as_they_stand() -> None:
    given = {"precision": "16-mixed", "limit_train_batches": 0.5, "accumulate_grad_batches": 2}
    experiment, _ = read_experiment("quickstart", [f"trainer={given}"])
    assert experiment.trainer == given


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("accumulate_grad_batches=0", "accumulate_grad_batches must be a whole number >= 1, got 0."),
        ("gradient_clip_val=.nan", "gradient_clip_val must be a number >= 0 or null, got nan."),
        ("gradient_clip_val=-1", "gradient_clip_val must be a number >= 0 or null, got -1."),
        ("limit_train_batches=0", "limit_train_batches must be a whole number >= 1, a number > 0 and <= 1 or null, got 0."),
        ("precision=bf17", "precision must be 'auto', '32-true', 'bf16-mixed', '16-mixed', 'bf16-true', '16-true', '64-true', 32, 16, 64, '32', '16', '64', 'bf16' or null, got 'bf17'."),
    ],
)  # fmt: skip
def test_arguments_that_would_end_training_are_told_before(override: str, message: str) -> None:
    assert complaints(f"trainer.{override}") == [f"--set: trainer.{message}"]


SPARSE = "user_tower.features.gender.sparse=true"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer={precision: bf16-mixed, gradient_clip_val: 1.0}"],
            "optimizer.fused must be false where gradients are clipped in mixed precision, got True.\n"
            "    Add fused: false to the optimizer, or remove trainer.gradient_clip_val.",
        ),
        (
            ["trainer={precision: auto, gradient_clip_val: 1.0}"],
            "optimizer.fused must be false where gradients are clipped in mixed precision, got True.\n",
        ),
        (
            [SPARSE, "trainer.gradient_clip_val=1.0"],
            "trainer.gradient_clip_val must be null where encoders are sparse, got 1.0.\n"
            "    Torch cannot clip gradients of single vectors. Remove it, or `sparse: true` of user_tower.features.gender.",
        ),
        (
            [SPARSE, "optimizer={name: sgd, lr: 0.1, weight_decay: 0.1}"],
            "optimizer must be one that updates single vectors, as `sparse: true` of user_tower.features.gender asks, got {'name'",
        ),
        (
            [SPARSE, "optimizer={name: adagrad, weight_decay: 0.1}"],
            "optimizer must be one that updates single vectors, as `sparse: true` of user_tower.features.gender asks, got {'name'",
        ),
    ],
)
def test_what_an_optimizer_cannot_do_is_told_before_data_is_read(overrides: list[str], message: str) -> None:
    (complaint,) = complaints(*overrides)
    assert complaint.partition(": ")[2].startswith(message)


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer={precision: bf16-mixed, gradient_clip_val: 1.0}", "optimizer.fused=false"],
        [SPARSE, "optimizer={name: adamw, weight_decay: 0.1}"],
        [SPARSE, "optimizer={name: adagrad}"],
        [SPARSE, "optimizer={name: sgd, lr: 0.1, momentum: 0.9}"],
    ],
)
def test_what_an_optimizer_can_do_is_no_problem(overrides: list[str]) -> None:
    read_experiment("quickstart", overrides)


CONFIG = """\
seed: -1
data:
  name: synthetic
  rooot: x
  label: {column: stars, positive_from: 4}
  split: {name: random, fractions: [0.8, 0.1]}
user_tower:
  features:
    gendr: {encoder: embedding, dim: 8}
  widths: [8]
item_tower:
  features:
    genres: {encoder: embedding-bag, dim: 8, pooling: maen}
  block: linear-act-dropout
  widths: [9]
score: cosine
loss: bce
optimizer: {name: adam, lr: 0}
trainer: {logger: true, precison: 16}
"""


def test_all_problems_come_at_once_in_the_order_of_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(CONFIG)
    with pytest.raises(
        ConfigError, match=r"^The config has 12 problems\.\nmine\.yaml:1: seed must be a whole"
    ) as caught:
        read_experiment("mine.yaml")
    assert [problem.where.removeprefix("mine.yaml:") for problem in caught.value.problems] == [
        "1: seed", "4: data.rooot", "5: data.label.column", "6: data.split.fractions", "7: user_tower.block",
        "9: user_tower.features.gendr", "13: item_tower.features.genres.pooling", "15: item_tower.widths", "17: loss",
        "18: optimizer.lr", "19: trainer.logger", "19: trainer.precison",
    ]  # fmt: skip


def test_a_loss_of_candidates_over_a_base_that_watches_pairs_is_told_what_to_write(tmp_path: Path) -> None:
    """The two lines that the message ends with make the config right."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"base: {shipped('quickstart')}\nloss: sampled-softmax\nevaluation: {{ranking: {{at: [5]}}}}\n")
    with pytest.raises(ConfigError) as caught:
        read_experiment(mine)
    assert str(caught.value).endswith(
        "quickstart.yaml:29: training.early_stopping.monitor must be a figure of validation, got 'valid/loss'.\n"
        "    Lists are ranked here, and pairs are not scored. Write\n"
        "        training:\n"
        "          early_stopping: {monitor: valid/ndcg@5}"
    )
    lines = str(caught.value).splitlines()[-2:]
    mine.write_text(mine.read_text() + "\n".join(line.removeprefix(" " * 8) for line in lines) + "\n")
    experiment, _ = read_experiment(mine)
    assert experiment.training.early_stopping is not None
    assert experiment.training.early_stopping.monitor == "valid/ndcg@5"
    assert experiment.training.early_stopping.patience == 2, "that of the base"


def shipped(name: str) -> Path:
    return next(file for file in shipped_configs() if file.stem == name)
