"""Recommends from an exported bundle: needs numpy and onnxruntime, and nothing of what the model was trained with.

A copy of this file lies in every bundle, as reader.py.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FORMAT: Final = "towerzoo-bundle"
VERSION: Final = 1
"""Raised whenever a file of a bundle changes its meaning."""

UNKNOWN: Final = 0
"""The number of every value that a vocabulary does not hold; it pads lists of numbers as well."""

NOTHING: Final = -1
"""What pads lists of events and of letter trigrams."""

Inputs = dict[str, NDArray[Any]]


class Bundle:
    """The towers, vocabularies and item vectors of a bundle.

    People and items are mappings of raw feature values. A feature that is left out, and a value that no vocabulary
    holds, is unknown to the model, which has learned what to make of that. The values of a list may also be one text,
    parted by `|`.

    Args:
        folder: The bundle.
        int8: Whether items are ranked by the vectors of one byte a number.
        threads: Threads of a tower; for one person at a time one is fastest.

    Attributes:
        about: What bundle.json says.
        items: Raw ids, and texts such as titles, in the order of the item vectors.

    Raises:
        ValueError: This is no bundle, one of another version, or one with a file that is missing or damaged.
    """

    def __init__(self, folder: str | Path = ".", *, int8: bool = False, threads: int = 1) -> None:
        self.folder = Path(folder)
        self.about: dict[str, Any] = self._json("bundle.json")
        found = f"{self.about.get('format')} {self.about.get('version')}"
        if found != f"{FORMAT} {VERSION}":
            raise ValueError(f"{folder} must be a bundle of format {FORMAT} {VERSION}, got {found!r}. Export it anew.")
        self.items: dict[str, list[Any]] = self._json("items.json")
        self._numbers = {
            side: {name: _numbers(**words) for name, words in vocabularies.items()}
            for side, vocabularies in self._json("vocabularies.json").items()
        }
        self._threads = threads
        self._sessions: dict[str, Any] = {}
        self._scales = self._array("item_scales.npy") if int8 else np.float32(1)
        # As columns of float32: a product of matrices is what numpy is fast at.
        name = "item_vectors_int8.npy" if int8 else "item_vectors.npy"
        vectors = self._array(name)
        shape = len(self.items["id"]), self.about["factors"]
        if vectors.shape != shape:
            raise self._damaged(name, f"vectors of shape {vectors.shape} where items.json and bundle.json say {shape}")
        self._vectors = np.ascontiguousarray(vectors.T.astype(np.float32))

    def user_inputs(self, people: Sequence[Mapping[str, Any]]) -> Inputs:
        """Returns the user tower's inputs for people."""
        return self._inputs("user", people)

    def item_inputs(self, items: Sequence[Mapping[str, Any]]) -> Inputs:
        """Returns the item tower's inputs for items, which may be new ones."""
        return self._inputs("item", items)

    def user_factors(self, people: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Returns the factors of people (B, F); a logit is the dot product of a person's and an item's factors."""
        return self.run("user", self.user_inputs(people))

    def item_factors(self, items: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Returns the factors of items (B, F), which may be new ones."""
        return self.run("item", self.item_inputs(items))

    def recommend(
        self, person: Mapping[str, Any], k: int = 10, *, exclude: Sequence[Any] = ()
    ) -> list[tuple[Any, float]]:
        """Returns the raw ids and logits of the k best items for a person, best first; of equal logits in their order.

        Args:
            person: Raw feature values by name.
            k: Items, at least 1.
            exclude: Raw ids that she is not to get, such as those that she has met.

        Raises:
            ValueError: k, `exclude`, a feature or its value cannot be.
        """
        if not isinstance(k, (int, np.integer)) or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {k!r}. Ask for some items.")
        if not _is_list(exclude):
            raise ValueError(f"exclude must be a list of raw ids, got {exclude!r}. Write [{exclude!r}].")
        scores = ((self.user_factors([person]) * self._scales) @ self._vectors)[0]
        ids = self._numbers["item"][self.about["item_key"]]
        scores[[row - 1 for item in exclude if (row := _number(ids, item)) != UNKNOWN]] = -np.inf
        best = np.argsort(-scores, kind="stable")[:k]
        return [(self.items["id"][row], float(scores[row])) for row in best if scores[row] > -np.inf]

    def run(self, side: str, inputs: Inputs) -> NDArray[np.float32]:
        """Returns what a tower makes of its inputs: factors (B, F).

        Raises:
            ValueError: The tower is damaged, or another bundle has taken the place of the one that was opened.
        """
        if side not in self._sessions:
            if self._json("bundle.json") != self.about:
                raise ValueError(f"{self.folder} must hold the bundle that was opened, got another one. Open it anew.")
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = self._threads
            name = f"{side}_tower.onnx"
            try:
                self._sessions[side] = onnxruntime.InferenceSession(
                    self.folder / name, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # onnxruntime's errors have no class in common
                raise self._damaged(name, error) from None
        factors: NDArray[np.float32] = self._sessions[side].run(None, inputs)[0]
        return factors

    def _inputs(self, side: str, rows: Sequence[Mapping[str, Any]]) -> Inputs:
        inputs = self.about["towers"][side]["inputs"]
        names = {spec["name"] for spec in inputs}
        for row in rows:
            if not isinstance(row, Mapping):
                raise ValueError(f"each {side} must be a mapping of features, got {row!r}. Write {{name: value, ...}}.")
            if unknown := set(row) - names:
                some, known = ", ".join(sorted(map(str, unknown))), ", ".join(sorted(names))
                raise ValueError(f"features of the {side} tower must be among {known}, got {some}. Leave it out.")
        return {spec["name"]: self._input(side, spec, [row.get(spec["name"]) for row in rows]) for spec in inputs}

    def _input(self, side: str, spec: Mapping[str, Any], values: Sequence[Any]) -> NDArray[Any]:
        if spec["kind"] == "number":
            told = np.array([_finite(spec["name"], value) for value in values], dtype=np.float32)
            return told if spec["unknown"] is None else np.where(np.isnan(told), np.float32(spec["unknown"]), told)
        numbers = self._numbers[side].get(spec["vocabulary"], {})
        if spec["kind"] == "id":
            for value in values:
                if _is_list(value):
                    raise ValueError(f"{spec['name']} must be one value, got {value!r}. Give one, or leave it out.")
            return np.array([_number(numbers, value) for value in values], dtype=np.int64)
        if spec["kind"] == "ids":
            lists = [[_number(numbers, one) for one in _parted(value)] for value in values]
        elif spec["kind"] == "trigrams":
            texts = ("" if value is None else str(value) for value in values)
            lists = [[numbers[one] for one in letter_trigrams(text) if one in numbers] for text in texts]
        else:
            lists = [[self._event(spec, event) for event in _parted(value)] for value in values]
        width = spec["length"] or max(1, *map(len, lists), 1)
        padded = np.full((len(lists), width), spec["padding"], dtype=np.int64)
        for row, some in zip(padded, lists, strict=True):
            row[: len(some)] = some[:width]
        return padded

    def _event(self, spec: Mapping[str, Any], event: Any) -> int:
        """Returns the number of an event: an item's raw id, or that and the number of the event's kind."""
        item, kind = event if isinstance(event, (list, tuple)) and len(event) == 2 else (event, 0)
        if isinstance(item, (list, tuple)) or kind not in range(spec["kinds"]):
            raise ValueError(
                f"an event of {spec['name']} must be an item's raw id, or a pair of that and a kind from 0 to "
                f"{spec['kinds'] - 1}, got {event!r}. See the inputs in the bundle's README.md."
            )
        items = self._numbers["item"][self.about["item_key"]]
        return _number(items, item) + int(kind) * int(spec["items"])

    def _array(self, name: str) -> NDArray[Any]:
        try:
            array: NDArray[Any] = np.load(self.folder / name, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(name, error) from None
        return array

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._damaged(name, error) from None
        if not isinstance(value, dict):
            raise self._damaged(name, "no JSON object")
        return value

    def _damaged(self, name: str, reason: object) -> ValueError:
        said = " ".join(str(getattr(reason, "strerror", None) or reason).split()).removesuffix(".")
        path = self.folder / name
        return ValueError(
            f"{path} must be a whole file of a bundle, got {said}. Copy the bundle again, or export it anew."
        )


def letter_trigrams(text: str) -> list[str]:
    """Returns the letter trigrams of a text's words, lower-case and framed by `#`."""
    words = (f"#{word}#" for word in re.findall(r"\w+", unicodedata.normalize("NFC", text.lower())))
    return [word[start : start + 3] for word in words for start in range(len(word) - 2)]


def _finite(name: str, value: Any) -> float:
    """Returns a number as the tower takes it; NaN where it is not known."""
    try:
        number = np.nan if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.inf
    if abs(number) > float(np.finfo(np.float32).max):
        raise ValueError(f"{name} must be a finite number, or None where it is not known, got {value!r}. Correct it.")
    return number


def _parted(value: Any) -> Iterable[Any]:
    """Returns the values of a list; a text, or a value alone, is parted by `|`, as commands and the service do it."""
    if value is None:
        return ()
    return value if _is_list(value) else str(value).split("|")


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def _number(numbers: Mapping[str, int], value: Any) -> int:
    if value is None:
        return UNKNOWN
    if isinstance(value, float) and value.is_integer() and str(value) not in numbers:
        value = int(value)  # a whole number of a column that lacks some
    return numbers.get(str(value), UNKNOWN)


def _numbers(first: int, values: Sequence[Any]) -> dict[str, int]:
    """Returns the number of each value of a vocabulary, by the value's text."""
    return {str(value): number for number, value in enumerate(values, start=first)}
