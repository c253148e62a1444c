# ruff: noqa: E501  (whole messages, in tables)
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from towerzoo.registry import ACTIVATIONS, BLOCKS, LOSSES, Spec
from towerzoo.registry.checks import check_experiment
from towerzoo.registry.config import load_config, shipped_configs
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.ranges import Count
from towerzoo.registry.yaml_file import Document, read_yaml, write_yaml

Write = Callable[..., Path]


def check(text: str) -> Experiment:
    return check_experiment(read_yaml(text, "m.yaml"))


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(text)
    return [str(problem) for problem in caught.value.problems]


def assert_reported(text: str, *messages: str) -> None:
    """Each mistake is reported once, in a message that starts as the given one."""
    actual = complaints(text)
    assert [line[: len(message)] for line, message in zip(actual, messages, strict=True)] == list(messages)


BLOCK = "{name: linear-act-dropout, act: relu}"
FEATURE = "{encoder: embedding, dim: 8}"
BAG = "{encoder: embedding-bag, dim: 8, pooling: mean}"
SEED_RANGE = "a whole number >= 0 and < 4294967296"
RULE = "'implicit', or a mapping with exactly one of positive_from, equals and implicit: true"
ENCODER = "the name of a registered encoder, or a mapping with 'encoder'"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # Keys that are not known, at each level.
        ("score:", "optimiser: adam\nscore:", "m.yaml:15: optimiser must be a known key, got 'optimiser'.\n    Did you mean "
         "'optimizer'? Known: data, evaluation, imports, item_tower, loss, optimizer, score, seed, trainer, training, user_tower."),
        ("{positive_from: 4}", "{positive_form: 1, positive_from: 4}", "m.yaml:3: data.label.positive_form must be a known key, "
         "got 'positive_form'.\n    Did you mean 'positive_from'? Known: column, equals, implicit, positive_from."),
        ("  widths: [16, 8]", "  widths: [16, 8]\n  width: 1", "m.yaml:10: user_tower.width must be a known key, got 'width'.\n"
         "    Did you mean 'widths'? Known: block, combine, features, init, widths."),
        ("score:", "training: {early_stopping: {patiance: 1}}\nscore:", "m.yaml:15: training.early_stopping.patiance must be a "
         "known key, got 'patiance'.\n    Did you mean 'patience'? Known: monitor, patience."),
        # Parts and their parameters.
        ("name: synthetic", "name: synthetik", "m.yaml:2: data.name must be a registered dataset, got 'synthetik'.\n    Did you "
         "mean 'synthetic'? Registered: "),
        ("name: synthetic", "name: synthetic\n  rooot: x", "m.yaml:3: data.rooot must be a parameter of dataset 'synthetic' or a "
         "key of data, got 'rooot'.\n    Known: activity_spread, batch_size, feature_share, fit_on,"),
        ("name: synthetic", "name: synthetic\n  users: 0", "m.yaml:3: data.users must be a whole number >= 1, got 0."),
        ("split: random", "split: randm", "m.yaml:4: data.split must be a registered split, got 'randm'.\n    Did you mean 'random'? "
         "Registered: "),
        ("split: random", "split: {name: random, user: 1}", "m.yaml:4: data.split.user must be a parameter of split 'random', got "
         "'user'.\n    Known: fractions, seed."),
        (BLOCK, "{name: linear-act-dropout, drop: 1}", "m.yaml:8: user_tower.block.drop must be a parameter of block "
         "'linear-act-dropout', got 'drop'.\n    Did you mean 'dropout'? Known: act, dropout."),
        ("score: cosine", "score: 5", "m.yaml:15: score must be the name of a registered score, or a mapping with 'name', got 5.\n"
         "    Registered: cosine, dot"),
        ("score: cosine", "score: {scale: 1.0}", "m.yaml:15: score must be the name of a registered score, or a mapping with "
         "'name', got {'scale': 1.0}."),
        ("score: cosine", "score:", "m.yaml:15: score must be the name of a registered score, or a mapping with 'name', got None."),
        (FEATURE, "{dim: 8}", f"m.yaml:7: user_tower.features.age must be {ENCODER}, got {{'dim': 8}}.\n    Registered: bucketized, "),
        (FEATURE, "{encoder: embeding, dim: 8}", "m.yaml:7: user_tower.features.age.encoder must be a registered encoder, got "
         "'embeding'.\n    Did you mean 'embedding'? Registered: bucketized, embedding, embedding-bag"),
        # Parts inside parts.
        ("pooling: mean", "pooling: maen", "m.yaml:12: item_tower.features.genres.pooling must be a registered pooling, got 'maen'.\n"
         "    Did you mean 'mean'? Registered: attention, max, mean, padded-mean, recency,"),
        ("act: relu", "act: ReLUU", "m.yaml:8: user_tower.block.act must be a registered activation, got 'ReLUU'.\n    Did you mean 'relu'"),
        ("act: relu", "act: {name: leaky-relu, negative_slope: -1}", "m.yaml:8: user_tower.block.act.negative_slope must be a number "
         ">= 0, got -1."),
        # Types.
        ("[16, 8]", "['16', 8]", "m.yaml:9: user_tower.widths[0] must be a whole number >= 1, got '16'.\n    Write it without quotes."),
        ("[16, 8]", "[16.0, 8]", "m.yaml:9: user_tower.widths[0] must be a whole number >= 1, got 16.0."),
        ("[16, 8]", "[true, 8]", "m.yaml:9: user_tower.widths[0] must be a whole number >= 1, got True."),
        ("[16, 8]", "8", "m.yaml:9: user_tower.widths must be a list, got 8."),
        ("dim: 8}\n  block: {", "dim: many}\n  block: {", "m.yaml:7: user_tower.features.age.dim must be a whole number >= 1, got 'many'."),
        ("score: cosine", "score: {name: cosine, learn_scale: yes}", "m.yaml:15: score.learn_scale must be true or false, got 'yes'.\n"
         "    Write true."),
        ("score: cosine", "score: {name: cosine, learn_scale: 'False'}", "m.yaml:15: score.learn_scale must be true or false, got "
         "'False'.\n    Write false."),
        ("{positive_from: 4}", "{positive_from: '4'}", "m.yaml:3: data.label.positive_from must be a number or null, got '4'.\n    Write it "),
        ("{positive_from: 4}", "implict", f"m.yaml:3: data.label must be {RULE}, got 'implict'.\n    Did you mean 'implicit'?"),
        ("{positive_from: 4}", "{positive_from: 4, equals: 5}", f"m.yaml:3: data.label must be {RULE} (null removes one of a base), "
         "got {'positive_from': 4, 'equals': 5}."),
        ("{positive_from: 4}", "{equals: [5]}", "m.yaml:3: data.label.equals must be a number, text or null, got [5]."),
        ("{positive_from: 4}", "4", f"m.yaml:3: data.label must be {RULE}, got 4."),
        ("score:", "imports: blocks.py\nscore:", "m.yaml:15: imports must be a list, got 'blocks.py'."),
        ("score:", "trainer: 1\nscore:", "m.yaml:15: trainer must be a mapping, got 1."),
        ("score:", "trainer: {precison: 3}\nscore:", "m.yaml:15: trainer.precison must be a known key, got 'precison'.\n    Did you "
         "mean 'precision'? Known: accumulate_grad_batches, benchmark, "),
        ("score:", "trainer: {max_epoks: 3}\nscore:", "m.yaml:15: trainer.max_epoks must be a known key, got 'max_epoks'.\n    Set "
         "training.max_epochs."),
        ("score:", "trainer: {limit_train_batches: 0}\nscore:", "m.yaml:15: trainer.limit_train_batches must be a whole number >= 1, a "
         "number > 0 and <= 1 or null, got 0."),
        ("score:", "trainer: {precision: bf16}\nscore:", "m.yaml:15: trainer.precision must be 'auto', '32-true', 'bf16-mixed', "
         "'16-mixed', 'bf16-true', '16-true' or '64-true', got 'bf16'.\n    Did you mean 'bf16-true'?"),
        # Ranges.
        ("score:", "seed: -1\nscore:", f"m.yaml:15: seed must be {SEED_RANGE}, got -1."),
        *[("act: relu", f"dropout: {rate}", f"m.yaml:8: user_tower.block.dropout must be a number >= 0 and < 1, got {actual}.")
          for rate, actual in (("-0.1", "-0.1"), ("1.0", "1.0"), (".nan", "nan"))],
        *[("lr: 1e-3", f"lr: {lr}", f"m.yaml:17: optimizer.lr must be {expected}, got {actual}.")
          for lr, expected, actual in (("0", "a number > 0", "0"), ("-1e-3", "a number > 0", "-0.001"),
                                       (".nan", "a number > 0 (Input should be a finite number)", "nan"))],
        ("split: random", "split: {name: random, fractions: [0.9, 0.1, 0.1]}", "m.yaml:4: data.split.fractions must be three shares "
         "(training, validation, test) that sum to 1, got [0.9, 0.1, 0.1]."),
        ("split: random", "split: {name: random, fractions: [0.9, 0.1]}", "m.yaml:4: data.split.fractions must be a list of length 3, "
         "got [0.9, 0.1]."),
        ("split: random", "split: random\n  fit_on: test", "m.yaml:5: data.fit_on must be 'catalogue' or 'train', got 'test'."),
        # What is missing.
        ("{positive_from: 4}", "{column: rating}", f"m.yaml:3: data.label must be {RULE} (null removes one of a base), got "
         "{'column': 'rating'}."),
        ("  name: synthetic\n", "", "m.yaml:1: data.name must be a registered dataset, got nothing.\n    Add the key 'name'. Registered: "),
        ("  split: random\n", "", "m.yaml:1: data.split must be the name of a registered split, or a mapping with 'name', got nothing.\n"
         "    Add the key 'split'. Registered: "),
        (FEATURE, "embedding", "m.yaml:7: user_tower.features.age.dim must be a whole number >= 1, got nothing.\n    Add the key 'dim'."),
        (f"  features:\n    age: {FEATURE}\n", "", "m.yaml:5: user_tower.features must be a mapping, got nothing.\n    Add the key"),
        # What holds between keys.
        ("  widths: [16, 8]\n", "", "m.yaml:5: user_tower.widths must be a list of whole numbers >= 1 where a block is given, got "
         "nothing.\n    Add widths, one for each block, or remove the block."),
        (f"  block: {BLOCK}\n", "", "m.yaml:5: user_tower.block must be a registered block where widths are given, got nothing.\n    Add a "
         "block, or remove the widths. Registered: "),
        ("[8]", "[16]", "m.yaml:14: item_tower.widths must be a list that ends in 8, as user_tower.widths does, got [16].\n    The two "
         "vectors are compared, and need one length."),
    ],
)  # fmt: skip
def test_one_mistake_gives_one_message(good: str, old: str, new: str, message: str) -> None:
    assert good.count(old) >= 1
    assert_reported(good.replace(old, new, 1), message)


