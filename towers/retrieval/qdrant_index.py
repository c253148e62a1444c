"""The `qdrant` index: search by a vector database, for catalogues past one machine."""

from __future__ import annotations

import importlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from towerzoo.datasets import UNKNOWN
from towerzoo.registry import INDEXES
from towerzoo.registry.errors import SearchError, one_line
from towerzoo.registry.extras import require_extra
from towerzoo.registry.ranges import Count
from towerzoo.towers.retrieval.best_items import NO_SCORE, TopItems
from towerzoo.towers.retrieval.exact_index import SeenBy, checked_vectors

KEY_VARIABLE: Final = "QDRANT_API_KEY"
"""The environment variable with a server's key: keys belong into no config and no run."""
POINTS_AT_ONCE: Final = 1_000
QUERIES_AT_ONCE: Final = 64


@INDEXES.register("qdrant")
class QdrantIndex:
    """Search by a collection of the vector database Qdrant, whose points are the rows of the items table.

    With a `url` the vectors live on a server or a cluster of them, which shards, replicates and stores the collection;
    without, in this process (Qdrant's local mode, which scores everything), to try things out and to test. Items to
    leave out are conditions of the query, so that the database itself finds k others. Each new index gets a collection
    of its own, and the old one goes on answering until nobody needs it.

    Args:
        item_vectors: The vectors to search (I, F).
        url: Of the server, such as `http://localhost:6333`; its key is read from the variable QDRANT_API_KEY.
        ef: Candidates that the server's HNSW keeps while it searches: more finds more; None takes Qdrant's value.
        timeout: Seconds to wait for an answer.

    Raises:
        ExtraError: The client is not installed.
        SearchError: The server does not answer.

    Example:
        >>> index = QdrantIndex(torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]))
        >>> index.search(torch.tensor([[1.0, 1.0]]), 2).items
        tensor([[2, 3]])
    """

    def __init__(
        self, item_vectors: Tensor, *, url: str | None = None, ef: Count | None = None, timeout: Count = 60
    ) -> None:
        self.item_vectors = checked_vectors(item_vectors)
        self._connect(url, ef, timeout, collection=f"towerzoo-{uuid.uuid4().hex}")
        self._create()

    def search(
        self, user_vectors: Tensor, k: int, *, seen: SeenBy | None = None, allowed: Tensor | None = None
    ) -> TopItems:
        """Returns the k items of each user that the database finds, best first."""
        filters = self._filters(len(user_vectors), seen, allowed)
        params = self._models.SearchParams(hnsw_ef=self._ef)
        queries = [
            self._models.QueryRequest(query=vector, limit=k, filter=some, params=params)
            for vector, some in zip(user_vectors.detach().cpu().float().tolist(), filters, strict=True)
        ]
        top = TopItems(torch.full((len(queries), k), UNKNOWN), torch.full((len(queries), k), NO_SCORE))
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            with self._answering():
                found = self._client.query_batch_points(self._collection, queries[start : start + QUERIES_AT_ONCE])
            for place, answer in enumerate(found, start):
                ranked = sorted((-point.score, point.id) for point in answer.points)
                for at, (score, row) in enumerate(ranked):
                    top.items[place, at], top.scores[place, at] = row, -score
        return TopItems(*(values.to(user_vectors.device) for values in top))

    def add(self, item_vectors: Tensor) -> None:
        """Adds vectors (A, F) as the next rows."""
        before = len(self.item_vectors)
        self.item_vectors = checked_vectors(torch.cat([self.item_vectors, item_vectors]))
        self._upload(before)

    def save(self, path: Path) -> None:
        """Writes the name of the collection; the vectors are the database's."""
        if self._url is not None:
            path.write_text(json.dumps({"collection": self._collection}))

    @classmethod
    def load(
        cls, path: Path, item_vectors: Tensor, *, url: str | None = None, ef: Count | None = None, timeout: Count = 60
    ) -> QdrantIndex:
        """Returns the index of the collection on the server; without a server it is made anew."""
        if url is None:
            return cls(item_vectors, ef=ef, timeout=timeout)
        try:
            collection = json.loads(path.read_text())["collection"]
        except (OSError, ValueError, TypeError, KeyError):
            raise SearchError(f"{path} must name a collection of Qdrant, got a damaged file. Build it anew.") from None
        index = cls.__new__(cls)
        index.item_vectors = checked_vectors(item_vectors)
        index._connect(url, ef, timeout, collection=collection)
        with index._answering():
            found = index._client.count(collection).count if index._client.collection_exists(collection) else None
        if found != len(item_vectors) - 1:
            told = "no such collection" if found is None else f"{found:,}"
            raise SearchError(
                f"collection {collection!r} at {url} must hold {len(item_vectors) - 1:,} items, got {told}. "
                "Build the index anew."
            )
        return index

    def _connect(self, url: str | None, ef: int | None, timeout: int, *, collection: str) -> None:
        require_extra("qdrant", "search with Qdrant")
        library = importlib.import_module("qdrant_client")
        self._models: Any = importlib.import_module("qdrant_client.models")
        self._url, self._ef, self._collection = url, ef, collection
        options: dict[str, Any] = {"url": url, "timeout": timeout, "check_compatibility": False}
        with self._answering():
            self._client: Any = (
                library.QdrantClient(":memory:")
                if url is None
                else library.QdrantClient(**options, api_key=os.environ.get(KEY_VARIABLE))
            )

    def _create(self) -> None:
        size, models = self.item_vectors.shape[1], self._models
        with self._answering():
            config = models.VectorParams(size=size, distance=models.Distance.DOT)
            self._client.create_collection(self._collection, vectors_config=config)
        self._upload(1)

    def _upload(self, first: int) -> None:
        """Gives the database the vectors from a row on; a point that it has already is replaced."""
        vectors = self.item_vectors.detach().cpu().float().numpy()
        for start in range(first, len(vectors), POINTS_AT_ONCE):
            rows = list(range(start, min(start + POINTS_AT_ONCE, len(vectors))))
            points = self._models.Batch(ids=rows, vectors=vectors[start : rows[-1] + 1].tolist())
            with self._answering():
                self._client.upsert(self._collection, points=points, wait=True)

    def _filters(self, n: int, seen: SeenBy | None, allowed: Tensor | None) -> list[Any]:
        """Returns the conditions of each user's query; None where there are none."""
        ids = self._models.HasIdCondition
        must, must_not = [], []
        if allowed is not None:
            rows, others = (torch.nonzero(some[1:])[:, 0].add(1).tolist() for some in (allowed, ~allowed))
            if len(rows) <= len(others):
                must = [ids(has_id=rows)]
            else:
                must_not = [ids(has_id=others)]
        met: list[list[int]] = [[] for _ in range(n)]
        if seen is not None:
            for place, item in zip(*(values.tolist() for values in seen[0].of(seen[1])), strict=True):
                met[place].append(item)
        return [
            self._models.Filter(must=must, must_not=[*must_not, *([ids(has_id=some)] if some else [])])
            if some or must or must_not
            else None
            for some in met
        ]

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Tells what goes wrong between here and the server."""
        from qdrant_client.http.exceptions import ApiException

        try:
            yield
        except (ApiException, OSError, ValueError) as error:
            raise SearchError(
                f"the vector database at {self._url or 'hand'} must answer, got {one_line(error)!r}. "
                f"Start it, or mend url or {KEY_VARIABLE}."
            ) from None
