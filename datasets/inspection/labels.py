"""Guesses which column of the events a label can be made from, and what counts as positive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from towerzoo.datasets.inspection.roles import Guess, matches
from towerzoo.datasets.tabular.feedback import read_feedback
from towerzoo.datasets.vocabulary import Vocabulary

MEASURES: Final = (
    r"rating|stars|score|grade",
    r"label|target|click|like|purchase|bought|convert",
    r"event|action|behavio|type|feedback",
    r"watch|play|listen|view|count|dwell|duration",
)
"""What measures are called; the first that one of the columns matches is what the label is made from."""
POSITIVE: Final = r"purchas|buy|bought|order|transaction|like|click|cart|yes|true|positive"
"""What the kind of event that is worth predicting is called."""
_USUAL: Final = 4.0


@dataclass
class LabelGuess:
    """How labels can be made.

    Attributes:
        rule: The value of `data.label`.
        measures: The columns that labels can be made from.
        positive: Share of events whose label is 1.
        notes: What a person should know, a sentence each.
    """

    rule: Any = "implicit"
    measures: list[str] = field(default_factory=list)
    positive: float = 1.0
    notes: list[str] = field(default_factory=list)


def guess_label(guess: Guess) -> LabelGuess:
    """Guesses a rule that gives both classes; where no column does, every event is positive."""
    label = LabelGuess()
    raw = guess.events.raw
    taken = (guess.user, guess.item, guess.timestamp, guess.weight)
    for pattern in MEASURES:
        for name in raw.table.column_names:
            if name in taken or name in label.measures or not matches(pattern, name):
                continue
            problems: list[str] = []
            values, texts = read_feedback(raw, name, problems)
            label.notes += problems
            if values is None:
                continue
            rule = _rule(name, values, texts)
            if rule is None:
                label.notes.append(f"{name} has one value only, of which no label of two classes can be made.")
                continue
            label.measures.append(name)
            if label.rule == "implicit":
                label.rule, label.positive = rule
    return label


def _rule(name: str, values: NDArray[np.float32], texts: Vocabulary | None) -> tuple[dict[str, Any], float] | None:
    found, counts = np.unique(values, return_counts=True)
    if len(found) < 2:
        return None
    if texts is not None:
        # The kind of event whose name says so, else the rarest.
        order = sorted(range(len(found)), key=lambda i: (not matches(POSITIVE, str(texts.values[i])), counts[i]))
        return {"column": name, "equals": texts.values[order[0]]}, float(counts[order[0]] / len(values))
    shares = 1 - np.cumsum(counts[:-1]) / len(values)
    usual = np.flatnonzero(found[1:] == _USUAL)
    most_even = int(np.abs(shares - 0.5).argmin())
    best = int(usual[0]) if len(usual) and found[-1] == _USUAL + 1 else most_even
    return {"column": name, "positive_from": _short(float(found[best + 1]))}, float(shares[best])


def _short(value: float) -> float:
    """Returns a float32 value as a person writes it, whole where it is."""
    return int(value) if value.is_integer() else float(f"{value:.6g}")
