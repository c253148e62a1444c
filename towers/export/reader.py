"""Recommends from an exported bundle with numpy and onnxruntime alone.

Each bundle holds a copy of this file, reader.py.
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
"""Raised whenever the meaning of a file in a bundle changes."""

UNKNOWN: Final = 0
"""Number of every value that is not in the vocabulary; also pads lists of ids."""

Inputs = dict[str, NDArray[Any]]


class Bundle:
    """The towers, vocabularies and item vectors of a bundle.

    Users and items are mappings from feature names to raw values. Missing features and values outside the vocabulary
    are unknown to the model, which was trained to handle them. A list may also be one string, separated by `|`.

    Args:
        folder: The bundle.
        int8: Whether to rank items by the int8 vectors.
        threads: Threads of each tower; one is fastest for one user at a time.

    Attributes:
        about: Content of bundle.json.
        items: Raw ids, and texts such as titles, in the order of the item vectors.

    Raises:
        ValueError: The folder holds no bundle, one of another version, or one with a missing or damaged file.
    """

    def __init__(self, folder: str | Path = ".", *, int8: bool = False, threads: int = 1) -> None:
        self.folder = Path(folder)
        self.about: dict[str, Any] = self._json("bundle.json")
        version = f"{self.about.get('format')} {self.about.get('version')}"
        if version != f"{FORMAT} {VERSION}":
            raise ValueError(
                f"{folder} must be a bundle of format {FORMAT} {VERSION}, got {version!r}. Export it again."
            )
        self.items: dict[str, list[Any]] = self._json("items.json")
        self._numbers = {
            side: {
                name: {str(value): number for number, value in enumerate(words["values"], start=words["first"])}
                for name, words in vocabularies.items()
            }
            for side, vocabularies in self._json("vocabularies.json").items()
        }
        self._threads = threads
        self._sessions: dict[str, Any] = {}
        self._scales = self._array("item_scales.npy") if int8 else np.float32(1)
        name = "item_vectors_int8.npy" if int8 else "item_vectors.npy"
        vectors = self._array(name)
        shape = len(self.items["id"]), self.about["factors"]
        if vectors.shape != shape:
            raise self._damaged(name, f"vectors of shape {vectors.shape} instead of {shape}")
        # float32 columns: numpy multiplies matrices of floats fastest.
        self._vectors = np.ascontiguousarray(vectors.T.astype(np.float32))

    def user_factors(self, users: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Returns the factors of users (B, F); the dot product of a user's and an item's factors is the logit."""
        return self.run("user", self.inputs("user", users))

    def item_factors(self, items: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Returns the factors (B, F) of items, which may be new."""
        return self.run("item", self.inputs("item", items))

    def recommend(
        self, user: Mapping[str, Any], k: int = 10, *, exclude: Sequence[Any] = ()
    ) -> list[tuple[Any, float]]:
        """Returns raw ids and logits of a user's k best items, best first; ties keep the order of the items.

        Args:
            user: Raw feature values by name.
            k: Number of items, at least 1.
            exclude: Raw ids to leave out, such as items that the user has seen.

        Raises:
            ValueError: k, `exclude`, a feature or a value is invalid.
        """
        if not isinstance(k, (int, np.integer)) or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {k!r}. Pass the number of items.")
        if not _is_list(exclude):
            raise ValueError(f"exclude must be a list of raw ids, got {exclude!r}. Write [{exclude!r}].")
        scores = ((self.user_factors([user]) * self._scales) @ self._vectors)[0]
        ids = self._numbers["item"][self.about["item_key"]]
        scores[[row - 1 for item in exclude if (row := _number(ids, item)) != UNKNOWN]] = -np.inf
        best = np.argsort(-scores, kind="stable")[:k]
        return [(self.items["id"][row], float(scores[row])) for row in best if scores[row] > -np.inf]

    def run(self, side: str, inputs: Inputs) -> NDArray[np.float32]:
        """Runs a tower on its inputs and returns factors (B, F).

        Raises:
            ValueError: The tower is damaged, or the bundle was replaced after it was opened.
        """
        if side not in self._sessions:
            if self._json("bundle.json") != self.about:
                raise ValueError(f"{self.folder} was replaced by another bundle after it was opened. Open it again.")
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = self._threads
            name = f"{side}_tower.onnx"
            try:
                self._sessions[side] = onnxruntime.InferenceSession(
                    self.folder / name, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # onnxruntime's errors share no base class
                raise self._damaged(name, error) from None
        factors: NDArray[np.float32] = self._sessions[side].run(None, inputs)[0]
        return factors

    def inputs(self, side: str, rows: Sequence[Mapping[str, Any]]) -> Inputs:
        """Encodes raw features of users or items as inputs of their tower.

        Raises:
            ValueError: A feature or a value is invalid.
        """
        specs = self.about["towers"][side]["inputs"]
        names = {spec["name"] for spec in specs}
        for row in rows:
            if not isinstance(row, Mapping):
                raise ValueError(f"each {side} must be a mapping of features, got {row!r}. Write {{name: value, ...}}.")
            if unknown := set(row) - names:
                given, known = ", ".join(sorted(map(str, unknown))), ", ".join(sorted(names))
                raise ValueError(f"features of the {side} tower must be among {known}, got {given}. Leave it out.")
        return {spec["name"]: self._input(side, spec, [row.get(spec["name"]) for row in rows]) for spec in specs}

    def _input(self, side: str, spec: Mapping[str, Any], values: Sequence[Any]) -> NDArray[Any]:
        if spec["kind"] == "number":
            numbers = np.array([_finite(spec["name"], value) for value in values], dtype=np.float32)
            return numbers if spec["unknown"] is None else np.nan_to_num(numbers, nan=np.float32(spec["unknown"]))
        known = self._numbers[side].get(spec["vocabulary"], {})
        if spec["kind"] == "id":
            for value in values:
                if _is_list(value):
                    raise ValueError(f"{spec['name']} must be one value, got {value!r}. Pass one, or leave it out.")
            return np.array([_number(known, value) for value in values], dtype=np.int64)
        if spec["kind"] == "ids":
            lists = [[_number(known, entry) for entry in _split(value)] for value in values]
        elif spec["kind"] == "trigrams":
            texts = ("" if value is None else str(value) for value in values)
            lists = [[known[trigram] for trigram in letter_trigrams(text) if trigram in known] for text in texts]
        else:
            lists = [[self._event(spec, event) for event in _split(value)] for value in values]
        width = spec["length"] or max(1, *map(len, lists), 1)
        padded = np.full((len(lists), width), spec["padding"], dtype=np.int64)
        for row, ids in zip(padded, lists, strict=True):
            row[: len(ids)] = ids[:width]
        return padded

    def _event(self, spec: Mapping[str, Any], event: Any) -> int:
        """Returns the number of an event: an item's raw id, or a pair of raw id and kind."""
        item, kind = event if isinstance(event, (list, tuple)) and len(event) == 2 else (event, 0)
        if isinstance(item, (list, tuple)) or kind not in range(spec["kinds"]):
            raise ValueError(
                f"an event of {spec['name']} must be an item's raw id, or a pair of raw id and kind from 0 to "
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
            raise self._damaged(name, "not a JSON object")
        return value

    def _damaged(self, name: str, error: object) -> ValueError:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()).removesuffix(".")
        return ValueError(f"{self.folder / name} is missing or damaged: {reason}. Copy or export the bundle again.")


def letter_trigrams(text: str) -> list[str]:
    """Splits a text into the letter trigrams of its words, lower-case and framed by `#`."""
    words = (f"#{word}#" for word in re.findall(r"\w+", unicodedata.normalize("NFC", text.lower())))
    return [word[start : start + 3] for word in words for start in range(len(word) - 2)]


def _finite(name: str, value: Any) -> float:
    """Returns a number as the tower takes it; NaN for an unknown one."""
    try:
        number = np.nan if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.inf
    if abs(number) > float(np.finfo(np.float32).max):
        raise ValueError(f"{name} must be a finite number, or None if it is unknown, got {value!r}. Correct it.")
    return number


def _split(value: Any) -> Iterable[Any]:
    """Returns the entries of a list, or of a string separated by `|`, as the commands and the service do."""
    if value is None:
        return ()
    return value if _is_list(value) else str(value).split("|")


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def _number(numbers: Mapping[str, int], value: Any) -> int:
    if value is None:
        return UNKNOWN
    if isinstance(value, float) and value.is_integer() and str(value) not in numbers:
        value = int(value)  # a whole number from a float column, as pandas reads one with missing values
    return numbers.get(str(value), UNKNOWN)
