# ruff: noqa: E501  (whole messages, in tables)
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from towerzoo.registry.yaml_file import Document, dotted, read_yaml, write_yaml


def read(text: str) -> Any:
    document = read_yaml(text, "m.yaml")
    assert document.problems == []
    return document.value


def lines(document: Document) -> dict[str, int]:
    return {dotted(path): origin.line for path, origin in document.origins.items()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E3", 1000.0), (".5", 0.5), ("1.", 1.0), ("-2.5e+2", -250.0), (".inf", math.inf),
        ("-.Inf", -math.inf), (".nan", math.nan), ("0", 0), ("+7", 7), ("-0", 0), ("0x1F", 31), ("0o17", 15), ("0.07", 0.07),
        ("true", True), ("False", False), ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("~", None), ("null", None), ("", None), ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("2026-01-01", "2026-01-01"),
        ("'010'", "010"), ("!!str 010", "010"), ("!!int 3", 3), ("<<", "<<"), ("0b1", "0b1"), ("1e", "1e"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    actual = read(f"a: {text}")["a"]
    assert (type(actual), repr(actual)) == (type(value), repr(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "m.yaml:3: a must be given once, got 'a'.\n    It is given in line 1 already; remove one."),
        ("x:\n  <<: {}\n  <<: {}", "m.yaml:3: x.<< must be given once, got '<<'.\n    It is given in line 2"),
        ("a: 010", "m.yaml:1: a must be a number without leading zeros, got '010'.\n    Write 10, or put it in quotes"),
        ("a: [-007]", "m.yaml:1: a[0] must be a number without leading zeros, got '-007'.\n    Write -7,"),
        ("a: !!int x", "m.yaml:1: a must be plain YAML without tags, got '!!int'.\n    Remove the tag."),
        ("a: !!set {x}", "m.yaml:1: a must be plain YAML without tags, got '!!set'."),
        ("a: !mine x", "m.yaml:1: a must be plain YAML without tags, got '!mine'."),
        ("a:\n  - &l [*l]", "m.yaml:1 must be valid YAML, got 'a:'.\n    Maximum recursion depth exceeded"),
        ("a:\n  <<: 3", "m.yaml:2 must be valid YAML, got '<<: 3'.\n    Expected a mapping or list of mappings for merging, but found"),
        ("a:\n  1: 2", "m.yaml:2: a must be a mapping with text keys, got '1'.\n    Put the key in quotes if it is text."),
        ("a:\n  ? [k]\n  : 2", "m.yaml:2: a must be a mapping with text keys, got 'a list or mapping'."),
        ("a: 1\nb: [1, 2\n\n", "m.yaml:2 must be valid YAML, got 'b: [1, 2'.\n    Expected ',' or ']', but got"),
        ("a: 1\n b: 2", "m.yaml:2 must be valid YAML, got 'b: 2'.\n    Mapping values are not allowed here. Check"),
        ("a: *no", "m.yaml:1 must be valid YAML, got 'a: *no'.\n    Found undefined alias 'no'. Check indentation, quotes"),
        ("a: 1\n---\nb: 1", "m.yaml:2 must be valid YAML, got '---'.\n    Expected a single document in the stream but"),
    ],
)  # fmt: skip
def test_texts_that_are_refused(text: str, message: str) -> None:
    problems = read_yaml(text, "m.yaml").problems
    assert [str(problem)[: len(message)] for problem in problems] == [message]


def test_tags_that_would_run_code_run_nothing(tmp_path: Any) -> None:
    target = tmp_path / "made"
    document = read_yaml(f"a: !!python/object/apply:os.system ['touch {target}']", "m.yaml")
    assert document.value == {}
    assert document.unread == {("a",)}
    assert "must be plain YAML without tags, got '!!python/object/apply:os.system'" in str(document.problems[0])
    assert not target.exists()


def test_a_text_of_one_value_gives_no_lines() -> None:
    document = read_yaml("\n{b: 010}", "--set", under=("seed",))
    assert str(document.problems[0]).startswith("--set: seed.b must be a number without leading zeros")
    assert str(document.origins["seed", "b"]) == "--set"
    (problem,) = read_yaml("[", "--set", under=("seed",)).problems
    assert str(problem).startswith("--set: seed must be valid YAML, got '['.")


def test_every_value_has_the_line_of_its_key_or_of_itself_in_a_list() -> None:
    document = read_yaml("a:\n  b: [1,\n   2]\n  c:\n    x\n", "m.yaml")
    assert lines(document) == {"": 1, "a": 1, "a.b": 2, "a.b[0]": 2, "a.b[1]": 3, "a.c": 4}
    assert document.where(("a", "b", 1)) == "m.yaml:3: a.b[1]"
    assert document.where(("a", "missing", "more")) == "m.yaml:1: a.missing.more"
    assert Document().where(("a",)) == "a"


def test_aliases_are_copies_with_the_line_of_the_original() -> None:
    document = read_yaml("a: &x\n  k: [1]\nb: *x", "m.yaml")
    assert document.value == {"a": {"k": [1]}, "b": {"k": [1]}}
    assert document.value["a"]["k"] is not document.value["b"]["k"]
    assert lines(document) == {"": 1, "a": 1, "a.k": 2, "a.k[0]": 2, "b": 3, "b.k": 2, "b.k[0]": 2}


def test_a_problem_that_an_alias_repeats_is_reported_once() -> None:
    assert len(read_yaml("a: &x {k: 010}\nb: *x\nc: {<<: *x}", "m.yaml").problems) == 1


MERGES = """\
one: &one {a: 1, shared: {x: 1}}
two: &two {a: 2, b: 2}
both:
  shared: {y: 9}
  <<: [*one, *two]
  b: 3
"""


def test_keys_of_the_mapping_win_over_merged_ones_and_earlier_ones_over_later_ones() -> None:
    document = read_yaml(MERGES, "m.yaml")
    assert document.value["both"] == yaml.safe_load(MERGES)["both"] == {"a": 1, "b": 3, "shared": {"y": 9}}
    both = {key: line for key, line in lines(document).items() if key.startswith("both")}
    assert both == {"both": 3, "both.a": 1, "both.b": 6, "both.shared": 4, "both.shared.y": 4}


def test_a_mapping_may_merge_one_of_its_own_values() -> None:
    assert read("a: &x {p: 1}\n<<: *x") == {"a": {"p": 1}, "p": 1}


@pytest.mark.parametrize(
    ("text", "value"), [("", None), ("# a remark\n", None), ("- 1\n", [1]), ("\ufeffa: 1", {"a": 1})]
)
def test_texts_without_a_mapping_and_with_a_byte_order_mark(text: str, value: Any) -> None:
    assert read(text) == value


TRICKY = st.sampled_from(
    ["1e-3", "08", "010", "-007", "yes", "null", "0x1F", "0o7", ".inf", "12:30", "2026-01-01", "<<", "=", "1_0"]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8) | TRICKY
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXTS, v, max_size=3), max_leaves=8)


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.booleans())
@example({"1e-3": "1e-3", "08": "08"}, False)
@settings(max_examples=150, deadline=None)
def test_written_yaml_is_read_back_here_and_by_readers_of_yaml_1_1(value: dict[str, Any], inline: bool) -> None:
    text = write_yaml(value, inline=inline)
    assert repr(read(text)) == repr(value)
    assert repr(yaml.safe_load(text)) == repr(value)


def test_equal_values_are_written_out_and_paths_as_text() -> None:
    shared = {"k": [Path("x/y")]}
    assert write_yaml({"a": shared, "b": shared}) == "a:\n  k:\n  - x/y\nb:\n  k:\n  - x/y\n"
