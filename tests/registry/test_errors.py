from __future__ import annotations

import pytest

from towerzoo.registry.errors import (
    NOTHING,
    ConfigError,
    Interrupted,
    Problem,
    TowerZooError,
    name_hint,
    nearest,
)


def test_several_problems_are_counted_and_one_is_not() -> None:
    one = Problem("a.yaml:1: seed", "a whole number", "x")
    two = Problem("a.yaml: data", "a mapping", NOTHING, "Add the key 'data'.")
    assert str(ConfigError([one])) == "a.yaml:1: seed must be a whole number, got 'x'."
    assert str(ConfigError([one, two])) == (
        "The config has 2 problems.\n"
        "a.yaml:1: seed must be a whole number, got 'x'.\n"
        "a.yaml: data must be a mapping, got nothing.\n"
        "    Add the key 'data'."
    )
    assert ConfigError([one, two]).problems == (one, two)


def test_long_values_are_cut() -> None:
    text = str(Problem("a", "short", "x" * 1000))
    assert len(text) < 150
    assert text.endswith("xxx....")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("tahn", "tanh"),
        ("ReLU", "relu"),
        ("leaky_relu", "leaky-relu"),
        ("Leaky ReLU", "leaky-relu"),
        ("leaky", "leaky-relu"),
        ("le", None),  # too short a beginning
        (5, None),
        ("", None),
    ],
)
def test_the_nearest_spelling(name: object, near: str | None) -> None:
    assert nearest(name, ["tanh", "relu", "leaky-relu"]) == near


def test_hints_list_names_in_order_and_say_where_there_are_none() -> None:
    assert name_hint("zzz", ["b", "a"], "Known") == "Known: a, b."
    assert name_hint("zzz", [], "Known") == "Known: none."


def test_an_interruption_knows_its_signal() -> None:
    error = Interrupted("stopped", 15)
    assert isinstance(error, TowerZooError)
    assert (str(error), error.signal_number) == ("stopped", 15)
