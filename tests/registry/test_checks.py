# ruff: noqa: E501  (messages are told as they stand, in tables)
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from towerzoo.registry import ACTIVATIONS, BLOCKS, LOSSES, Spec
from towerzoo.registry.checks import check_experiment
from towerzoo.registry.config import load_config, shipped_configs
from towerzoo.registry.errors import ConfigError
from towerzoo.registry.experiment import Experiment
from towerzoo.registry.ranges import Count
from towerzoo.registry.yaml_file import read_yaml, write_yaml

Write = Callable[..., Path]


def check(text: str) -> Experiment:
    return check_experiment(read_yaml(text, "m.yaml"))


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(text)
    return [str(problem) for problem in caught.value.problems]


def assert_told(text: str, *messages: str) -> None:
    """Each mistake is told once, with all of the message that the test gives."""
    assert [told[: len(message)] for told, message in zip(complaints(text), messages, strict=True)] == list(messages)


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
        ("score:", "training: {max_epoch: 1}\nscore:", "m.yaml:15: training.max_epoch must be a known key, got 'max_epoch'.\n"
         "    Did you mean 'max_epochs'? Known: early_stopping, execution, max_epochs, schedule, unique."),
        ("score:", "training: {early_stopping: {patiance: 1}}\nscore:", "m.yaml:15: training.early_stopping.patiance must be a "
         "known key, got 'patiance'.\n    Did you mean 'patience'? Known: monitor, patience."),
        # Parts and their parameters.
        ("name: synthetic", "name: synthetik", "m.yaml:2: data.name must be a registered dataset, got 'synthetik'.\n    Did you "
         "mean 'synthetic'? Registered: "),
        ("name: synthetic", "name: 3", "m.yaml:2: data.name must be a registered dataset, got 3.\n    Registered: "),
        ("name: synthetic", "name: [synthetic]", "m.yaml:2: data.name must be a registered dataset, got ['synthetic']."),
        ("name: synthetic", "name: synthetic\n  rooot: x", "m.yaml:3: data.rooot must be a parameter of dataset 'synthetic' or a "
         "key of data, got 'rooot'.\n    Known: activity_spread, batch_size, feature_share, fit_on,"),
        ("name: synthetic", "name: synthetic\n  batch_sise: 1", "m.yaml:3: data.batch_sise must be a parameter of dataset "
         "'synthetic' or a key of data, got 'batch_sise'.\n    Did you mean 'batch_size'? Known: "),
        ("name: synthetic", "name: synthetic\n  user: 5", "m.yaml:3: data.user must be a parameter of dataset 'synthetic' or a "
         "key of data, got 'user'.\n    Did you mean 'users'? Known: "),
        ("name: synthetic", "name: synthetic\n  users: 0", "m.yaml:3: data.users must be a whole number >= 1, got 0."),
        ("split: random", "split: randm", "m.yaml:4: data.split must be a registered split, got 'randm'.\n    Did you mean 'random'? "
         "Registered: "),
        ("split: random", "split: {name: random, user: 1}", "m.yaml:4: data.split.user must be a parameter of split 'random', got "
         "'user'.\n    Known: fractions, seed."),
        (BLOCK, "{name: linear-act-drop}", "m.yaml:8: user_tower.block.name must be a registered block, got 'linear-act-drop'.\n"
         "    Did you mean 'linear-act-dropout'? Registered: dropout-linear-bn-tanh, linear-act-dropout,"),
        (BLOCK, "{name: linear-act-dropout, drop: 1}", "m.yaml:8: user_tower.block.drop must be a parameter of block "
         "'linear-act-dropout', got 'drop'.\n    Did you mean 'dropout'? Known: act, dropout."),
        ("score: cosine", "score: 5", "m.yaml:15: score must be the name of a registered score, or a mapping with 'name', got 5.\n"
         "    Registered: cosine, dot"),
        ("score: cosine", "score: [cosine]", "m.yaml:15: score must be the name of a registered score, or a mapping with 'name', "
         "got ['cosine']."),
        ("score: cosine", "score: {scale: 1.0}", "m.yaml:15: score must be the name of a registered score, or a mapping with "
         "'name', got {'scale': 1.0}."),
        ("score: cosine", "score:", "m.yaml:15: score must be the name of a registered score, or a mapping with 'name', got None."),
        (FEATURE, "{dim: 8}", f"m.yaml:7: user_tower.features.age must be {ENCODER}, got {{'dim': 8}}.\n    Registered: bucketized, "),
        (FEATURE, "{encoder: embeding, dim: 8}", "m.yaml:7: user_tower.features.age.encoder must be a registered encoder, got "
         "'embeding'.\n    Did you mean 'embedding'? Registered: bucketized, embedding, embedding-bag"),
        # Parts inside parts.
        ("pooling: mean", "pooling: maen", "m.yaml:12: item_tower.features.genres.pooling must be a registered pooling, got 'maen'.\n"
         "    Did you mean 'mean'? Registered: attention, max, mean, padded-mean, recency,"),
        ("pooling: mean", "pooling: {name: mean, power: 2}", "m.yaml:12: item_tower.features.genres.pooling.power must be a parameter "
         "of pooling 'mean', got 'power'.\n    Known: none."),
        ("act: relu", "act: ReLUU", "m.yaml:8: user_tower.block.act must be a registered activation, got 'ReLUU'.\n    Did you mean 'relu'"),
        ("act: relu", "act: {name: leaky-relu, negative_slope: -1}", "m.yaml:8: user_tower.block.act.negative_slope must be a number "
         ">= 0, got -1."),
        ("act: relu", "act: {slope: 1}", "m.yaml:8: user_tower.block.act must be the name of a registered activation, or a mapping "
         "with 'name', got {'slope': 1}."),
        # Types.
        ("[16, 8]", "['16', 8]", "m.yaml:9: user_tower.widths[0] must be a whole number >= 1, got '16'.\n    Write it without quotes."),
        ("[16, 8]", "[16.0, 8]", "m.yaml:9: user_tower.widths[0] must be a whole number >= 1, got 16.0."),
        ("[16, 8]", "[true, 8]", "m.yaml:9: user_tower.widths[0] must be a whole number >= 1, got True."),
        ("[16, 8]", "[x, 8]", "m.yaml:9: user_tower.widths[0] must be a whole number >= 1, got 'x'."),
        ("[16, 8]", "8", "m.yaml:9: user_tower.widths must be a list, got 8."),
        ("dim: 8}\n  block: {", "dim: many}\n  block: {", "m.yaml:7: user_tower.features.age.dim must be a whole number >= 1, got 'many'."),
        ("score: cosine", "score: {name: cosine, learn_scale: yes}", "m.yaml:15: score.learn_scale must be true or false, got 'yes'.\n"
         "    Write true."),
        ("score: cosine", "score: {name: cosine, learn_scale: 'False'}", "m.yaml:15: score.learn_scale must be true or false, got "
         "'False'.\n    Write false."),
        ("score: cosine", "score: {name: cosine, learn_scale: maybe}", "m.yaml:15: score.learn_scale must be true or false, got 'maybe'."),
        ("{positive_from: 4}", "{positive_from: '4'}", "m.yaml:3: data.label.positive_from must be a number or null, got '4'.\n    Write it "),
        ("{positive_from: 4}", "implict", f"m.yaml:3: data.label must be {RULE}, got 'implict'.\n    Did you mean 'implicit'?"),
        ("{positive_from: 4}", "{positive_from: 4, equals: 5}", f"m.yaml:3: data.label must be {RULE} (null removes one that a base "
         "gives), got {'positive_from': 4, 'equals': 5}."),
        ("{positive_from: 4}", "{equals: [5]}", "m.yaml:3: data.label.equals must be a number, text or null, got [5]."),
        ("{positive_from: 4}", "{implicit: false}", f"m.yaml:3: data.label must be {RULE} (null removes one that a base gives), got "
         "{'implicit': False}."),
        ("{positive_from: 4}", "{positive_from: 4, column: 3}", "m.yaml:3: data.label.column must be text, got 3."),
        ("{positive_from: 4}", "4", f"m.yaml:3: data.label must be {RULE}, got 4."),
        ("score:", "seed: 1.5\nscore:", f"m.yaml:15: seed must be {SEED_RANGE}, got 1.5."),
        ("score:", "imports: blocks.py\nscore:", "m.yaml:15: imports must be a list, got 'blocks.py'."),
        ("score:", "imports: [1]\nscore:", "m.yaml:15: imports[0] must be text, got 1."),
        ("score:", "trainer: 1\nscore:", "m.yaml:15: trainer must be a mapping, got 1."),
        ("score:", "training: [1]\nscore:", "m.yaml:15: training must be a mapping, got [1]."),
        # Ranges.
        ("[16, 8]", "[-16, 8]", "m.yaml:9: user_tower.widths[0] must be a whole number >= 1, got -16."),
        ("dim: 8}\n  block: {", "dim: 0}\n  block: {", "m.yaml:7: user_tower.features.age.dim must be a whole number >= 1, got 0."),
        ("split: random", "split: random\n  batch_size: 0", "m.yaml:5: data.batch_size must be a whole number >= 1, got 0."),
        ("score:", "seed: -1\nscore:", f"m.yaml:15: seed must be {SEED_RANGE}, got -1."),
        ("score:", "seed: 4294967296\nscore:", f"m.yaml:15: seed must be {SEED_RANGE}, got 4294967296."),
        *[("act: relu", f"dropout: {rate}", f"m.yaml:8: user_tower.block.dropout must be a number >= 0 and < 1, got {told}.")
          for rate, told in (("-0.1", "-0.1"), ("1.0", "1.0"), ("1.5", "1.5"), (".nan", "nan"))],
        *[("lr: 1e-3", f"lr: {lr}", f"m.yaml:17: optimizer.lr must be {expected}, got {told}.")
          for lr, expected, told in (("0", "a number > 0", "0"), ("-1e-3", "a number > 0", "-0.001"),
                                     (".nan", "a finite number > 0", "nan"), (".inf", "a finite number > 0", "inf"))],
        ("positive_from: 4", "positive_from: .inf", "m.yaml:3: data.label.positive_from must be a finite number or null, got inf."),
        ("split: random", "split: {name: random, fractions: [0.9, 0.1, 0.1]}", "m.yaml:4: data.split.fractions must be three shares "
         "(training, validation, test) that sum to 1, got [0.9, 0.1, 0.1]."),
        ("split: random", "split: {name: random, fractions: [0.9, 0.1]}", "m.yaml:4: data.split.fractions must be a list of length 3, "
         "got [0.9, 0.1]."),
        ("split: random", "split: {name: random, fractions: [2, -1, 0]}", "m.yaml:4: data.split.fractions[0] must be a number > 0 and "
         "< 1, got 2.\nm.yaml\nm.yaml"),
        ("split: random", "split: {name: temporal, fractions: [0.5, 0, 0.5]}", "m.yaml:4: data.split.fractions[1] must be a number > 0 "
         "and < 1, got 0."),
        ("score:", "training: {early_stopping: {patience: -1}}\nscore:", "m.yaml:15: training.early_stopping.patience must be a whole "
         "number >= 0, got -1."),
        ("split: random", "split: random\n  fit_on: test", "m.yaml:5: data.fit_on must be 'catalogue' or 'train', got 'test'."),
        # What is missing.
        ("{positive_from: 4}", "{column: rating}", f"m.yaml:3: data.label must be {RULE} (null removes one that a base gives), got "
         "{'column': 'rating'}."),
        ("  name: synthetic\n", "", "m.yaml:1: data.name must be a registered dataset, got nothing.\n    Add the key 'name'. Registered: "),
        ("  split: random\n", "", "m.yaml:1: data.split must be the name of a registered split, or a mapping with 'name', got nothing.\n"
         "    Add the key 'split'. Registered: "),
        ("score: cosine\n", "", "m.yaml:1: score must be the name of a registered score, or a mapping with 'name', got nothing.\n"
         "    Add the key 'score'. Registered: cosine, dot"),
        (FEATURE, "embedding", "m.yaml:7: user_tower.features.age.dim must be a whole number >= 1, got nothing.\n    Add the key 'dim'."),
        (f"  features:\n    age: {FEATURE}\n", "", "m.yaml:5: user_tower.features must be a mapping, got nothing.\n    Add the key"),
        # What holds between keys.
        ("  widths: [16, 8]\n", "", "m.yaml:5: user_tower.widths must be a list of whole numbers >= 1 where a block is given, got "
         "nothing.\n    Add widths, one for each block, or remove the block."),
        ("  widths: [16, 8]\n", "  widths: []\n", "m.yaml:9: user_tower.widths must be a list of whole numbers >= 1 where a block is "
         "given, got []."),
        (f"  block: {BLOCK}\n", "", "m.yaml:5: user_tower.block must be a registered block where widths are given, got nothing.\n    Add a "
         "block, or remove the widths. Registered: "),
        ("[8]", "[16]", "m.yaml:14: item_tower.widths must be a list that ends in 8, as user_tower.widths does, got [16].\n    The two "
         "vectors are compared, and so must be of equal length."),
    ],
)  # fmt: skip
def test_one_mistake_gives_one_message(good: str, old: str, new: str, message: str) -> None:
    assert good.count(old) >= 1
    first, *more = message.split("\nm.yaml")
    told = complaints(good.replace(old, new, 1))
    assert told[0][: len(first)] == first
    assert len(told) == 1 + len(more)


