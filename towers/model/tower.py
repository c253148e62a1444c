"""One tower: a table's feature columns, their encoders, and the blocks above them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from towerzoo.datasets import Column, Table
from towerzoo.registry import ENCODERS, Spec
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.towers.encoders.embedding import built_encoder
from towerzoo.towers.encoders.history import HistoryEncoder, takes_history
from towerzoo.towers.layers.blocks import built_block
from towerzoo.towers.layers.initializers import initialize


class Tower(nn.Module):
    """Maps row numbers of a table to vectors: encode each feature, concatenate, then one block a width.

    The feature columns live in the tower as buffers, so that a batch is row numbers alone. They are not part of the
    state dict: a run keeps them as tables.

    Args:
        table: The users or the items.
        features: The encoder of each feature, by name; outputs are concatenated in this order.
        block: The block that is repeated; None leaves the concatenated features as they are.
        widths: Output width of each block.
        combine: Whether the features' vectors are concatenated or, all of one length, summed.
        init: The initializer of the blocks' weight matrices, and of the encoders that take one and name none.

    Attributes:
        mlp: All blocks as one flat nn.Sequential.
        n_rows: Rows of the table.
        out_features: Length D of the tower's vectors.

    Example:
        >>> from towerzoo.datasets import Synthetic
        >>> users = Synthetic(users=5, items=9, interactions=20).load().users
        >>> features = {"gender": {"encoder": "embedding", "dim": 4}}
        >>> tower = Tower(users, features, block="linear-act-dropout", widths=[8, 2])
        >>> tower(torch.tensor([1, 5, 1])).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        table: Table,
        features: Mapping[str, Spec],
        *,
        block: Spec | None = None,
        widths: Sequence[int] = (),
        init: Spec = "torch-default",
        combine: Literal["concat", "sum"] = "concat",
    ) -> None:
        super().__init__()
        self.combine = combine
        self.n_rows = len(table)
        self.feature_names = tuple(features)
        self.encoders = nn.ModuleDict()
        for name, spec in features.items():
            column = table.history if takes_history(spec) else table.column(name)
            self.encoders[_attribute(name, "encoder")] = built_encoder(_with_init(spec, init), column)
            if isinstance(column, Column):
                self.register_buffer(_attribute(name, "column"), column.values, persistent=False)
        dims = {name: cast(int, self.encoders[_attribute(name, "encoder")].out_features) for name in features}
        if combine == "sum" and len(set(dims.values())) > 1:
            raise ConfigError(
                [Problem("the features' vectors", "of equal length to be summed", dims, "Change dims, or concat them.")]
            )
        width = sum(dims.values()) if combine == "concat" else max(dims.values(), default=0)
        layers: list[nn.Module] = []
        if block is not None:
            for out_features in widths:
                layers += built_block(block, width, out_features)
                width = out_features
        self.mlp = nn.Sequential(*layers)
        self.out_features = width
        self._compiled: Callable[..., Tensor] | None = None
        for module in self.mlp.modules():
            if isinstance(module, nn.Linear):
                initialize(init, module.weight)

    @property
    def histories(self) -> list[HistoryEncoder]:
        """The encoders of histories; with one, a row's vector depends on the training event that is scored."""
        return [encoder for encoder in self.encoders.values() if isinstance(encoder, HistoryEncoder)]

    @property
    def penalty(self) -> Tensor | float:
        """What the last training batch's vectors cost: the sum over the encoders that have a penalty."""
        costs = [encoder.cost for encoder in self.encoders.values() if getattr(encoder, "penalty", 0)]
        return sum(cast(list[Tensor], costs))

    def forward(self, rows: Tensor, events: Tensor | None = None) -> Tensor:
        """Maps table rows (B,) to vectors (B, D); the training events (B,), where given, are left out of histories."""
        if self.training and self._compiled is not None:
            apart = {
                name: self._encoded(name, encoder, rows, events)
                for name, encoder in self._features()
                if getattr(encoder, "sizes_vary", False)
            }
            return self._compiled(rows, events, apart)
        return self._vectors(rows, events, {})

    def compile_training(self, mode: str, *, dynamic: bool) -> None:
        """Lets training passes be compiled at their first batch; other passes, of other sizes, stay as they are.

        So do encoders with `sizes_vary`: with inner sizes that are others in each batch, each would be a program.

        Args:
            mode: As of torch.compile.
            dynamic: Whether one program serves all numbers of rows, in place of one for each.
        """
        self._compiled = torch.compile(self._vectors, mode=mode, dynamic=dynamic)

    def _vectors(self, rows: Tensor, events: Tensor | None, apart: Mapping[str, Tensor]) -> Tensor:
        encoded = [
            apart[name] if name in apart else self._encoded(name, encoder, rows, events)
            for name, encoder in self._features()
        ]
        return self._joined(encoded or [torch.zeros((len(rows), 0), device=rows.device)])

    def _encoded(self, name: str, encoder: nn.Module, rows: Tensor, events: Tensor | None) -> Tensor:
        history = isinstance(encoder, HistoryEncoder)
        vectors: Tensor = encoder(rows, events) if history else encoder(self._column(name, rows))
        return vectors

    def columns(self, rows: Tensor) -> dict[str, Tensor]:
        """Returns the features of table rows (B,) as `encode` takes them."""
        return {
            name: encoder.lists(rows) if isinstance(encoder, HistoryEncoder) else self._column(name, rows)
            for name, encoder in self._features()
        }

    def encode(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Maps encoded features to vectors (B, D), those of the table or of somebody new.

        In eval mode it equals `forward` of the rows whose features they are; a tower without features has nothing to
        encode, only rows.

        Args:
            columns: By feature: ids (B,), id lists (B, L) or numbers (B,); histories as of `HistoryEncoder.pool`.

        Example:
            >>> from towerzoo.datasets import Synthetic
            >>> users = Synthetic(users=5, items=9, interactions=20).load().users
            >>> tower = Tower(users, {"gender": {"encoder": "embedding", "dim": 4}})
            >>> torch.equal(tower.encode({"gender": users.columns["gender"].values}), tower(torch.arange(6)))
            True
        """
        return self._joined(
            [
                (encoder.pool if isinstance(encoder, HistoryEncoder) else encoder)(columns[name])
                for name, encoder in self._features()
            ]
        )

    def encoder(self, feature: str) -> nn.Module:
        """Returns the encoder of a feature."""
        return self.encoders[_attribute(feature, "encoder")]

    def _features(self) -> Iterator[tuple[str, nn.Module]]:
        return zip(self.feature_names, self.encoders.values(), strict=True)

    def _column(self, name: str, rows: Tensor) -> Tensor:
        values: Tensor = getattr(self, _attribute(name, "column"))
        return values.index_select(0, rows)

    def _joined(self, encoded: Sequence[Tensor]) -> Tensor:
        joined = torch.cat(list(encoded), dim=1) if self.combine == "concat" else functools.reduce(torch.add, encoded)
        vectors: Tensor = self.mlp(joined)
        return vectors


def _with_init(encoder: Spec, init: Spec) -> Spec:
    """Returns an encoder's spec with the tower's initializer, where it takes one and names none itself."""
    name, parameters = ENCODERS.split(encoder)
    if parameters.get("init") is None and any(parameter.name == "init" for parameter in ENCODERS.parameters(name)):
        parameters["init"] = init
    return {ENCODERS.key: name, **parameters}


def _attribute(feature: str, role: str) -> str:
    # The suffix keeps a feature called `type` or `items` clear of torch's own attributes. Torch forbids dots, and
    # escaping them, unlike replacing them, keeps `a.b` and `a_b` apart.
    escaped = feature.replace("%", "%25").replace(".", "%2E")
    return f"{escaped or '%'}_{role}"  # the column without a name that pandas writes
