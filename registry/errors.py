"""TowerZoo's errors: one family of exceptions, and one form of message for a wrong value.

It reads `<where> must be <expected>, got <actual!r>. <what to do next>`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final


class TowerZooError(Exception):
    """An error that a user can act on; commands print its message without a traceback."""


class DataError(TowerZooError):
    """Raw data, a cache or a download that is missing, malformed or of the wrong kind."""


class RunError(TowerZooError):
    """A run folder or checkpoint that is missing, foreign, truncated, or cannot be written."""


class TrainingError(TowerZooError):
    """Training that cannot start or continue: no such device, a loss that is not finite."""


class ExportError(TowerZooError):
    """A run that cannot be exported: a part that no graph can hold, missing software, or a bundle that differs."""


class RequestError(TowerZooError):
    """A request that a model cannot answer: an unknown user or item, or a value of the wrong kind.

    Attributes:
        problems: Every problem of the request, one or two sentences each.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join([f"The request has {len(problems)} problems.", *problems][len(problems) < 2 :]))


class ExtraError(TowerZooError):
    """A library that only some commands need is not installed."""


class ServingError(TowerZooError):
    """A service that cannot start: a port in use, a token that cannot be read."""


class SearchError(TowerZooError):
    """An index that cannot be built, read or queried: too few items, a database that does not answer."""


class PeerError(TowerZooError):
    """A peer system of the benchmarks is not installed, dies, or gives an unreadable answer."""


class Interrupted(TowerZooError):  # noqa: N818  (a signal is no error)
    """A signal ended the work in good order; the message says how to continue.

    Attributes:
        signal_number: The signal, so that a command can exit with 128 + it.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class RegistryError(TowerZooError):
    """A part that cannot be registered or found."""


class PartError(TowerZooError):
    """A registered part that fails when it is called, or breaks the contract of its kind."""


class InvalidSetting(Exception):  # noqa: N818  (reported already)
    """A rule reads a setting that is invalid and reported already, which ends the rule."""


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()
"""Stands in `Problem.actual` for a missing value."""


@dataclass(frozen=True)
class Problem:
    """One problem of a config.

    Attributes:
        where: Source and key path, such as `configs/mine.yaml:9: user_tower.widths`.
        expected: What the value must be, to be read after "must be".
        actual: The value, or `NOTHING`.
        next_step: What to do about it; whole sentences, or empty.

    Example:
        >>> print(Problem("mine.yaml:9: seed", "a whole number >= 0", -1, "Try 42."))
        mine.yaml:9: seed must be a whole number >= 0, got -1.
            Try 42.
    """

    where: str
    expected: str
    actual: Any
    next_step: str = ""

    def __str__(self) -> str:
        text = f"{self.where} must be {self.expected}, got {shortened(repr(self.actual))}."
        return f"{text}\n    {self.next_step}" if self.next_step else text


class ConfigError(TowerZooError):
    """All problems of a config.

    Example:
        >>> raise ConfigError([Problem("mine.yaml:9: seed", "a whole number", "x")])
        Traceback (most recent call last):
        ...
        towerzoo.registry.errors.ConfigError: mine.yaml:9: seed must be a whole number, got 'x'.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        if len(lines) > 1:
            lines.insert(0, f"The config has {len(lines)} problems.")
        super().__init__("\n".join(lines))


def name_hint(name: object, names: Iterable[str], label: str) -> str:
    """Returns the nearest valid spelling, if there is one, and all valid names.

    Example:
        >>> name_hint("maen", ["mean", "sum"], "Registered")
        "Did you mean 'mean'? Registered: mean, sum."
    """
    known = sorted(names)
    near = nearest(name, known)
    listed = f"{label}: {', '.join(known) or 'none'}."
    return f"Did you mean {near!r}? {listed}" if near else listed


def nearest(name: object, names: Iterable[str]) -> str | None:
    """Returns the name of the nearest spelling, ignoring case and underscores, if one is near.

    Example:
        >>> nearest("XavierNormal", ["xavier-normal", "normal"])
        'xavier-normal'
        >>> nearest("bce", ["bce-with-logits"])
        'bce-with-logits'
    """
    spellings = {_folded(known): known for known in names}
    wanted = _folded(str(name))
    near = difflib.get_close_matches(wanted, spellings, n=1)
    longer = [spelling for spelling in sorted(spellings, key=len) if len(wanted) > 2 and spelling.startswith(wanted)]
    return next((spellings[spelling] for spelling in [*near, *longer]), None)


def _folded(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")


def shortened(text: str, limit: int = 120) -> str:
    """Returns a text, cut to at most `limit` characters.

    Example:
        >>> shortened("a long text", 9)
        'a long...'
    """
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def one_line(error: object) -> str:
    """Returns an error's message on one line and without its full stop; the name of its class where it has none.

    Example:
        >>> one_line(ValueError("two\\n lines.")), one_line(KeyError())
        ('two lines', 'KeyError')
    """
    return " ".join(str(error).split()).removesuffix(".") or type(error).__name__