def test_a_file_without_any_section_lists_the_missing_ones() -> None:
    first, second, *more = complaints("seed: 1")
    assert first == "m.yaml:1: data must be a mapping with name, label, split, got nothing.\n    Add the key 'data'."
    assert second.startswith("m.yaml:1: user_tower must be a mapping with features, got nothing.")
    assert [line.split(" must be ")[0] for line in more] == [
        f"m.yaml:1: {key}" for key in ("item_tower", "score", "loss", "optimizer")
    ]


def test_all_mistakes_are_reported_at_once_in_the_order_of_their_lines(good: str) -> None:
    text = good.replace("synthetic", "synthetic\n  rooot: 1").replace("positive_from: 4", "positive_from: x")
    text = text.replace("dim: 8", "dim: 0").replace("act: relu", "act: rellu, dropout: 2").replace("[8]", "[9]")
    text = text.replace("lr: 1e-3", "lr: 010").replace("mean", "maen").replace("score:", "seed: 1\nseed: -1\nscore:")
    with pytest.raises(
        ConfigError, match=r"^The config has 11 problems\.\nm\.yaml:3: data\.rooot must be a param"
    ) as caught:
        check(text)
    assert [problem.where for problem in caught.value.problems] == [
        "m.yaml:3: data.rooot", "m.yaml:4: data.label.positive_from", "m.yaml:8: user_tower.features.age.dim",
        "m.yaml:9: user_tower.block.dropout", "m.yaml:9: user_tower.block.act", "m.yaml:13: item_tower.features.genres.dim",
        "m.yaml:13: item_tower.features.genres.pooling", "m.yaml:15: item_tower.widths", "m.yaml:17: seed", "m.yaml:17: seed",
        "m.yaml:20: optimizer.lr",
    ]  # fmt: skip


