"""Lists of ids of different lengths, held without padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from towerzoo.datasets.vocabulary import UNKNOWN


@dataclass(frozen=True)
class IdLists:
    """Lists that take up what they hold, whatever the length of the longest.

    Attributes:
        values: int32 ids of all lists (V,).
        starts: int64 place in `values` where each list begins (N,).
        lengths: int64 ids of each list (N,).

    Example:
        >>> lists = IdLists.of(torch.tensor([7, 8, 9]), torch.tensor([1, 0, 2]))
        >>> lists.take(torch.tensor([2, 0])).padded()
        tensor([[8, 9],
                [7, 0]])
    """

    values: Tensor
    starts: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, values: Tensor, lengths: Tensor) -> IdLists:
        """Returns lists whose values come one list after the other."""
        return cls(values, lengths.cumsum(0) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: Tensor) -> IdLists:
        """Returns the lists of some rows, in their order; the values are shared."""
        return IdLists(self.values, self.starts.index_select(0, rows), self.lengths.index_select(0, rows))

    def part(self, start: int, end: int) -> IdLists:
        """Returns the lists from one row to before another, with values of their own."""
        starts, lengths = self.starts[start:end], self.lengths[start:end].clone()
        shift = starts - (lengths.cumsum(0) - lengths)
        places = shift.repeat_interleave(lengths)
        places += torch.arange(len(places), device=places.device)
        return IdLists.of(self.values.index_select(0, places), lengths)

    def followed_by(self, other: IdLists) -> IdLists:
        """Returns these lists and others behind them."""
        starts = torch.cat([self.starts, other.starts + len(self.values)])
        return IdLists(torch.cat([self.values, other.values]), starts, torch.cat([self.lengths, other.lengths]))

    def padded(self) -> Tensor:
        """Returns the lists padded to the longest with the unknown id, (N, L), L being at least 1."""
        width = max(1, int(self.lengths.max())) if len(self) else 1
        padded = self.values.new_full((len(self), width), UNKNOWN)
        held = torch.arange(width, device=padded.device) < self.lengths.unsqueeze(1)
        padded[held] = self.part(0, len(self)).values
        return padded
