"""The `qdrant` index: search in a vector database, for catalogues larger than one machine."""

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
from towerzoo.towers.retrieval.exact_index import checked_vectors
from towerzoo.towers.retrieval.seen_items import SeenBy

KEY_VARIABLE: Final = "QDRANT_API_KEY"
"""The environment variable with the server's key, which belongs in no config and no run."""
POINTS_AT_ONCE: Final = 1_000
QUERIES_AT_ONCE: Final = 64


@INDEXES.register("qdrant")
class QdrantIndex:
    """Search in a collection of the vector database Qdrant, whose points are the rows of the items table.

    With a `url` the vectors live on a server or cluster, which shards, replicates and stores the collection. Without
    one they live in this process (Qdrant's local mode, which scores every item), for tests and experiments. Items to
    leave out are conditions of the query, so the database itself finds k others. Each new index gets its own
    collection; the old one keeps answering until it is dropped.

    Args:
        url: The server, such as `http://localhost:6333`; its key is read from the variable QDRANT_API_KEY.
        ef: Candidates that the server's HNSW keeps while it searches: more finds more; None takes Qdrant's default.
        timeout: Seconds to wait for an answer.

    Raises:
        ExtraError: The client is not installed.
        SearchError: The server does not answer.
    """

    item_vectors: Tensor

    def __init__(
        self, item_vectors: Tensor, *, url: str | None = None, ef: Count | None = None, timeout: Count = 60
    ) -> None:
        self._connect(item_vectors, url, ef, timeout, collection=f"towerzoo-{uuid.uuid4().hex}")
        with self._server_errors():
            config = self._models.VectorParams(size=item_vectors.shape[1], distance=self._models.Distance.DOT)
            self._client.create_collection(self._collection, vectors_config=config)
        self._upload(1)

    def search(
        self, user_vectors: Tensor, k: int, *, seen: SeenBy | None = None, allowed: Tensor | None = None
    ) -> TopItems:
        """Returns the k items of each user that the database finds, best first."""
        filters = self._filters(len(user_vectors), seen, allowed)
        params = self._models.SearchParams(hnsw_ef=self._ef)
        queries = [
            self._models.QueryRequest(query=vector, limit=k, filter=condition, params=params)
            for vector, condition in zip(user_vectors.detach().cpu().float().tolist(), filters, strict=True)
        ]
        top = TopItems(torch.full((len(queries), k), UNKNOWN), torch.full((len(queries), k), NO_SCORE))
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            with self._server_errors():
                answers = self._client.query_batch_points(self._collection, queries[start : start + QUERIES_AT_ONCE])
            for user, answer in enumerate(answers, start):
                for rank, (score, row) in enumerate(sorted((-point.score, point.id) for point in answer.points)):
                    top.items[user, rank], top.scores[user, rank] = row, -score
        return TopItems(*(values.to(user_vectors.device) for values in top))

    def add(self, item_vectors: Tensor) -> None:
        """Adds vectors (A, F) as the next rows."""
        first = len(self.item_vectors)
        self.item_vectors = checked_vectors(torch.cat([self.item_vectors, item_vectors]))
        self._upload(first)

    def save(self, path: Path) -> None:
        """Writes the name of the collection, which has the vectors."""
        if self._url is not None:
            path.write_text(json.dumps({"collection": self._collection}))

    @classmethod
    def load(
        cls, path: Path, item_vectors: Tensor, *, url: str | None = None, ef: Count | None = None, timeout: Count = 60
    ) -> QdrantIndex:
        """Returns the index of the collection on the server; without a server it is built again."""
        if url is None:
            return cls(item_vectors, ef=ef, timeout=timeout)
        try:
            collection = json.loads(path.read_text())["collection"]
        except (OSError, ValueError, TypeError, KeyError):
            raise SearchError(f"{path} does not name a Qdrant collection. Build the index again.") from None
        index = cls.__new__(cls)
        index._connect(item_vectors, url, ef, timeout, collection=collection)
        with index._server_errors():
            exists = index._client.collection_exists(collection)
            n_points = index._client.count(collection).count if exists else 0
        if n_points != len(item_vectors) - 1:
            raise SearchError(
                f"collection {collection!r} at {url} must hold {len(item_vectors) - 1:,} items, got {n_points:,}. "
                "Build the index again."
            )
        return index

    def _connect(self, item_vectors: Tensor, url: str | None, ef: int | None, timeout: int, *, collection: str) -> None:
        require_extra("qdrant", "search with Qdrant")
        library = importlib.import_module("qdrant_client")
        self.item_vectors = checked_vectors(item_vectors)
        self._models: Any = importlib.import_module("qdrant_client.models")
        self._url, self._ef, self._collection = url, ef, collection
        server = {"url": url, "timeout": timeout, "check_compatibility": False, "api_key": os.environ.get(KEY_VARIABLE)}
        with self._server_errors():
            self._client: Any = library.QdrantClient(**({"location": ":memory:"} if url is None else server))

    def _upload(self, first: int) -> None:
        """Sends the vectors from row `first` on; a point that exists already is replaced."""
        vectors = self.item_vectors.detach().cpu().float()
        for rows in torch.split(torch.arange(first, len(vectors)), POINTS_AT_ONCE):
            points = self._models.Batch(ids=rows.tolist(), vectors=vectors[rows].tolist())
            with self._server_errors():
                self._client.upsert(self._collection, points=points, wait=True)

    def _filters(self, n: int, seen: SeenBy | None, allowed: Tensor | None) -> list[Any]:
        """Returns the condition of each of n users' queries."""
        rows_in, must, must_not = self._models.HasIdCondition, [], []
        if allowed is not None:
            kept, dropped = (torch.nonzero(part[1:])[:, 0].add(1).tolist() for part in (allowed, ~allowed))
            if len(kept) <= len(dropped):
                must = [rows_in(has_id=kept)]
            else:
                must_not = [rows_in(has_id=dropped)]
        left_out: list[list[int]] = [[] for _ in range(n)]
        if seen is not None:
            for user, item in zip(*(values.tolist() for values in seen[0].of(seen[1])), strict=True):
                left_out[user].append(item)
        return [
            self._models.Filter(must=must, must_not=[*must_not, *([rows_in(has_id=items)] if items else [])])
            for items in left_out
        ]

    @contextmanager
    def _server_errors(self) -> Iterator[None]:
        """Reports an error of the client or the server as a SearchError."""
        from qdrant_client.http.exceptions import ApiException

        try:
            yield
        except (ApiException, OSError, ValueError) as error:
            raise SearchError(
                f"Qdrant at {self._url or 'this process'} did not answer ({one_line(error)}). "
                f"Start it, or fix `url` or {KEY_VARIABLE}."
            ) from None