def test_problems_of_several_files_come_file_by_file_and_overrides_first(write: Write, good: str) -> None:
    write(good.replace("random", "randm").replace("[8]", "[0]"), "base.yaml")
    document = load_config(write("base: base.yaml\nsead: 1\nseed: x\n"), ["score=cosinus"])
    with pytest.raises(ConfigError) as caught:
        check_experiment(document)
    assert [problem.where for problem in caught.value.problems] == [
        "--set: score", "mine.yaml:2: sead", "mine.yaml:3: seed", "base.yaml:4: data.split", "base.yaml:14: item_tower.widths[0]",
    ]  # fmt: skip


def test_a_mistake_that_an_alias_repeats_is_reported_once_but_two_equal_ones_twice(good: str) -> None:
    aliased = good.replace("block: {name: linear", "block: &b {name: linear").replace(
        "block: linear-act-dropout", "block: *b"
    )
    assert_reported(
        aliased.replace("act: relu", "act: rellu"), "m.yaml:8: user_tower.block.act must be a registered activation"
    )
    two = "age: {encoder: embedding, dim: 8}, sex: {encoder: embedding, dim: 8}"
    flow = good.replace("features:\n    age: {encoder: embedding, dim: 8}", "features: {" + two + "}")
    assert check(flow)
    assert_reported(
        flow.replace("embedding, dim: 8", "embedding, dim: 0"),
        "m.yaml:6: user_tower.features.age.dim must be", "m.yaml:6: user_tower.features.sex.dim must be",
    )  # fmt: skip


