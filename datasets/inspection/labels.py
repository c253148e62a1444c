"""Guesses which column of the events labels can be made from, and which values are positive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from towerzoo.datasets.inspection.roles import Guess, matches
from towerzoo.datasets.tabular.feedback import read_feedback
from towerzoo.datasets.vocabulary import Vocabulary

FEEDBACK: Final = (
    r"rating|stars|score|grade",
    r"label|target|click|like|purchase|bought|convert",
    r"event|action|behavio|type|feedback",
    r"watch|play|listen|view|count|dwell|duration",
)
"""Names of feedback columns; the label is made from the first of these kinds that a column matches."""
POSITIVE: Final = r"purchas|buy|bought|order|transaction|like|click|cart|yes|true|positive"
"""Names of the kinds of events that are worth predicting."""
_USUAL: Final = 4.0  # the threshold of ratings up to 5


@dataclass
class LabelGuess:
    """A guess about labels.

    Attributes:
        rule: The value of `data.label`.
        feedback: The columns that labels can be made from.
        positive: Share of events with label 1, in [0, 1].
        notes: Remarks for people, a sentence each.
    """

    rule: Any = "implicit"
    feedback: list[str] = field(default_factory=list)
    positive: float = 1.0
    notes: list[str] = field(default_factory=list)


def guess_label(guess: Guess) -> LabelGuess:
    """Guesses a rule that gives both classes; without one, every event is positive."""
    label = LabelGuess()
    raw = guess.events.raw
    taken = (guess.user, guess.item, guess.timestamp, guess.weight)
    for pattern in FEEDBACK:
        for name in raw.table.column_names:
            if name in taken or name in label.feedback or not matches(pattern, name):
                continue
            problems: list[str] = []
            values, texts = read_feedback(raw, name, problems)
            label.notes += problems
            if values is None:
                continue
            rule = _rule(name, values, texts)
            if rule is None:
                label.notes.append(f"{name} has only one value, so it gives no labels of two classes.")
                continue
            label.feedback.append(name)
            if label.rule == "implicit":
                label.rule, label.positive = rule
    return label


def _rule(name: str, values: NDArray[np.float32], texts: Vocabulary | None) -> tuple[dict[str, Any], float] | None:
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 2:
        return None
    if texts is not None:
        # The kind of event whose name matches, else the rarest.
        order = sorted(range(len(distinct)), key=lambda i: (not matches(POSITIVE, str(texts.values[i])), counts[i]))
        return {"column": name, "equals": texts.values[order[0]]}, float(counts[order[0]] / len(values))
    shares = 1 - np.cumsum(counts[:-1]) / len(values)
    usual = np.flatnonzero(distinct[1:] == _USUAL)
    most_even = int(np.abs(shares - 0.5).argmin())
    best = int(usual[0]) if len(usual) and distinct[-1] == _USUAL + 1 else most_even
    threshold = float(distinct[best + 1])
    written = int(threshold) if threshold.is_integer() else float(f"{threshold:.6g}")  # float32 has about 7 digits
    return {"column": name, "positive_from": written}, float(shares[best])
