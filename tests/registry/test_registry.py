from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from towerzoo.registry import LOSSES
from towerzoo.registry.errors import DataError, InvalidSetting, PartError, RegistryError
from towerzoo.registry.ranges import Count
from towerzoo.registry.registry import REQUIRED, Registry, registry_of

if TYPE_CHECKING:
    from decimal import Decimal


@pytest.fixture
def blocks() -> Registry:
    return Registry("block", "called with in_features, and returns a layer", context=("in_features",))


def layer(
    in_features: int, *, width: Count = 4, copy: bool = False, schema: str = "s", _x: Any = None
) -> tuple[Any, ...]:
    """A layer of a width.

    And more about it.
    """
    return in_features, width, copy, schema, _x


class Layer:
    def __init__(self, in_features: int, *, width: Count) -> None:
        self.shape = (in_features, width)


def test_a_part_is_registered_unchanged_found_described_and_built(blocks: Registry) -> None:
    assert blocks.register("layer")(layer) is layer
    assert blocks.register("a-class")(Layer) is Layer
    assert blocks.get("layer") is layer
    assert blocks.names() == tuple(blocks) == ("a-class", "layer")
    assert "layer" in blocks
    assert "other" not in blocks
    assert ["layer"] not in blocks
    assert blocks.describe("layer") == "A layer of a width."
    assert blocks.describe("a-class") == "(no docstring)"
    assert blocks.build("layer", in_features=3) == (3, 4, False, "s", None)
    assert blocks.build({"name": "layer", "copy": True, "_x": 1}, in_features=3) == (3, 4, True, "s", 1)
    assert blocks.build({"name": "a-class", "width": 2}, in_features=3).shape == (3, 2)


def test_parameters_are_the_signature_without_context_and_with_evaluated_annotations(blocks: Registry) -> None:
    blocks.register("layer")(layer)
    blocks.register("a-class")(Layer)
    assert [(p.name, p.annotation, p.default) for p in blocks.parameters("layer")] == [
        ("width", Count, 4), ("copy", bool, False), ("schema", str, "s"), ("_x", Any, None),
    ]  # fmt: skip
    assert [(p.annotation, p.default) for p in blocks.parameters("a-class")] == [(Count, REQUIRED)]


def test_parameters_of_partial_and_open_parts(blocks: Registry) -> None:
    def takes_anything(**parameters: Any) -> dict[str, Any]:
        return parameters

    blocks.register("partial")(functools.partial(layer, schema="t"))
    blocks.register("open")(takes_anything)
    assert blocks.build("partial", in_features=1) == (1, 4, False, "t", None)
    assert blocks.parameters("open") == ()
    assert [blocks.takes_any(name) for name in ("open", "partial")] == [True, False]
    assert blocks.build({"name": "open", "depth": 2}, in_features=1) == {"in_features": 1, "depth": 2}


def test_types_for_type_checkers_only_are_fine_for_context_and_refused_for_parameters(blocks: Registry) -> None:
    def context_only(in_features: Decimal, *, width: int = 1) -> None: ...
    def parameter(in_features: int, *, width: Decimal) -> None: ...

    blocks.register("fine")(context_only)
    blocks.register("refused")(parameter)
    assert [p.annotation for p in blocks.parameters("fine")] == [int]
    message = r"test_registry.py:\d+: the annotations of .*parameter must be types .*, got NameError"
    with pytest.raises(RegistryError, match=message):
        blocks.parameters("refused")


def test_a_second_registration_names_both_lines(blocks: Registry) -> None:
    blocks.register("layer")(layer)
    message = (
        r"test_registry.py:\d+: block name must be new, got 'layer'. "
        r"It is registered already at .*test_registry.py:\d+; choose another name."
    )
    with pytest.raises(RegistryError, match=message):
        blocks.register("layer")(Layer)
    assert blocks.get("layer") is layer


CELL = """
@blocks.register("mine")
def {name}(in_features): ...
"""


def test_a_cell_of_a_notebook_may_run_again(blocks: Registry) -> None:
    notebook = {"__name__": "__main__", "blocks": blocks}
    exec(CELL.format(name="mine"), notebook)
    exec(CELL.format(name="mine"), notebook)
    assert blocks.get("mine") is notebook["mine"]
    with pytest.raises(RegistryError, match="block name must be new, got 'mine'"):
        exec(CELL.format(name="other"), notebook)


def needs_other_names(features: int) -> None: ...
def positional(in_features: int, width: int = 1, /) -> None: ...
def takes_name(in_features: int, *, name: str) -> None: ...


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (needs_other_names, "must be callable with in_features, got a signature without in_features. "
                            "The block is called with in_features, and returns a layer."),
        (positional, r"must be callable with keywords other than 'name', got \(in_features: .*Rename in_features"),
        (takes_name, r"must be callable with keywords other than 'name', got \(in_features: .*Rename name"),
    ],
)  # fmt: skip
def test_parts_that_cannot_be_called_are_refused(blocks: Registry, part: Any, message: str) -> None:
    with pytest.raises(RegistryError, match=rf"test_registry.py:\d+: block 'x' {message}"):
        blocks.register("x")(part)
    assert blocks.names() == ()


