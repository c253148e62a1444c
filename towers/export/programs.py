"""A tower as a torch.export program and, made from that, as an ONNX model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from towerzoo.datasets import Table
from towerzoo.towers.export.export_faults import refusal
from towerzoo.towers.export.export_operators import TRANSLATIONS
from towerzoo.towers.export.tower import ExportedTower, Input, Side
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
