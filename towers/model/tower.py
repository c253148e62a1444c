"""One tower: a table's features, their encoders, and the blocks above them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from towerzoo.datasets import Table
from towerzoo.datasets.history import History
from towerzoo.registry import ENCODERS, Spec
from towerzoo.registry.errors import ConfigError, Problem
from towerzoo.towers.encoders import AsOf, Encoder, built_encoder, reads_events
from towerzoo.towers.layers.blocks import built_block
from towerzoo.towers.layers.initializers import initialize


class Tower(nn.Module):
    """Maps rows of a table to vectors: encode each feature, concatenate, then one block a width.

    The encoders hold the feature columns, so a batch is only row numbers. Columns are not part of the state dict: a run
    keeps them as tables.

    Args:
        table: The users or the items.
        features: The encoder of each feature, by name; outputs are concatenated in this order.
        block: The block that is repeated; None adds no layers to the combined features.
        widths: Output width of each block.
        combine: `concat` or `sum`; to be summed, the features' vectors must have one length.
        init: The initializer of the blocks' weight matrices, and of encoders that take one and name none.

    Attributes:
        feature_names: The features, in order.
        encoders: Their encoders, in order.
        mlp: All blocks as one flat nn.Sequential.
        n_rows: Rows of the table.
        out_features: Length D of the tower's vectors.
        reads_events: Whether an encoder reads users' events; a row's vector then depends on the event that is scored.

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
        self.reads_events = any(map(reads_events, features.values()))
        self.encoders = nn.ModuleList(
            built_encoder(
                _with_init(spec, init), cast(History, table.history) if reads_events(spec) else table.column(name)
            )
            for name, spec in features.items()
        )
        dims = {name: encoder.out_features for name, encoder in self.features()}
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

    def features(self) -> Iterator[tuple[str, Encoder]]:
        """Yields each feature's name and encoder."""
        return zip(self.feature_names, cast("Sequence[Encoder]", self.encoders), strict=True)

    def encoder(self, feature: str) -> Encoder:
        """Returns the encoder of a feature."""
        return dict(self.features())[feature]

    @property
    def penalty(self) -> Tensor | float:
        """The sum of the encoders' penalties on the last training batch."""
        return sum(encoder.cost for _, encoder in self.features() if encoder.penalty)

    def forward(self, rows: Tensor, events: Tensor | None = None, as_of: AsOf = "valid") -> Tensor:
        """Maps table rows (B,) to vectors (B, D).

        Args:
            rows: Rows of the table (B,).
            events: The scored training events (B,), which histories leave out.
            as_of: Which events histories contain, see `Encoder.inputs`.
        """
        if self.training and self._compiled is not None:
            apart = {
                name: encoder.encode_rows(rows, events, as_of)
                for name, encoder in self.features()
                if encoder.sizes_vary
            }
            return self._compiled(rows, events, as_of, apart)
        return self._vectors(rows, events, as_of, {})

    def compile_training(self, mode: str, *, dynamic: bool) -> None:
        """Compiles training passes at their first batch; other passes are not compiled.

        Encoders with `sizes_vary` are not compiled either: every batch would need its own program.

        Args:
            mode: As of torch.compile.
            dynamic: Whether one program serves any number of rows.
        """
        self._compiled = torch.compile(self._vectors, mode=mode, dynamic=dynamic)

    def _vectors(self, rows: Tensor, events: Tensor | None, as_of: AsOf, apart: Mapping[str, Tensor]) -> Tensor:
        encoded = [
            apart[name] if name in apart else encoder.encode_rows(rows, events, as_of)
            for name, encoder in self.features()
        ]
        return self._combined(encoded or [torch.zeros((len(rows), 0), device=rows.device)])

    def inputs(self, rows: Tensor, as_of: AsOf = "test") -> dict[str, Tensor]:
        """Returns the features of table rows (B,), by name, as `encode` takes them."""
        return {name: encoder.inputs(rows, as_of=as_of) for name, encoder in self.features()}

    def encode(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Maps encoded features, of the table or of a new user or item, to vectors (B, D).

        In eval mode it equals `forward` of the rows with these features. A tower without features can only take rows.

        Args:
            inputs: Values by feature, as its encoder takes them.

        Example:
            >>> from towerzoo.datasets import Synthetic
            >>> users = Synthetic(users=5, items=9, interactions=20).load().users
            >>> tower = Tower(users, {"gender": {"encoder": "embedding", "dim": 4}})
            >>> torch.equal(tower.encode({"gender": users.columns["gender"].values}), tower(torch.arange(6)))
            True
        """
        return self._combined([encoder(inputs[name]) for name, encoder in self.features()])

    def _combined(self, encoded: Sequence[Tensor]) -> Tensor:
        whole = torch.cat(list(encoded), dim=1) if self.combine == "concat" else functools.reduce(torch.add, encoded)
        vectors: Tensor = self.mlp(whole)
        return vectors


def _with_init(encoder: Spec, init: Spec) -> Spec:
    """Returns an encoder's spec with the tower's initializer, if the encoder takes one and names none."""
    name, parameters = ENCODERS.split(encoder)
    if parameters.get("init") is None and any(parameter.name == "init" for parameter in ENCODERS.parameters(name)):
        parameters["init"] = init
    return {ENCODERS.key: name, **parameters}