def test_a_decorator_without_brackets_is_refused(blocks: Registry) -> None:
    with pytest.raises(RegistryError, match=r"block name must be text, got <function .*@BLOCKS.register\('a-name'\)"):
        blocks.register(layer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("layr", "block must be a registered block, got 'layr'. Did you mean 'layer'\\? Registered: layer."),
        ({"name": ["layer"]}, r"block must be a registered block, got \['layer'\]"),
        ({"width": 3}, "block must be the name of a registered block, or a mapping with 'name', got {'width': 3}. Reg"),
        (None, "block must be the name of a registered block, or a mapping with 'name', got None. Registered: layer"),
    ],
)
def test_specs_that_name_no_part_are_refused(blocks: Registry, spec: Any, message: str) -> None:
    blocks.register("layer")(layer)
    with pytest.raises(RegistryError, match=message):
        blocks.build(spec, in_features=1)


def raises(in_features: int, divisor: float = 1) -> float:
    return in_features / divisor


def test_an_error_inside_a_part_is_reported_with_its_line(blocks: Registry) -> None:
    blocks.register("mine")(raises)
    line = raises.__code__.co_firstlineno + 1
    message = (
        rf"test_registry\.py:{line}: block 'mine' must be built with {{'divisor': 0}} without an error, got "
        r"ZeroDivisionError: division by zero\.\n    --debug shows the traceback\. "
        r"The block is called with in_features, and returns a layer\."
    )
    with pytest.raises(PartError, match=message):
        blocks.build({"name": "mine", "divisor": 0}, in_features=1)
    assert blocks.build("mine", in_features=1) == 1


def test_an_error_is_reported_by_the_first_line_of_its_text(blocks: Registry) -> None:
    def mine(in_features: int) -> None:
        raise ValueError("too large\nframe #0: c10::Error")

    blocks.register("mine")(mine)
    with pytest.raises(PartError, match=r"block 'mine' must be built without an error, got ValueError: too large\.\n"):
        blocks.build("mine", in_features=1)


def test_errors_of_towerzoo_pass(blocks: Registry) -> None:
    def mine(in_features: int) -> None:
        raise DataError("no such file")

    blocks.register("mine")(mine)
    with pytest.raises(DataError, match=r"^no such file$"):
        blocks.build("mine", in_features=1)


def odd_default(in_features: int, sizes: Any = ({"a": [1, len]},)) -> None: ...
def plain_defaults(in_features: int, sizes: Any = ({"a": [1, None]}, "b", 2.5, True)) -> None: ...


def test_defaults_that_no_config_can_hold_are_refused(blocks: Registry) -> None:
    blocks.register("plain")(plain_defaults)
    with pytest.raises(RegistryError, match=r"block 'odd' must have defaults that YAML can hold, got sizes=\(.*len"):
        blocks.register("odd")(odd_default)
    assert blocks.names() == ("plain",)


def noted(in_features: int, width: "how wide it is" = 3) -> None: ...  # type: ignore[syntax]  # noqa: F722


def test_annotations_that_are_no_types(blocks: Registry) -> None:
    blocks.register("noted")(noted)
    with pytest.raises(
        RegistryError,
        match=r"the annotations of noted must be types .*, got SyntaxError: .*how wide",
    ):
        blocks.parameters("noted")


def test_forgetting_a_module_removes_its_parts_only(blocks: Registry) -> None:
    blocks.register("layer")(layer)
    blocks.register("partial")(functools.partial(layer))
    blocks.forget("another")
    assert blocks.names() == ("layer", "partial")
    blocks.forget(__name__)
    assert "layer" not in blocks


class OfCandidates:
    of_candidates = True

    def __init__(self, *, sampler: str, margin: float = 1.0) -> None:
        raise AssertionError("must not be built")


def test_facts_of_a_part_are_known_without_building_it() -> None:
    losses = Registry("loss", "called without context")
    losses.register("mine")(OfCandidates)
    spec = {"name": "mine", "sampler": "uniform"}
    facts = [losses.fact(spec, name) for name in ("sampler", "margin", "of_candidates", "sparse")]
    assert facts == ["uniform", 1.0, True, None]
    assert losses.fact("mine", "margin") == 1.0
    assert losses.fact("mine", "sparse", False) is False
    with pytest.raises(InvalidSetting):
        losses.fact("mine", "sampler")
    with pytest.raises(RegistryError, match="loss must be a registered loss, got 'yours'"):
        losses.fact("yours", "sampler")


def test_parts_of_a_session_are_those_that_neither_towerzoo_nor_a_file_of_imports_registers(blocks: Registry) -> None:
    blocks.register("layer")(layer)
    assert blocks.of_session("layer")
    assert not LOSSES.of_session(LOSSES.names()[0])


def test_the_registry_in_an_annotation(blocks: Registry) -> None:
    assert registry_of(Annotated[str, "text", blocks]) is blocks
    assert registry_of(Annotated[str, "text"]) is None
    assert registry_of(str) is None
