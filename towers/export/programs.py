"""A tower as a torch.export program and, made from that, as an ONNX model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from towerzoo.datasets import Table
from towerzoo.registry.errors import ExportError
from towerzoo.towers.encoders.history import HistoryEncoder
from towerzoo.towers.export.tower import ExportedTower, Input, Side, input_of
from towerzoo.towers.model.tower import Tower

OPSET: Final = 18
"""What torch writes without a conversion after it, and what runtimes have read since 2023."""

OUTPUT: Final = "factors"


class Programs(NamedTuple):
    """An exported tower.

    Attributes:
        tower: What was exported.
        program: The torch.export program; its module takes a dictionary of the inputs.
        onnx: The ONNX model, a `torch.onnx.ONNXProgram`, with the inputs by name and one output, `factors`.
    """

    tower: ExportedTower
    program: ExportedProgram
    onnx: Any


def export_tower(tower: Tower, score: nn.Module, side: Side, table: Table) -> Programs:
    """Exports a tower and its side of the score, for batches and histories of any size.

    Args:
        tower: In eval mode, without gradients.
        score: In eval mode, without gradients.
        side: Whose tower it is.
        table: The tower's table.

    Raises:
        ExportError: A part cannot be exported; the message says which.
    """
    with _quietly():
        try:
            exported, program = trace_tower(tower, score, side, table)
        except Exception as error:  # torch and a person's own part may raise anything
            raise refusal(tower, score, side, table, error, trace) from error
        try:
            return Programs(exported, program, translate(program, exported.inputs))
        except Exception as error:  # onnxscript may, too
            told = refusal(
                tower, score, side, table, error, lambda part, inputs: translate(trace(part, inputs), inputs)
            )
            raise told from error


def trace_tower(tower: Tower, score: nn.Module, side: Side, table: Table) -> tuple[ExportedTower, ExportedProgram]:
    """Returns a tower as it is exported, and its program; rows are an input where the score makes use of them."""
    exported = ExportedTower(tower, score, side, table)
    program = trace(exported, exported.inputs)
    if tower.feature_names and exported.row not in tower.feature_names and not _uses_rows(program, exported):
        exported = ExportedTower(tower, score, side, table, takes_rows=False)
        program = trace(exported, exported.inputs)
    _forget_unused(program)
    return exported, program


def trace(module: nn.Module, inputs: Sequence[Input]) -> ExportedProgram:
    """Returns the program of a module that takes a dictionary of inputs."""
    sizes = {some.name: {at: Dim(size) for at, size in some.open_sizes.items()} for some in inputs}
    # Strict reads the parts' Python, so that len() of a batch stays open; the other way takes it for a constant.
    examples = {some.name: some.example for some in inputs}
    return torch.export.export(module, (examples,), dynamic_shapes=(sizes,), strict=True)


def translate(program: ExportedProgram, inputs: Sequence[Input]) -> Any:
    """Returns a program as an ONNX model."""
    return torch.onnx.export(
        program,
        dynamo=True,
        input_names=[some.name for some in inputs],
        output_names=[OUTPUT],
        opset_version=OPSET,
        dynamic_shapes=({some.name: some.open_sizes for some in inputs},),
        custom_translation_table=TRANSLATIONS,
        verbose=False,
    )


def _uses_rows(program: ExportedProgram, exported: ExportedTower) -> bool:
    """Whether more of the rows is used than how many they are."""
    names = dict(zip([some.name for some in exported.inputs], program.graph_signature.user_inputs, strict=True))
    assert exported.row is not None
    wanted = names[exported.row]
    (node,) = [node for node in program.graph.nodes if node.op == "placeholder" and node.name == wanted]
    return any(user.target is not torch.ops.aten.sym_size.int for user in node.users)


def _forget_unused(program: ExportedProgram) -> None:
    """Drops what only the other side of the score, or training, has a use for."""
    signature = program.graph_signature
    used = {*signature.inputs_to_parameters.values(), *signature.inputs_to_buffers.values()}
    for name in set(program.state_dict) - used:
        del program.state_dict[name]


@contextmanager
def _quietly() -> Iterator[None]:
    """Keeps from people what torch tells those who work on it."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


LONGEST = 200
"""Characters of torch's own words that a message repeats."""


def refusal(
    tower: Tower,
    score: nn.Module,
    side: Side,
    table: Table,
    error: Exception,
    export: Callable[[nn.Module, Sequence[Input]], object],
) -> ExportError:
    """Returns what to tell of a tower that could not be exported, after trying its parts one by one.

    Args:
        tower: The tower.
        score: The score.
        side: Whose tower it is.
        table: The tower's table.
        error: What exporting the whole tower raised.
        export: Exports a module that takes a dictionary of inputs.
    """
    for where, part, inputs in _parts(tower, score, side, table):
        try:
            export(part, inputs)
        except Exception as own:  # torch, onnxscript and a person's own part may raise anything
            return _told(where, type(part.part).__name__, own)
    return _told(f"{side}_tower", "its parts together", error)


class _Part(nn.Module):
    def __init__(self, part: nn.Module, call: str) -> None:
        super().__init__()
        self.part = part
        self.call = call

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Calls the part with the inputs in their order."""
        outputs: Tensor = getattr(self.part, self.call)(*inputs.values())
        return outputs


def _parts(tower: Tower, score: nn.Module, side: Side, table: Table) -> Iterator[tuple[str, _Part, list[Input]]]:
    width = 0
    for name in tower.feature_names:
        encoder = tower.encoder(name)
        call = "pool" if isinstance(encoder, HistoryEncoder) else "forward"
        yield f"{side}_tower.features.{name}", _Part(encoder, call), [input_of(tower, table, name)]
        out = int(encoder.out_features)  # type: ignore[arg-type]
        width = width + out if tower.combine == "concat" else out
    vectors = torch.zeros(2, width)
    for layer in tower.mlp:
        yield f"{side}_tower.block", _Part(layer, "forward"), [Input("vectors", "number", length=vectors.shape[1])]
        vectors = layer(vectors)
    inputs = [Input("vectors", "number", length=vectors.shape[1]), Input("rows", "id")]
    yield "score", _Part(score, f"{side}_factors"), inputs


def _told(where: str, found: str, error: BaseException) -> ExportError:
    while error.__cause__ is not None:
        error = error.__cause__
    reason = " ".join(str(error).split("\n", 1)[0].split()).removesuffix(".") or type(error).__name__
    shortened = reason if len(reason) <= LONGEST else f"{reason[: LONGEST - 3]}..."
    return ExportError(
        f"{where} must be a part that torch.export and ONNX can hold, got {found}: {shortened}. "
        "Let it compute by operators of torch on whole tensors, or train without it."
    )


def searchsorted(
    sorted_sequence: Any, values: Any, out_int32: bool = False, right: bool = False, side: str | None = None
) -> Any:
    """Counts the numbers of an ascending sequence (K,) that are below values (B,), or not above them, in (B, K)."""
    from onnxscript import INT32, INT64, opset18

    op: Any = opset18
    last = op.Constant(value_ints=[-1])
    compare = op.LessOrEqual if right or side == "right" else op.Less
    below = compare(sorted_sequence, op.Unsqueeze(values, last))
    counted = op.Cast(below, to=INT32.dtype if out_int32 else INT64.dtype)
    return op.ReduceSum(counted, last, keepdims=False)


TRANSLATIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {torch.ops.aten.searchsorted.Tensor: searchsorted}
"""ONNX has no operator that searches; few numbers are counted as fast."""