def test_a_file_without_any_section_is_told_what_to_add() -> None:
    told = complaints("seed: 1")
    assert [line.split(" must be ")[0] for line in told] == [
        f"m.yaml:1: {key}" for key in ("data", "user_tower", "item_tower", "score", "loss", "optimizer")
    ]
    assert told[0] == "m.yaml:1: data must be a mapping with name, label, split, got nothing.\n    Add the key 'data'."
    assert told[1].startswith("m.yaml:1: user_tower must be a mapping with features, got nothing.")


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines(good: str) -> None:
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
        "base.yaml:14: item_tower.widths",
    ]  # fmt: skip


def test_what_an_alias_repeats_is_told_once_but_equal_mistakes_are_not(good: str) -> None:
    aliased = good.replace("block: {name: linear", "block: &b {name: linear").replace(
        "block: linear-act-dropout", "block: *b"
    )
    assert_told(
        aliased.replace("act: relu", "act: rellu"), "m.yaml:8: user_tower.block.act must be a registered activation"
    )
    two = "age: {encoder: embedding, dim: 8}, sex: {encoder: embedding, dim: 8}"
    flow = good.replace("features:\n    age: {encoder: embedding, dim: 8}", "features: {" + two + "}")
    assert check(flow)
    assert_told(
        flow.replace("embedding, dim: 8", "embedding, dim: 0"),
        "m.yaml:6: user_tower.features.age.dim must be", "m.yaml:6: user_tower.features.sex.dim must be",
    )  # fmt: skip