def test_an_aliased_tower_is_checked_once(good: str) -> None:
    start = good.index("item_tower:")
    text = good[:start].replace("user_tower:", "user_tower: &t").replace("  widths: [16, 8]\n", "")
    text += "item_tower: *t\n" + good[good.index("score:") :]
    assert_reported(
        text, "m.yaml:5: user_tower.widths must be a list of whole numbers >= 1 where a block is given, got nothing."
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("base: no.yaml\nsead: 1\n", ["mine.yaml:1: base", "mine.yaml:2: sead"]),
        ("a: [1\n", ["mine.yaml:1"]),
        ("imports: [no.py]\nloss: my-own-loss\nscore: cosin\n", ["mine.yaml:1: imports[0]", "mine.yaml:3: score"]),
        ("base: good.yaml\nseed: 010\noptimizer: !!python/name:os.system\n", ["mine.yaml:2: seed", "mine.yaml:3: optimizer"]),
        ("base: good.yaml\nuser_tower:\n  widths: [010, 8]\n  block: {name: !x y}\n", ["mine.yaml:3: user_tower.widths[0]",
         "mine.yaml:4: user_tower.block.name"]),
        ("", ["mine.yaml"]),
    ],
)  # fmt: skip
def test_an_unreadable_value_is_not_reported_as_missing_too(
    write: Write, good: str, text: str, where: list[str]
) -> None:
    write(good, "good.yaml")
    with pytest.raises(ConfigError) as caught:
        check_experiment(load_config(write(text)))
    assert [problem.where for problem in caught.value.problems] == where


