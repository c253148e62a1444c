"""A tower and its side of the score as a torch.export program and, made from that, as an ONNX model."""

from __future__ import annotations

import logging
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from towerzoo.datasets import Table
from towerzoo.registry.errors import ExportError
from towerzoo.towers.encoders.inputs import Input
from towerzoo.towers.model.tower import Tower

Side = Literal["user", "item"]
SIDES: Final[tuple[Side, Side]] = ("user", "item")

OPSET: Final = 18
"""torch writes this version without converting the model, and runtimes have read it since 2023."""

OUTPUT: Final = "factors"
LONGEST_REASON: Final = 200


class ExportedTower(nn.Module):
    """Maps encoded features to factors; dot products with the other side's factors are the logits.

    Args:
        tower: In eval mode.
        score: In eval mode.
        side: Which tower it is.
        table: The tower's table.
        takes_rows: Whether row numbers are an input, as a score with biases requires.

    Attributes:
        inputs: The inputs of `forward`.
        row: Name of the input of row numbers, if there is one.
    """

    def __init__(self, tower: Tower, score: nn.Module, side: Side, table: Table, *, takes_rows: bool = True) -> None:
        super().__init__()
        self.side = side
        self.table = table
        self.tower = tower
        self.score = score
        self.inputs = tuple(encoder.export_input(name) for name, encoder in tower.features())
        rows = [spec for spec in self.inputs if spec.name == table.key and spec.kind == "id"]
        if not rows and (takes_rows or not self.inputs):
            name = table.key
            while name in tower.feature_names:  # a history may be called like the key
                name += "_row"
            rows = [Input(name, "id", vocabulary=table.key)]
            self.inputs = (*self.inputs, *rows)
        self.row = rows[0].name if rows else None

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Maps inputs by name to factors (B, F)."""
        first = inputs[self.inputs[0].name]
        rows = first.new_zeros(first.shape[0], dtype=torch.int64) if self.row is None else inputs[self.row]
        vectors = self.tower.encode(inputs) if self.tower.feature_names else self.tower(rows)
        factors: Tensor = getattr(self.score, f"{self.side}_factors")(vectors, rows)
        return factors


class Programs(NamedTuple):
    """An exported tower.

    Attributes:
        tower: The module that was exported.
        program: The torch.export program; its module takes a dictionary of the inputs.
        onnx: The ONNX model, a `torch.onnx.ONNXProgram`, with named inputs and one output, `factors`.
    """

    tower: ExportedTower
    program: ExportedProgram
    onnx: Any


def export_tower(tower: Tower, score: nn.Module, side: Side, table: Table) -> Programs:
    """Exports a tower and its side of the score, for batches and histories of any size.

    Args:
        tower: In eval mode, without gradients.
        score: In eval mode, without gradients.
        side: Which tower it is.
        table: The tower's table.

    Raises:
        ExportError: torch cannot export a part of the tower or the score; the message gives torch's reason.
    """
    with _quiet_exporter():
        try:
            exported, program = trace_tower(tower, score, side, table)
            return Programs(exported, program, _to_onnx(program, exported))
        except Exception as error:  # torch, onnxscript and a custom part may raise anything
            raise ExportError(
                f"The {side} tower cannot be exported. {_reason_of(error)}. "
                "Compute with torch operators on whole tensors there, or train without that part."
            ) from error


def trace_tower(tower: Tower, score: nn.Module, side: Side, table: Table) -> tuple[ExportedTower, ExportedProgram]:
    """Returns the module to export and its program; row numbers are an input only if the score uses them."""
    exported = ExportedTower(tower, score, side, table)
    program = _trace(exported)
    if tower.feature_names and exported.row not in tower.feature_names and not _uses_rows(program, exported):
        exported = ExportedTower(tower, score, side, table, takes_rows=False)
        program = _trace(exported)
    _drop_unused_state(program)
    return exported, program


def _trace(exported: ExportedTower) -> ExportedProgram:
    sizes = {spec.name: {dim: Dim(size) for dim, size in spec.open_sizes.items()} for spec in exported.inputs}
    examples = {spec.name: spec.example for spec in exported.inputs}
    # Strict mode reads the Python of the parts, so len() of a batch stays dynamic; otherwise it becomes a constant.
    return torch.export.export(exported, (examples,), dynamic_shapes=(sizes,), strict=True)


def _to_onnx(program: ExportedProgram, exported: ExportedTower) -> Any:
    return torch.onnx.export(
        program,
        dynamo=True,
        input_names=[spec.name for spec in exported.inputs],
        output_names=[OUTPUT],
        opset_version=OPSET,
        dynamic_shapes=({spec.name: spec.open_sizes for spec in exported.inputs},),
        custom_translation_table=TRANSLATIONS,
        verbose=False,
    )


def _uses_rows(program: ExportedProgram, exported: ExportedTower) -> bool:
    """Whether the graph reads the row numbers, and not only how many there are."""
    names = dict(zip([spec.name for spec in exported.inputs], program.graph_signature.user_inputs, strict=True))
    assert exported.row is not None
    (rows,) = [node for node in program.graph.find_nodes(op="placeholder") if node.name == names[exported.row]]
    return any(user.target is not torch.ops.aten.sym_size.int for user in rows.users)


def _drop_unused_state(program: ExportedProgram) -> None:
    """Drops tensors that only training or the other side of the score needs."""
    signature = program.graph_signature
    used = {*signature.inputs_to_parameters.values(), *signature.inputs_to_buffers.values()}
    for name in set(program.state_dict) - used:
        del program.state_dict[name]


def _reason_of(error: BaseException) -> str:
    """Returns the first line of torch's reason and, if torch gives it, the line of code."""
    code = re.findall(r'File "(.+)", line (\d+), in .*\n\s*(.+)', str(error))
    while error.__cause__ is not None:
        error = error.__cause__
    first, *_ = str(error).split("\n", 1)
    reason = textwrap.shorten(first, LONGEST_REASON, placeholder="...").removesuffix(".") or type(error).__name__
    return "{} ({}:{}: {})".format(reason, *code[-1]) if code else reason


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silences warnings and logs that are meant for developers of torch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def searchsorted(
    sorted_sequence: Any, values: Any, out_int32: bool = False, right: bool = False, side: str | None = None
) -> Any:
    """Translates `torch.searchsorted`: counts how many numbers of an ascending sequence (K,) lie below values (B,).

    ONNX has no search operator. This compares all pairs (B, K), which is as fast for the few boundaries of a feature.
    """
    from onnxscript import INT32, INT64, opset18

    op: Any = opset18
    last = op.Constant(value_ints=[-1])
    compare = op.LessOrEqual if right or side == "right" else op.Less
    below = compare(sorted_sequence, op.Unsqueeze(values, last))
    counted = op.Cast(below, to=INT32.dtype if out_int32 else INT64.dtype)
    return op.ReduceSum(counted, last, keepdims=False)


TRANSLATIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {torch.ops.aten.searchsorted.Tensor: searchsorted}
