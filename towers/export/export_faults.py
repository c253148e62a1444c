"""Which part of a tower cannot be exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from towerzoo.datasets import Table
from towerzoo.registry.errors import ExportError
from towerzoo.towers.encoders.history import HistoryEncoder
from towerzoo.towers.export.tower import Input, Side, input_of
from towerzoo.towers.model.tower import Tower

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
