"""The `faiss` index: approximate search in memory, by any of FAISS's structures."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from towerzoo.registry import INDEXES
from towerzoo.registry.errors import ConfigError, Problem, SearchError, one_line
from towerzoo.registry.extras import require_extra
from towerzoo.towers.retrieval.best_items import NO_SCORE, TopItems
from towerzoo.towers.retrieval.exact_index import SeenBy, checked_vectors
from towerzoo.towers.retrieval.over_fetching import over_fetch

SCORED_AT_ONCE: Final = 1 << 23
"""Numbers of candidates' vectors that are gathered at once: 32 MiB."""


@INDEXES.register("faiss")
class FaissIndex:
    """Approximate search by one of FAISS's structures, named by FAISS's own factory string.

    Inner products are searched, so that scales and biases in the vectors count. What FAISS finds is scored anew with
    the vectors themselves: scores are exact logits, also where the structure keeps compressed vectors, and of equal
    scores the item of the lower row comes first. Which of several items that tie for the last place is found is left
    to FAISS. Items to leave out, seen ones and those that are not allowed, are taken out of a longer list, see
    `over_fetch`; with `Flat` the result is that of `exact`.

    FAISS is told to use as many threads as torch, by each call. HNSW built with several threads is not the same graph
    every time.

    Args:
        item_vectors: The vectors to search (I, F).
        factory: FAISS's index_factory string: `Flat` scores all; `HNSW32,Flat` walks a graph with 32 links an item;
            `IVF1024,Flat` looks into the nearest of 1,024 cells; `IVF1024,PQ16` keeps 16 bytes an item. IVF and PQ
            are trained on the vectors.
        parameters: What FAISS's ParameterSpace takes, such as `efConstruction=80,efSearch=256` for HNSW or `nprobe=16`
            for IVF: more finds more and takes longer. None takes FAISS's own values.

    Raises:
        ConfigError: FAISS does not know the factory or a parameter, or cannot search inner products with it.
        ExtraError: FAISS is not installed.
        SearchError: The items are too few to train the structure.

    Sources: Johnson et al., IEEE Transactions on Big Data 2021; HNSW, Malkov and Yashunin, TPAMI 2020; PQ, Jegou et
    al., TPAMI 2011.

    Example:
        >>> index = FaissIndex(torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]), factory="Flat")
        >>> index.search(torch.tensor([[1.0, 1.0]]), 2).items
        tensor([[2, 3]])
    """

    def __init__(self, item_vectors: Tensor, *, factory: str = "HNSW32,Flat", parameters: str | None = None) -> None:
        self._faiss = _library()
        self.item_vectors = checked_vectors(item_vectors)
        self.parameters = parameters
        self._use_threads()
        self._index = self._make(factory, item_vectors.shape[1])
        self._apply(parameters)
        vectors = _as_array(self.item_vectors[1:])
        self._quieten()
        try:
            self._index.train(vectors)
        except RuntimeError as error:
            raise _not_trained(factory, len(vectors), error) from None
        self._add(vectors, factory)

    def search(
        self, user_vectors: Tensor, k: int, *, seen: SeenBy | None = None, allowed: Tensor | None = None
    ) -> TopItems:
        """Returns the k items of each user that FAISS finds, best first."""
        return over_fetch(self._find, user_vectors, self.item_vectors, k, seen=seen, allowed=allowed)

    def add(self, item_vectors: Tensor) -> None:
        """Adds vectors (A, F) as the next rows; the structure is not trained again."""
        together = checked_vectors(torch.cat([self.item_vectors, item_vectors]))
        self._use_threads()
        self._add(_as_array(item_vectors))
        self.item_vectors = together

    def save(self, path: Path) -> None:
        """Writes FAISS's file."""
        # Through Python's file: FAISS's own does not look whether the last bytes reached the disk.
        with path.open("wb") as file:
            self._faiss.write_index(self._index, self._faiss.PyCallbackIOWriter(file.write))

    @classmethod
    def load(
        cls, path: Path, item_vectors: Tensor, *, factory: str = "HNSW32,Flat", parameters: str | None = None
    ) -> FaissIndex:
        """Returns the index of FAISS's file; the factory was chosen when it was built."""
        index = cls.__new__(cls)
        index._faiss = _library()
        index.item_vectors = checked_vectors(item_vectors)
        index.parameters = parameters
        try:
            index._index = index._faiss.read_index(str(path))
        except RuntimeError as error:
            raise SearchError(f"{path} must be a whole file of FAISS, got {_reason(error)}. Build it anew.") from None
        expected = (len(item_vectors) - 1, item_vectors.shape[1])
        if (found := (index._index.ntotal, index._index.d)) != expected:
            raise SearchError(f"{path} must hold {expected[0]:,} vectors of length {expected[1]}, got {found}.")
        index._apply(parameters)
        return index

    def _make(self, factory: str, length: int) -> Any:
        try:
            return self._faiss.index_factory(length, factory, self._faiss.METRIC_INNER_PRODUCT)
        except (RuntimeError, MemoryError) as error:
            expected = f"a FAISS factory string for inner products of vectors of length {length}"
            raise _problem("factory", expected, factory, error) from None

    def _quieten(self) -> None:
        """Keeps FAISS from a line on stderr for each clustering of few points; recall says what they cost."""
        inner = self._faiss.downcast_index(getattr(self._index, "base_index", None) or self._index)
        for holder in (inner, getattr(inner, "pq", None)):
            if holder is not None and hasattr(holder, "cp"):
                holder.cp.min_points_per_centroid = 1

    def _apply(self, parameters: str | None) -> None:
        try:
            if parameters is not None:
                self._faiss.ParameterSpace().set_index_parameters(self._index, parameters)
        except RuntimeError as error:
            expected = "NAME=NUMBER, parted by commas, of what this factory's structure takes"
            raise _problem("parameters", expected, parameters, error) from None

    def _add(self, vectors: Any, factory: str | None = None) -> None:
        try:
            self._index.add(vectors)
        except RuntimeError as error:
            expected = "a FAISS factory string of a structure that numbers vectors itself"
            raise _problem("factory", expected, factory, error) from None

    def _find(self, user_vectors: Tensor, n: int) -> TopItems:
        self._use_threads()
        _, places = self._index.search(_as_array(user_vectors), n)
        # FAISS numbers from 0 what are rows from 1 here, and says -1 where it finds no more.
        rows = torch.from_numpy(places).add_(1).sort(dim=1).values.to(user_vectors.device)
        at_once = max(1, SCORED_AT_ONCE // (n * user_vectors.shape[1]))
        scores = torch.cat(
            [
                # Each sum in the same order, so that equal vectors have equal scores.
                (self.item_vectors[some] * users.unsqueeze(1)).sum(dim=2)
                for users, some in zip(torch.split(user_vectors, at_once), torch.split(rows, at_once), strict=True)
            ]
        )
        scores.masked_fill_(rows == 0, NO_SCORE)
        ranked = scores.sort(dim=1, descending=True, stable=True)
        return TopItems(rows.gather(1, ranked.indices), ranked.values)

    def _use_threads(self) -> None:
        # FAISS and torch each bring an OpenMP of their own, and FAISS's counts threads a calling thread.
        self._faiss.omp_set_num_threads(torch.get_num_threads())


def _library() -> Any:
    require_extra("faiss", "search with FAISS")
    return importlib.import_module("faiss")


def _as_array(vectors: Tensor) -> Any:
    return np.ascontiguousarray(vectors.detach().cpu().float().numpy())


def _reason(error: BaseException) -> str:
    """Returns what FAISS says, without where in its source it says so.

    Example:
        >>> _reason(RuntimeError("Error in void f(int) at /project/faiss/x.cpp:7: Error: 'a > b' failed: too few"))
        "'a > b' failed: too few"
    """
    return re.sub(r"^Error in .*? at \S+:\d+: (Error: )?", "", one_line(error))


def _problem(where: str, expected: str, found: object, error: BaseException) -> ConfigError:
    examples = {"factory": "Try 'HNSW32,Flat', 'IVF256,Flat' or 'Flat'.", "parameters": "Try 'efSearch=256' for HNSW."}
    said = _reason(error)
    told = f"FAISS says: {said}. " if said else ""
    return ConfigError([Problem(f"{where} of index 'faiss'", expected, found, f"{told}{examples[where]}")])


def _not_trained(factory: str, n_items: int, error: RuntimeError) -> SearchError:
    fewest = re.search(r"should be at least as large as number of clusters \((\d+)\)", str(error))
    expected = f"at least {int(fewest[1]):,}" if fewest else f"fit for it (FAISS says: {_reason(error)})"
    return SearchError(
        f"the items to train factory {factory!r} on must be {expected}, got {n_items:,}. "
        "Take fewer cells or bits, or 'HNSW32,Flat', which is not trained."
    )