def test_an_aliased_tower_is_checked_once(good: str) -> None:
    start = good.index("item_tower:")
    text = good[:start].replace("user_tower:", "user_tower: &t").replace("  widths: [16, 8]\n", "")
    text += "item_tower: *t\n" + good[good.index("score:") :]
    assert_told(
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
def test_what_cannot_be_read_is_not_told_again_as_missing(write: Write, good: str, text: str, where: list[str]) -> None:
    write(good, "good.yaml")
    with pytest.raises(ConfigError) as caught:
        check_experiment(load_config(write(text)))
    assert [problem.where for problem in caught.value.problems] == where


def test_problems_of_the_caller_are_told_with_the_others(good: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(good.replace("cosine", "cosin"))
    document = read_yaml(good, "m.yaml")
    with pytest.raises(ConfigError, match=r"m\.yaml:15: score must be a registered score"):
        check_experiment(document, caught.value.problems)


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
    limited: Annotated[list[Count], Field(max_length=2)] = [],  # noqa: B006
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
        "acts": [{"name": "tanh"}, {"name": "leaky-relu", "negative_slope": 0.01}], "code": "a", "limited": [], "many": 1,
    }  # fmt: skip
    assert check(write_yaml(experiment.model_dump())) == experiment
    assert check(odd("{name: open, anything: [1]}")).user_tower.block == {"name": "open", "anything": [1]}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("odd", "copy must be a whole number >= 1, got nothing.\n    Add the key 'copy'."),
        ("{name: odd, copy: 0}", "copy must be a whole number >= 1, got 0."),
        ("{name: odd, copy: 1, schema: c}", "schema must be 'a', 'b' or null, got 'c'."),
        ("{name: odd, copy: 1, _x: 0}", "_x must be a whole number >= 1, 'fast' or 'exact', got 0."),
        (
            "{name: odd, copy: 1, _x: exakt}",
            "_x must be a whole number >= 1, 'fast' or 'exact', got 'exakt'.\n    Did you mean 'exact'?",
        ),
        ("{name: odd, copy: 1, acts: []}", "acts must be a list of length >= 1, got []."),
        ("{name: odd, copy: 1, acts: [tahn]}", "acts[0] must be a registered activation, got 'tahn'."),
        ("{name: odd, copy: 1, named: {a: tahn}}", "named.a must be a registered activation, got 'tahn'."),
        ("{name: odd, copy: 1, pair: [1, 0]}", "pair[1] must be a whole number >= 1, got 0."),
        ("{name: odd, copy: 1, pair: [1]}", "pair[1] must be a whole number >= 1, got nothing."),
        ("{name: odd, copy: 1, pair: 1}", "pair must be a list, got 1."),
        ("{name: odd, copy: 1, code: A}", "code must be text (String should match pattern '^[a-z]+$'), got 'A'."),
        ("{name: odd, copy: 1, limited: [1, 2, 3]}", "limited must be a list of length <= 2, got [1, 2, 3]."),
        ("{name: odd, copy: 1, many: [1, 0]}", "many must be a list or a whole number >= 1, got [1, 0]."),
        ("{name: odd, copy: 1, in_features: 3}", "in_features must be a parameter of block 'odd', got 'in_features'."),
        ("{name: open, in_features: 3}", "in_features must be a parameter of block 'open', got 'in_features'."),
    ],
)
def test_a_part_of_any_signature_is_checked(odd: Callable[[str], str], block: str, message: str) -> None:
    assert_told(odd(block), f"m.yaml:8: user_tower.block.{message}")


