import pytest

from towerzoo.benchmarks.peers.turns import in_turn
from towerzoo.registry.errors import PeerError


def test_systems_take_turns_and_the_warm_up_does_not_count():
    calls = []

    def run(name):
        return lambda: calls.append(name) or float(len(calls))

    values = in_turn({"a": run("a"), "b": run("b")}, rounds=2, failed=pytest.fail)
    assert calls == ["a", "b"] * 3
    assert values == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_without_a_warm_up():
    assert in_turn({"a": iter([1.0, 2.0]).__next__}, rounds=2, warm_up=False, failed=pytest.fail) == {"a": [1.0, 2.0]}


def test_one_fails_and_the_others_go_on():
    told, calls = [], []

    def dies():
        calls.append(1)
        if len(calls) > 2:
            raise PeerError("gone")
        return 1.0

    values = in_turn(
        {"a": dies, "b": lambda: 2.0}, rounds=3, failed=lambda name, error: told.append((name, str(error)))
    )
    assert values == {"b": [2.0, 2.0, 2.0]}
    assert told == [("a", "gone")]
