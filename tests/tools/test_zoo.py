from __future__ import annotations

from typing import Annotated, Literal

import pytest

from towerzoo.registry import CATALOGUE, POOLINGS
from towerzoo.registry.config import shipped_configs
from towerzoo.registry.ranges import Count
from towerzoo.tools.zoo import main

KINDS = [(kind, name) for kind, registry in CATALOGUE.items() for name in registry.names()]


@pytest.fixture(scope="module")
def everything(invoke) -> list[str]:
    result = invoke(main)
    assert result.exit_code == 0
    return result.output.splitlines()


def section(lines: list[str], kind: str) -> list[str]:
    start = lines.index(kind)
    end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
    return lines[start + 1 : end]


def test_all_kinds_are_listed_in_order(everything):
    assert [line for line in everything if not line.startswith(" ")] == [*CATALOGUE, "configs"]


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_every_part_is_listed_with_its_description_and_parameters(everything, kind, name):
    lines = section(everything, kind)
    registry = CATALOGUE[kind]
    start = lines.index(f"  {name}: {registry.describe(name)}")
    own = [parameter.name for parameter in registry.parameters(name)]
    end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith("      ")), len(lines))
    listed = lines[start + 1 : end]
    assert [line.split()[0] for line in listed if line[6] != " "] == own, "deeper ones are keys of a parameter"
    assert all(line.endswith(")") for line in listed)


@pytest.mark.parametrize(("kind", "registry"), CATALOGUE.items())
def test_every_kind_tells_its_contract(everything, kind, registry):
    assert section(everything, kind)[0] == f"  Each is {registry.contract}."


@pytest.mark.parametrize("file", shipped_configs(), ids=lambda file: file.stem)
def test_every_shipped_config_is_listed_with_its_first_comment(everything, file):
    (line,) = (line for line in section(everything, "configs") if line.startswith(f"  {file.stem}: "))
    assert f"# {line.partition(': ')[2]}" == file.read_text().splitlines()[0]


def test_the_keys_of_a_parameter_are_listed_below_it(everything):
    lines = section(everything, "datasets")
    start = lines.index("      interactions (a mapping with files; required)")
    assert lines[start + 1] == "          files (text; required)"
    assert "          user (text; default 'user_id')" in lines[start + 2 :]


def test_only_the_kinds_asked_for(invoke):
    lines = invoke(main, "losses", "configs").output.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["losses", "configs"]


@pytest.mark.parametrize("kind", ["losses", "indexes"])
def test_a_kind_without_parts_says_so(invoke, monkeypatch, kind):
    monkeypatch.setattr(CATALOGUE[kind], "_parts", {})
    assert "  none yet" in invoke(main, kind).output


def test_an_unknown_kind_is_told_with_the_nearest(invoke):
    result = invoke(main, "blocks", "pooling")
    assert result.exit_code == 1
    assert "error: KINDS must be kinds of parts, got 'pooling'. Did you mean 'poolings'? Kinds: " in result.output
    assert "blocks\n" not in result.output


def part(
    required: int,
    count: Count = 3,
    share: Annotated[float, "no range"] = 0.5,
    kind: Literal["a", "b"] = "a",
    names: list[str] | None = None,
    pooling: Annotated[str, POOLINGS] = "mean",
    flag: bool = True,
    anything=None,
) -> None:
    """A part with every type of parameter."""


@pytest.mark.parametrize(
    "line",
    [
        "required (a whole number; required)",
        "count (a whole number >= 1; default 3)",
        "share (a number; default 0.5)",
        "kind ('a' or 'b'; default 'a')",
        "names (a list or null; default null)",
        "pooling (the name of a registered pooling, or a mapping with 'name'; default 'mean')",
        "flag (true or false; default true)",
        "anything (any value; default null)",
    ],
)
def test_types_are_told_as_a_yaml_writer_calls_them(invoke, monkeypatch, line):
    monkeypatch.setattr(CATALOGUE["losses"], "_parts", {})
    CATALOGUE["losses"].register("part")(part)
    assert f"      {line}" in invoke(main, "losses").output.splitlines()