def bare_block(in_features: int, out_features: int, x) -> list[Any]:  # type: ignore[no-untyped-def]
    return []


def test_a_parameter_without_annotation_and_default_is_told_with_its_part(odd: Callable[[str], str]) -> None:
    BLOCKS.register("bare")(bare_block)
    (told,) = complaints(odd("bare"))
    line = bare_block.__code__.co_firstlineno
    assert told.startswith(
        "m.yaml:8: user_tower.block.x must be any value, got nothing.\n    Add the key 'x', or give it"
    )
    assert f"test_checks.py:{line}. A block is called with in_features and out_features, and returns" in told


class Thing: ...


def thing_block(in_features: int, out_features: int, thing: Thing | None = None) -> list[Any]:
    return []


def test_a_parameter_that_yaml_cannot_give_is_told(odd: Callable[[str], str]) -> None:
    BLOCKS.register("thing")(thing_block)
    message = (
        "thing must be a value of type Thing or null, got 3.\n    YAML holds no such value; annotate the parameter"
    )
    assert_told(odd("{name: thing, thing: 3}"), f"m.yaml:8: user_tower.block.{message}")


def test_another_part_of_the_same_name_is_checked_by_its_own_signature(odd: Callable[[str], str]) -> None:
    text = odd("{name: odd, depth: 1}")
    assert len(complaints(text)) == 2
    BLOCKS.forget(__name__)
    BLOCKS.register("odd")(open_block)
    assert check(text)


OWN = """\
from towerzoo.registry import LOSSES
from towerzoo.registry.ranges import Positive


@LOSSES.register("my-loss")
def my_loss(*, margin: Positive):
    "Mine."
"""


@pytest.mark.usefixtures("restored_registries")
def test_a_part_from_an_imported_file_is_checked_like_any_other(write: Write, good: str) -> None:
    write(OWN, "my_loss.py")
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
    own = check_experiment(load_config(write(text.replace("bce-with-logits", "{name: my-loss, margin: 2}"))))
    assert own.loss == {"name": "my-loss", "margin": 2}
    assert "my-loss" in LOSSES
