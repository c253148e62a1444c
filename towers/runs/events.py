"""The events of a run, events.parquet: users' histories and the items that they have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from towerzoo.datasets.history import NO_POSITION, History
from towerzoo.towers.metrics.protocol import event_digest
from towerzoo.towers.runs.documents import Schema
from towerzoo.towers.runs.folder import RunFolder

if TYPE_CHECKING:
    from towerzoo.datasets import TwoTowerData

NAME: Final = "events.parquet"
ORDERED: Final = "ordered"
"""The key of the file's metadata that says whether histories are in order of time."""


class RunEvents(NamedTuple):
    """The events that a run was made of, in the order of its dataset.

    Attributes:
        user: int32 rows of the users table (N,).
        item: int32 rows of the items table (N,).
        label: float32 (N,).
        history: The users' histories, where the run's user tower reads them.
        whole: Whether these are all events; training events of a stream are not kept.
    """

    user: Tensor
    item: Tensor
    label: Tensor
    history: History | None
    whole: bool = True


def save_events(run: RunFolder, data: TwoTowerData) -> None:
    """Writes the row numbers, labels and split of all events, and their positions in histories where there are any.

    Training events of a stream are not kept: they would make the run folder as large as the log that they come from.
    """
    from towerzoo.datasets.splits import PARTS

    events, history = data.schema.interactions, data.schema.users.history
    part = torch.full((len(events),), len(PARTS), dtype=torch.int8)
    for number, name in enumerate(PARTS):
        part[getattr(data.split, name).long()] = number
    columns = {"user": events.user, "item": events.item, "label": data.labels, "part": part}
    about = {}
    if history is not None:
        held = history.position != NO_POSITION
        columns["position"], columns["feedback"] = history.position, torch.zeros_like(history.position)
        columns["feedback"][held] = history.kinds["feedback"].index_select(0, history.position[held])
        about = {ORDERED: str(history.ordered)}
    table = pa.table({name: pa.array(values.numpy()) for name, values in columns.items()}, metadata=about)
    run.write_with(NAME, lambda path: pq.write_table(table, path, compression="zstd"))


def load_events(run: RunFolder, *, n_users: int, n_items: int) -> RunEvents:
    """Reads the events of a run.

    Args:
        run: The run.
        n_users: Rows of its users table.
        n_items: Rows of its items table.

    Raises:
        RunError: The file is missing or damaged, or belongs to another run.
    """
    schema = run.read(Schema)
    digests = {part: digest for part, digest in schema.events.items() if part != "train" or not schema.streamed}
    with run.reading(NAME, pa.ArrowException) as path:
        table = pq.ParquetFile(path).read()
        # By DLPack, since to_numpy would import pandas.
        columns = {name: from_dlpack(table[name].combine_chunks()).clone() for name in table.column_names}
        user, item, label, part = (columns[name] for name in ("user", "item", "label", "part"))
        rows = [torch.nonzero(part == number)[:, 0] for number in range(len(schema.events))]
        kept = {name: chunk for name, chunk in zip(schema.events, rows, strict=True) if name in digests}
        if {name: event_digest(user, item, label, chunk) for name, chunk in kept.items()} != digests:
            raise ValueError("it belongs to another run")
    if "position" not in columns:
        return RunEvents(user, item, label, None, whole=not schema.streamed)
    position = columns["position"]
    held = position != NO_POSITION
    order = torch.empty_like(position[held]).index_copy_(0, position[held].long(), torch.nonzero(held)[:, 0].int())
    kinds = {
        "label": torch.unique(label.index_select(0, order), return_inverse=True)[1].int(),
        "feedback": columns["feedback"].index_select(0, order),
    }
    ordered = table.schema.metadata[ORDERED.encode()] == b"True"
    history = History.restore(
        user, item, kinds, position, rows[0], n_owners=n_users, n_partners=n_items, ordered=ordered
    )
    return RunEvents(user, item, label, history)
