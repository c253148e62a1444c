"""Writes a YAML that trains on tables as guessed, with a comment on each guess."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any, Final

from towerzoo.datasets.inspection.labels import LabelGuess
from towerzoo.datasets.inspection.profiles import ColumnProfile, TableProfile
from towerzoo.datasets.inspection.roles import Guess, Side
from towerzoo.registry.yaml_file import write_yaml

DIM: Final = 32
LONGEST: Final = 20
"""The most values of a list that a tower uses."""
FEW: Final = 50  # distinct values that a feature may have, however few rows there are

_TOWER: Final = """\
  block: {name: dropout-linear-bn-tanh, dropout: 0.3}
  widths: [64, 64]
  init: xavier-normal
"""
_SCORE: Final = "score: {name: cosine, scale: 10.0}\noptimizer: {name: adam, lr: 1e-3}\n"
_OF_PAIRS: Final = """\
loss: bce-with-logits
training: {max_epochs: 20, early_stopping: {monitor: valid/loss, patience: 3}}
"""
_OF_POSITIVES: Final = """\
loss: sampled-softmax  # each event against the other items of its batch; see `python tools/zoo.py losses`
training: {max_epochs: 20, early_stopping: {patience: 3}}
evaluation: {ranking: {at: [10]}}  # top 10 of the whole catalogue
"""


def starter_config(guess: Guess, label: LabelGuess, name: str) -> str:
    """Returns the YAML.

    Args:
        guess: What the tables are.
        label: How labels are made.
        name: The file that it will be written to, for the comment at the top.
    """
    lines = [
        f"# A two-tower model of the {len(guess.events):,} events of {guess.events.files}, to start from.",
        "# The meaning of the columns is a guess: check data and the features of the towers.",
        f"#   run      python tools/train.py {shlex.quote(name)}",
        "seed: 42",
        "data:",
        "  name: tabular",
        f"  interactions: {_inline(_events(guess, label))}",
    ]
    for side, table in sorted(guess.tables.items(), reverse=True):
        lines.append(f"  {side}s: {_inline(_entities(guess, side, table))}")
    if any(guess.uncovered.values()):
        lines.append("  unknown: row  # the unknown user or item stands in for those without a row; or drop, error")
    share = f"{label.positive:.1%} of the events are positive"
    lines += [
        f"  label: {_inline(label.rule)}  # {share}",
        "  split: {name: random, fractions: [0.8, 0.1, 0.1]}"
        + ("  # or temporal, leave-last-out: the events have times" if guess.timestamp else ""),
        "  batch_size: 1024",
    ]
    for side in ("user", "item"):
        lines += [f"{side}_tower:", "  features:", *_features(guess, side), _TOWER.rstrip("\n")]
    return "\n".join(lines) + "\n" + _SCORE + (_OF_POSITIVES if label.rule == "implicit" else _OF_PAIRS)


def _events(guess: Guess, label: LabelGuess) -> dict[str, Any]:
    optional = {"timestamp": guess.timestamp, "weight": guess.weight, "feedback": label.feedback}
    return {
        "files": guess.events.files,
        "user": guess.user,
        "item": guess.item,
        **{name: value for name, value in optional.items() if value},
    }


def _entities(guess: Guess, side: Side, table: TableProfile) -> dict[str, Any]:
    section: dict[str, Any] = {"files": table.files}
    if guess.keys[side] != guess.key(side):
        section["id"] = guess.keys[side]
    if side == "item" and guess.title is not None:
        section["title"] = guess.title
    features = [column for column in table.columns.values() if guess.role(table, column.name) == "feature"]
    if lists := {column.name: column.separator for column in features if column.separator is not None}:
        section["lists"] = lists
    if any(column.type == "numbers" and column.missing for column in features):
        section["missing"] = "unknown"
    if any(column.infinite for column in features):
        section["features"] = [column.name for column in features if not column.infinite]
    return section


def _features(guess: Guess, side: Side) -> Iterator[str]:
    key = guess.keys.get(side, guess.key(side))
    yield f"    {_inline({key: {'encoder': 'embedding', 'dim': DIM}})[1:-1]}"
    table = guess.tables.get(side)
    for column in table.columns.values() if table is not None else ():
        if table is None or guess.role(table, column.name) != "feature":
            continue
        encoder: dict[str, Any] = {"encoder": "embedding", "dim": DIM}
        if column.type == "numbers":
            encoder = {"encoder": "numeric", "transform": "quantile"}
        elif column.is_list:
            longest = min(column.longest, LONGEST)
            encoder = {"encoder": "embedding-bag", "dim": DIM, "max_length": longest, "pooling": "mean"}
        reason = _left_out(column, len(table))
        written = _inline({column.name: encoder})[1:-1]
        yield f"    {written}" if reason is None else f"    # {column.name or repr(column.name)}: {reason}"


def _left_out(column: ColumnProfile, rows: int) -> str | None:
    """Returns why a column is left out of the features, or None."""
    if not column.name:
        return "a column without a name, such as the index that pandas writes"
    if column.distinct <= 1:
        return "only one value"
    if column.infinite:
        return f"{column.infinite:,} infinite numbers"
    if column.type != "numbers" and not column.is_list and column.distinct > max(FEW, rows / 2):
        return f"{column.distinct:,} different values in {rows:,} rows"
    return None


def _inline(value: Any) -> str:
    return write_yaml(value, inline=True).removesuffix("\n...\n").strip()
