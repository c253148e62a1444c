"""The types of what a run's JSON files hold, for who reads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from towerzoo.registry.errors import NOTHING, shortened
from towerzoo.registry.expectations import expectation, locate, model_hints

Figures = Annotated[dict[str, float], Field(min_length=1)]


class Metrics(BaseModel):
    """What of metrics.json is read again."""

    model_config = ConfigDict(strict=True)

    protocol: dict[str, Any]
    fingerprint: str
    test: Figures
    best_epoch: int
    epochs: int
    train_seconds: float


class Packages(BaseModel):
    """The versions of what a run was trained with."""

    model_config = ConfigDict(strict=True)

    torch: str


class Environment(BaseModel):
    """What of environment.json is read again."""

    model_config = ConfigDict(strict=True)

    config: str
    seed: int
    device: str
    threads: int
    commit: str | None
    packages: Packages
    started: str


FACTS: Final[Mapping[str, type[BaseModel]]] = {"metrics.json": Metrics, "environment.json": Environment}
"""What is held by file."""


def wrong_facts(name: str, value: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    """Returns what is wrong with the types of some keys of a JSON file, each to be read behind its path.

    Args:
        name: The file; of one that is none of `FACTS`, nothing is.
        value: What it holds.
        keys: The keys that it has and that matter.

    Example:
        >>> wrong_facts("metrics.json", {"test": {"auc": "high", "loss": 0.5}, "epochs": 2}, ["test", "epochs"])
        ["test.auc must be a number, got 'high'"]
    """
    if name not in FACTS:
        return []
    try:
        FACTS[name].model_validate(value)
    except ValidationError as error:
        hints = model_hints(FACTS[name])
        return [
            f"{'.'.join(map(str, details['loc']))} must be {expectation(locate(hints, details['loc'])[0])}, "
            f"got {shortened(repr(NOTHING if details['type'] == 'missing' else details['input']))}"
            for details in error.errors()
            if details["loc"][0] in keys
        ]
    return []
