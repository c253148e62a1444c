"""The user tower's vectors of people: of known users, and of new ones by what is told of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from towerzoo.datasets import UNKNOWN
from towerzoo.datasets.history import History
from towerzoo.towers.encoders.history import NO_EVENT, HistoryEncoder
from towerzoo.towers.model.tower import Tower
from towerzoo.towers.recommend.people import Person


class PersonVectors:
    """Encodes people without training.

    Features that are told take the place of those of the users table. Items that are told as liked or disliked become
    the latest events of a history, each of the kind that most positive, or most other, events are of; those that were
    not there in training are events with the unknown item.

    Args:
        tower: The user tower, in eval mode.
        history: The histories that the tower was built with, if any.
        label: The labels of all events (N,).
    """

    def __init__(self, tower: Tower, history: History | None, label: Tensor) -> None:
        self.tower = tower
        self._kinds = {
            encoder.by: tuple(_usual_kind(history, encoder.by, label, positive) for positive in (True, False))
            for encoder in tower.histories
            if history is not None and encoder.by != "item"
        }

    def __call__(self, people: Sequence[Person], rows: Tensor) -> Tensor:
        """Returns the vectors of people (U, D), whose rows (U,) lie on the tower's device."""
        columns = self.columns(people, rows)
        return self.tower.encode(columns) if columns else self.tower(rows)

    def columns(self, people: Sequence[Person], rows: Tensor) -> dict[str, Tensor]:
        """Returns the encoded features of people (U, ...), as the tower takes them."""
        columns = self.tower.columns(rows)
        for name, values in columns.items():
            encoder = self.tower.encoder(name)
            if isinstance(encoder, HistoryEncoder):
                columns[name] = self._with_told(encoder, people, values)
                continue
            for place, person in enumerate(people):
                if name in person.features:
                    values[place] = person.features[name]
        return columns

    def _with_told(self, encoder: HistoryEncoder, people: Sequence[Person], lists: Tensor) -> Tensor:
        """Puts what people tell of items before their histories (U, L)."""
        told = [self._told(encoder, person) for person in people]
        newest = pad_sequence(told, batch_first=True, padding_value=NO_EVENT).to(lists.device)
        whole = torch.cat([newest, lists], dim=1)
        return whole.gather(1, (whole == NO_EVENT).byte().argsort(dim=1, stable=True))

    def _told(self, encoder: HistoryEncoder, person: Person) -> Tensor:
        items = torch.tensor([*person.liked, *person.disliked], dtype=torch.int32)
        items = items.where(items < encoder.n_partners, UNKNOWN)
        if encoder.by == "item":
            return encoder.ids_of(items, None)
        counts = torch.tensor([len(person.liked), len(person.disliked)])
        return encoder.ids_of(items, torch.tensor(self._kinds[encoder.by], dtype=torch.int32).repeat_interleave(counts))


def _usual_kind(history: History, by: str, label: Tensor, positive: bool) -> int:
    """Returns which kind most events of one label are of; 0 where there are none, and so nothing tells it."""
    held = torch.nonzero(history.place >= 0)[:, 0]
    labels = torch.empty(len(held)).index_copy_(0, history.place[held].long(), label[held])
    kinds = history.kinds[by][(labels > 0.5) == positive]
    return int(kinds.bincount().argmax()) if len(kinds) else 0