def monitor(document: Document, experiment: Experiment) -> Iterator[Problem]:
    """A rule that reads settings one after the other."""
    yield document.problem(("seed",), "lucky", experiment.seed)
    assert experiment.training.early_stopping is not None
    yield document.problem(("training", "early_stopping", "monitor"), "a figure", experiment.data.batch_size)
    yield document.problem(("loss",), experiment.optimizer["name"], experiment.loss)  # type: ignore[index]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("score:", "score:", ["seed", "training.early_stopping.monitor", "loss"]),
        ("score: cosine", "score: cosin", ["seed", "training.early_stopping.monitor", "loss", "score"]),
        ("score:", "sead: 1\nscore:", ["seed", "training.early_stopping.monitor", "loss", "sead"]),
        ("monitor: x", "moniter: x", ["seed", "training.early_stopping.monitor", "loss", "training.early_stopping.moniter"]),
        ("monitor: x", "monitor: 3", ["seed", "loss", "training.early_stopping.monitor"]),
        ("seed: 1", "seed: x", ["seed"]),
        ("split: random", "split: random\n  batch_size: 0", ["seed", "data.batch_size"]),
        ("lr: 1e-3", "lr: 0", ["seed", "training.early_stopping.monitor", "loss", "optimizer.lr"]),
        ("lr: 1e-3", "learning: 1", ["seed", "training.early_stopping.monitor", "loss", "optimizer.learning"]),
        ("name: adam", "name: adm", ["seed", "training.early_stopping.monitor", "optimizer.name"]),
        ("optimizer:", "#", ["seed", "training.early_stopping.monitor", "optimizer"]),
        ("{positive_from: 4}", "{}", ["seed", "training.early_stopping.monitor", "loss", "data.label"]),
    ],
)  # fmt: skip
def test_rules_run_over_the_settings_that_are_valid(good: str, old: str, new: str, where: list[str]) -> None:
    """Each reads what it needs: an invalid setting ends the rule, and is reported once."""
    text = f"{good}seed: 1\ntraining: {{early_stopping: {{monitor: x}}}}\n"
    assert old in text
    with pytest.raises(ConfigError) as caught:
        check_experiment(read_yaml(text.replace(old, new, 1), "m.yaml"), [monitor])
    assert sorted(problem.where.partition(": ")[2] for problem in caught.value.problems) == sorted(where)


def test_rules_rely_on_no_default_that_an_unreadable_base_may_replace(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        check_experiment(load_config(write("base: no.yaml\nseed: 1\n")), [monitor])
    assert [problem.where for problem in caught.value.problems] == ["mine.yaml:1: base", "mine.yaml:2: seed"]


def test_defaults_are_filled_in(good: str) -> None:
    experiment = check(good)
    assert experiment.user_tower.block == {"name": "linear-act-dropout", "act": {"name": "relu"}, "dropout": 0.2}
    assert experiment.item_tower.block == experiment.user_tower.block
    assert experiment.user_tower.init == {"name": "torch-default"}
    assert experiment.item_tower.features["genres"] == {
        "encoder": "embedding-bag", "dim": 8, "max_length": 6, "pooling": {"name": "mean"}, "init": None,
        "sparse": False, "id_dropout": 0.0,
    }  # fmt: skip
    assert experiment.data.split == {"name": "random", "fractions": [0.8, 0.1, 0.1], "seed": 42}
    assert experiment.data.dataset["users"] == 2_000  # type: ignore[index]
    assert (experiment.seed, experiment.training.max_epochs, experiment.training.early_stopping) == (42, 20, None)
    assert experiment.optimizer["lr"] == 0.001  # type: ignore[index]


@pytest.mark.parametrize("file", shipped_configs(), ids=lambda file: file.stem)
def test_a_checked_experiment_is_read_back_equal(file: Path) -> None:
    experiment = check_experiment(load_config(file))
    assert check(write_yaml(experiment.model_dump())) == experiment


Mode = Literal["fast", "exact"]


def odd_block(
    in_features: int,
    out_features: int,
    *,
    copy: Count,
    schema: Literal["a", "b"] | None = None,
    _x: Count | Mode = "fast",
    acts: Annotated[list[Annotated[Spec, ACTIVATIONS]], Field(min_length=1)] = ["relu"],  # noqa: B006
    named: dict[str, Annotated[Spec, ACTIVATIONS]] = {},  # noqa: B006
    pair: tuple[float, Count] = (0.5, 2),
    loose: Any = None,
    code: Annotated[str, Field(pattern="^[a-z]+$")] = "a",
    many: list[Count] | Count = 1,
) -> list[Any]:
    return []


def open_block(in_features: int, out_features: int, **parameters: Any) -> list[Any]:
    return []


@pytest.fixture
def odd(good: str, restored_registries: None) -> Callable[[str], str]:
    BLOCKS.register("odd")(odd_block)
    BLOCKS.register("open")(open_block)

    def with_block(block: str) -> str:
        return good.replace(BLOCK, block)

    return with_block


def test_a_part_of_any_signature_is_filled_in_and_read_back(odd: Callable[[str], str]) -> None:
    experiment = check(odd("{name: odd, copy: 3, acts: [tanh, {name: leaky-relu}], named: {a: gelu}}"))
    assert experiment.user_tower.block == {
        "name": "odd", "copy": 3, "schema": None, "_x": "fast", "named": {"a": {"name": "gelu"}}, "pair": [0.5, 2], "loose": None,
        "acts": [{"name": "tanh"}, {"name": "leaky-relu", "negative_slope": 0.01}], "code": "a", "many": 1,
    }  # fmt: skip
    assert check(write_yaml(experiment.model_dump())) == experiment
    assert check(odd("{name: open, anything: [1]}")).user_tower.block == {"name": "open", "anything": [1]}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("odd", "copy must be a whole number >= 1, got nothing.\n    Add the key 'copy'."),
        ("{name: odd, copy: 1, schema: c}", "schema must be 'a', 'b' or null, got 'c'."),
        ("{name: odd, copy: 1, _x: 0}", "_x must be a whole number >= 1, 'fast' or 'exact', got 0."),
        (
            "{name: odd, copy: 1, _x: exakt}",
            "_x must be a whole number >= 1, 'fast' or 'exact', got 'exakt'.\n    Did you mean 'exact'?",
        ),
        ("{name: odd, copy: 1, acts: []}", "acts must be a list of length >= 1, got []."),
        ("{name: odd, copy: 1, acts: [tahn]}", "acts[0] must be a registered activation, got 'tahn'."),
        ("{name: odd, copy: 1, pair: [1, 0]}", "pair[1] must be a whole number >= 1, got 0."),
        ("{name: odd, copy: 1, pair: [1]}", "pair[1] must be a whole number >= 1, got nothing."),
        ("{name: odd, copy: 1, code: A}", "code must be text (String should match pattern '^[a-z]+$'), got 'A'."),
        ("{name: odd, copy: 1, many: [1, 0]}", "many must be a list or a whole number >= 1, got [1, 0]."),
        ("{name: odd, copy: 1, in_features: 3}", "in_features must be a parameter of block 'odd', got 'in_features'."),
    ],
)
def test_a_part_of_any_signature_is_checked(odd: Callable[[str], str], block: str, message: str) -> None:
    assert_reported(odd(block), f"m.yaml:8: user_tower.block.{message}")


