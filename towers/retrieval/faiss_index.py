"""The `faiss` index: approximate search in memory with any structure of FAISS."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from towerzoo.registry import INDEXES
from towerzoo.registry.errors import ConfigError, Problem, SearchError, one_line
from towerzoo.registry.extras import require_extra
from towerzoo.towers.retrieval.best_items import NO_SCORE, TopItems
from towerzoo.towers.retrieval.exact_index import checked_vectors
from towerzoo.towers.retrieval.over_fetching import over_fetch
from towerzoo.towers.retrieval.seen_items import SeenBy

SCORED_AT_ONCE: Final = 1 << 23
"""Numbers of candidates' vectors that are gathered at once: 32 MiB."""


@INDEXES.register("faiss")
class FaissIndex:
    """Approximate search with one of FAISS's structures, named by FAISS's own factory string.

    The items that FAISS finds are scored again with the vectors themselves: scores are exact logits, even if the
    structure compresses vectors, and among equal scores the item of the lower row comes first. Items to leave out are
    removed from a longer list, see `over_fetch`; with `Flat` the result is that of `exact`. FAISS uses as many threads
    as torch; with several, HNSW builds a different graph every time.

    Args:
        factory: FAISS's index_factory string: `Flat` scores all; `HNSW32,Flat` walks a graph with 32 links per item;
            `IVF1024,Flat` searches the nearest of 1,024 cells; `IVF1024,PQ16` keeps 16 bytes per item. IVF and PQ are
            trained on the vectors.
        parameters: A string for FAISS's ParameterSpace, such as `efConstruction=80,efSearch=256` for HNSW or
            `nprobe=16` for IVF: more finds more and takes longer. None keeps FAISS's defaults.

    Raises:
        ConfigError: FAISS does not know the factory or a parameter, or cannot search inner products with it.
        ExtraError: FAISS is not installed.
        SearchError: There are too few items to train the structure on.

    Sources: Johnson et al., IEEE Transactions on Big Data 2021; HNSW, Malkov and Yashunin, TPAMI 2020; PQ, Jegou et
    al., TPAMI 2011.
    """

    def __init__(self, item_vectors: Tensor, *, factory: str = "HNSW32,Flat", parameters: str | None = None) -> None:
        self._faiss = _library()
        self.item_vectors = checked_vectors(item_vectors)
        length, vectors = item_vectors.shape[1], _as_array(item_vectors[1:])
        self._use_threads()
        with _config_errors("factory", f"a FAISS factory string for inner products of {length} numbers", factory):
            self._index = self._faiss.index_factory(length, factory, self._faiss.METRIC_INNER_PRODUCT)
        self._apply(parameters)
        try:
            self._index.train(vectors)
        except RuntimeError as error:
            raise SearchError(
                f"FAISS cannot train {factory!r} on {len(vectors):,} items: {_reason(error)}. "
                "Use fewer cells or bits, or 'HNSW32,Flat', which needs no training."
            ) from None
        with _config_errors("factory", "a FAISS factory string of a structure that numbers its vectors", factory):
            self._index.add(vectors)

    def search(
        self, user_vectors: Tensor, k: int, *, seen: SeenBy | None = None, allowed: Tensor | None = None
    ) -> TopItems:
        """Returns the k items of each user that FAISS finds, best first."""
        return over_fetch(self._find, user_vectors, self.item_vectors, k, seen=seen, allowed=allowed)

    def add(self, item_vectors: Tensor) -> None:
        """Adds vectors (A, F) as the next rows; the structure is not trained again."""
        together = checked_vectors(torch.cat([self.item_vectors, item_vectors]))
        self._use_threads()
        self._index.add(_as_array(item_vectors))
        self.item_vectors = together

    def save(self, path: Path) -> None:
        """Writes FAISS's file."""
        # With Python's file: FAISS's own does not check that the last bytes reached the disk.
        with path.open("wb") as file:
            self._faiss.write_index(self._index, self._faiss.PyCallbackIOWriter(file.write))

    @classmethod
    def load(
        cls, path: Path, item_vectors: Tensor, *, factory: str = "HNSW32,Flat", parameters: str | None = None
    ) -> FaissIndex:
        """Returns the index of FAISS's file, which has the factory it was built with."""
        index = cls.__new__(cls)
        index._faiss = _library()
        index.item_vectors = checked_vectors(item_vectors)
        try:
            index._index = index._faiss.read_index(str(path))
        except RuntimeError as error:
            raise SearchError(f"FAISS cannot read {path}: {_reason(error)}. Build the index again.") from None
        expected, actual = (len(item_vectors) - 1, item_vectors.shape[1]), (index._index.ntotal, index._index.d)
        if actual != expected:
            raise SearchError(
                f"{path} must hold {expected[0]:,} vectors of length {expected[1]}, got {actual[0]:,} of length "
                f"{actual[1]}. Build the index again."
            )
        index._apply(parameters)
        return index

    def _apply(self, parameters: str | None) -> None:
        expected = "NAME=NUMBER, separated by commas, of parameters that the factory's structure has"
        with _config_errors("parameters", expected, parameters):
            if parameters is not None:
                self._faiss.ParameterSpace().set_index_parameters(self._index, parameters)

    def _find(self, user_vectors: Tensor, n: int) -> TopItems:
        self._use_threads()
        _, positions = self._index.search(_as_array(user_vectors), n)
        # FAISS counts from 0, without the unknown item, and returns -1 where it finds no more.
        rows = torch.from_numpy(positions).add_(1).sort(dim=1).values.to(user_vectors.device)
        at_once = max(1, SCORED_AT_ONCE // (n * user_vectors.shape[1]))
        chunks = zip(torch.split(user_vectors, at_once), torch.split(rows, at_once), strict=True)
        scores = torch.cat([(self.item_vectors[near] * users.unsqueeze(1)).sum(dim=2) for users, near in chunks])
        ranked = scores.masked_fill_(rows == 0, NO_SCORE).sort(dim=1, descending=True, stable=True)
        return TopItems(rows.gather(1, ranked.indices), ranked.values)

    def _use_threads(self) -> None:
        # FAISS and torch each bring an OpenMP runtime, and FAISS counts threads per calling thread.
        self._faiss.omp_set_num_threads(torch.get_num_threads())


def _library() -> Any:
    require_extra("faiss", "search with FAISS")
    return importlib.import_module("faiss")


def _as_array(vectors: Tensor) -> Any:
    return np.ascontiguousarray(vectors.detach().cpu().float().numpy())


def _reason(error: BaseException) -> str:
    """Returns FAISS's message without the position in FAISS's source.

    Example:
        >>> _reason(RuntimeError("Error in void f(int) at /project/faiss/x.cpp:7: Error: 'a > b' failed: too few"))
        "'a > b' failed: too few"
    """
    return re.sub(r"^Error in .*? at \S+:\d+: (Error: )?", "", one_line(error))


@contextmanager
def _config_errors(parameter: str, expected: str, value: object) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        examples = "'HNSW32,Flat', 'IVF256,Flat' or 'Flat'" if parameter == "factory" else "'efSearch=256' for HNSW"
        hint = f"FAISS says: {_reason(error)}. Try {examples}."
        raise ConfigError([Problem(f"{parameter} of index 'faiss'", expected, value, hint)]) from None
