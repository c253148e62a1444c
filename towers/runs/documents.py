"""What the JSON files of a run hold."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from towerzoo.towers.metrics.plan import Figures


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Document(_Strict):
    """A JSON file of a run. Keys without a field of their own are kept as they are.

    Attributes:
        FILE: The file's path in the run folder.
    """

    FILE: ClassVar[str]


class Identity(Document):
    """What identifies a folder as a run that this version of TowerZoo reads."""

    FILE = "environment.json"

    format: str
    version: int
    config: str


class Environment(Identity):
    """Where a run was trained: `started` in ISO 8601, and TowerZoo's commit, None outside a checkout."""

    started: str
    seed: int
    device: str
    threads: int
    packages: dict[str, str | None]
    commit: str | None


class Metrics(Document):
    """The results of a run: figures of the best epoch's weights in validation and test, and those of baselines.

    `train_seconds` is the wall time of training and validation, without loading; `fingerprint` identifies the protocol.
    """

    FILE = "metrics.json"

    best_epoch: int
    epochs: int
    train_seconds: float
    protocol: dict[str, Any]
    fingerprint: str
    valid: Figures
    test: Annotated[Figures, Field(min_length=1)]
    test_seconds: float
    baselines: dict[str, Figures]


class ColumnFacts(_Strict):
    """How a column is encoded: by its raw values in the order of their ids, from 1; None for numbers."""

    kind: Literal["number", "id", "ids"]
    shape: list[int]
    sha256: str
    vocabulary: list[Any] | None


class TableFacts(_Strict):
    """The columns of users or items, and the digest of each text."""

    key: str
    columns: dict[str, ColumnFacts]
    texts: dict[str, str]


class Schema(Document):
    """The data that a run was trained on, with number and digest of the events of each part of the split."""

    FILE = "schema.json"

    data_digest: str
    events: dict[str, str]
    streamed: bool
    users: TableFacts
    items: TableFacts


def problems_of(error: ValidationError) -> str:
    """Returns what is wrong with a document, on one line.

    Example:
        >>> try:
        ...     Identity.model_validate_json('{"format": "towerzoo-run", "version": 2.5}')
        ... except ValidationError as error:
        ...     problems_of(error)
        'version: Input should be a valid integer; config: Field required'
    """
    located = [(".".join(map(str, details["loc"])), details["msg"]) for details in error.errors()]
    return "; ".join(f"{where}: {message}" if where else message for where, message in located)