def test_another_part_of_the_same_name_is_checked_by_its_own_signature(odd: Callable[[str], str]) -> None:
    text = odd("{name: odd, depth: 1}")
    assert len(complaints(text)) == 2
    BLOCKS.forget(__name__)
    BLOCKS.register("odd")(open_block)
    assert check(text)


CUSTOM = """\
from towerzoo.registry import LOSSES
from towerzoo.registry.ranges import Positive


@LOSSES.register("my-loss")
def my_loss(*, margin: Positive):
    "Mine."
"""


@pytest.mark.usefixtures("restored_registries")
def test_a_part_from_an_imported_file_is_checked_like_any_other(write: Write, good: str) -> None:
    write(CUSTOM, "my_loss.py")
    text = "imports: [my_loss.py]\n" + good
    for loss, message in (
        ("my-los", "mine.yaml:17: loss must be a registered loss, got 'my-los'.\n    Did you mean 'my-loss'? Registered: bce"),
        ("my-loss", "mine.yaml:17: loss.margin must be a number > 0, got nothing.\n    Add the key 'margin'."),
        ("{name: my-loss, margin: -1}", "mine.yaml:17: loss.margin must be a number > 0, got -1."),
        ("{name: my-loss, margn: 1, margin: 1}", "mine.yaml:17: loss.margn must be a parameter of loss 'my-loss', got 'margn'.\n    Did"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            check_experiment(load_config(write(text.replace("bce-with-logits", loss))))
        assert [str(problem)[: len(message)] for problem in caught.value.problems] == [message]
    experiment = check_experiment(load_config(write(text.replace("bce-with-logits", "{name: my-loss, margin: 2}"))))
    assert experiment.loss == {"name": "my-loss", "margin": 2}
    assert "my-loss" in LOSSES
