"""What the JSON files of a run hold."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from towerzoo.towers.metrics.plan import Figures


class Document(BaseModel):
    """A JSON file of a run. Keys without a field of their own are kept as they are.

    Attributes:
        FILE: The file's path in the run folder.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    FILE: ClassVar[str]


class Identity(Document):
    """What tells that a folder is a run, and one that this version of TowerZoo reads."""

    FILE = "environment.json"

    format: str
    version: int
    config: str


class Packages(BaseModel):
    """Versions of the packages that a run was trained with."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    torch: str


class Environment(Identity):
    """Where a run was trained.

    Attributes:
        commit: TowerZoo's commit; None outside a checkout.
        started: When it began, in ISO 8601.
    """

    started: str
    seed: int
    device: str
    threads: int
    packages: Packages
    commit: str | None


class Metrics(Document):
    """The results of a run.

    Attributes:
        best_epoch: The epoch whose weights were tested.
        epochs: Epochs that were trained.
        train_seconds: Wall time of training and validation, without loading.
        protocol: What was measured, on which events.
        fingerprint: Digest of the protocol.
        valid: Figures of the validation split.
        test: Figures of the test split.
        test_seconds: Wall time of the test.
        baselines: Test figures of predictions that need no towers.
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


class ColumnFacts(BaseModel):
    """How a feature column is encoded.

    Attributes:
        vocabulary: The raw values in the order of their ids, from 1; None for numbers.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    kind: Literal["number", "id", "ids"]
    shape: list[int]
    sha256: str
    vocabulary: list[Any] | None


class TableFacts(BaseModel):
    """The columns of users or items, and the digest of each text."""

    model_config = ConfigDict(strict=True, extra="forbid")

    key: str
    columns: dict[str, ColumnFacts]
    texts: dict[str, str]


class Schema(Document):
    """The data that a run was trained on.

    Attributes:
        data_digest: Digest of what the dataset was made from.
        events: Number and digest of the events of each part of the split.
        streamed: Whether training events came as a stream.
    """

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
