"""The index of a run: what is built from its factors, saved into its folder, and told from that of other weights."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from towerzoo.registry import INDEXES, Spec
from towerzoo.registry.errors import RunError, one_line
from towerzoo.registry.files import file_digest, os_errors_as
from towerzoo.towers.recommend.new_items import NewItems
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.retrieval.exact_index import Index, Recall, measure_recall
from towerzoo.towers.retrieval.vector_table import encode_rows
from towerzoo.towers.runs.documents import Document
from towerzoo.towers.runs.files import write_whole_with
from towerzoo.towers.runs.folder import RunFolder

FOLDER: Final = "index"
FORMAT: Final = "towerzoo-index"
VERSION: Final = 1
USERS_COMPARED: Final = 1_000


class IndexFacts(Document):
    """What is known of a saved index. It is written last, and all at once: the files that it names are the index.

    Attributes:
        index: The index's part and parameters.
        run: Digest of the run's weights and rows.
        vectors: The file of its vectors, if it keeps any, with its digest as `sha256`.
        added: The table of new items, if any were added.
    """

    FILE = f"{FOLDER}/index.json"

    format: str
    version: int
    index: str | dict[str, Any]
    run: str
    vectors: str | None
    sha256: str | None
    added: str | None


@dataclass(frozen=True)
class RunIndex:
    """An index of a run's items, and the items that were added to it.

    Attributes:
        run: The run.
        spec: The index as YAML names it.
        index: The index itself, of the run's items and of those that were added.
        added: The raw features of the added items; None where there are none.
    """

    run: RunFolder
    spec: Spec
    index: Index
    added: pa.Table | None = None

    @classmethod
    def build(cls, run: RunFolder, recommender: Recommender, spec: Spec) -> RunIndex:
        """Builds the index of a run's items; nothing is written yet.

        Raises:
            TowerZooError: The spec names no index or a wrong one, or the items are too few for it.
        """
        return cls(run, spec, INDEXES.build(spec, item_vectors=recommender.item_vectors.factors))

    @classmethod
    def open(cls, run: RunFolder, recommender: Recommender) -> RunIndex:
        """Opens the index that was saved into a run, and lets the run's recommender search with it.

        Raises:
            RunError: There is none, or it is damaged or of other weights.
            SearchError: It cannot be read, or its library or database is missing.
        """
        about = _read_about(run)
        try:
            return cls._of_files(run, recommender, about)
        except (LookupError, TypeError, ValueError) as error:
            raise RunError(f"The index of {run.path} is damaged: {one_line(error)}. {_anew(run)}") from error

    @classmethod
    def _of_files(cls, run: RunFolder, recommender: Recommender, about: IndexFacts) -> RunIndex:
        added = None
        if about.added is not None:
            with run.reading(f"{FOLDER}/{about.added}", pa.ArrowException) as path:
                added = pq.read_table(path)
            recommender.append(NewItems.encode(recommender.items, added, recommender.model))
        name, parameters = INDEXES.split(about.index)
        part: Any = INDEXES.get(name)
        vectors = run.path / FOLDER / (about.vectors or "no such file")
        if about.vectors is not None and _digest(vectors) != about.sha256:
            raise RunError(f"{vectors} changed since it was saved. {_anew(run)}")
        index = part.load(vectors, recommender.item_vectors.factors, **parameters)
        recommender.index = index
        return cls(run, about.index, index, added)

    def with_added(self, recommender: Recommender, added: pa.Table) -> RunIndex:
        """Adds new items to the index, without training anything; nothing is written yet."""
        new = NewItems.encode(recommender.items, added, recommender.model)
        recommender.append(new)
        self.index.add(new.factors(recommender.model))
        together = added if self.added is None else pa.concat_tables([self.added, added], promote_options="default")
        return replace(self, added=together)

    def recall(self, recommender: Recommender, k: int) -> Recall:
        """Measures the index against exact search, for up to `USERS_COMPARED` of the run's users."""
        rows = torch.linspace(1, len(recommender.users) - 1, min(USERS_COMPARED, len(recommender.users) - 1)).long()
        users = encode_rows(partial(recommender.model.user_factors, as_of="test"), rows.to(recommender.device))
        return measure_recall(self.index, users, min(k, len(recommender.item_vectors.factors) - 1))

    def save(self, recall: Recall) -> None:
        """Saves the index into the run, whole or not at all: until it is complete, an earlier one stays in force.

        Raises:
            RunError: The disk is full or cannot be written.
        """
        folder = self.run.path / FOLDER
        with os_errors_as(RunError, folder, "created"):
            folder.mkdir(exist_ok=True)
        stamp = uuid.uuid4().hex[:12]
        written: list[Path] = []

        def write(name: str, writer: Callable[[Path], object]) -> str | None:
            written.append(folder / name)
            write_whole_with(folder / name, writer)
            return name

        try:
            vectors = self._write_vectors(folder / f"{stamp}.vectors", written)
            added = None
            if self.added is not None:
                added = write(f"{stamp}.parquet", lambda path: pq.write_table(self.added, path))
            about = {
                "format": FORMAT,
                "version": VERSION,
                "index": self.spec,
                "run": run_digest(self.run),
                "items": len(self.index.item_vectors) - 1,
                "vectors": vectors,
                "sha256": None if vectors is None else _digest(folder / vectors),
                "added": added,
                "recall": {f"recall@{recall.k}": round(recall.recall, 4), "users": recall.users},
            }
            self.run.write_json(IndexFacts.FILE, about)
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            with suppress(OSError):  # there is an earlier one in it
                folder.rmdir()
            raise
        for path in folder.iterdir():
            if path.name not in (Path(IndexFacts.FILE).name, vectors, added) and not path.is_dir():
                path.unlink(missing_ok=True)

    def _write_vectors(self, path: Path, written: list[Path]) -> str | None:
        """Writes what the index keeps; returns the file's name, if it keeps anything."""
        written.append(path)
        temporary = path.with_name(f".{path.name}")
        written.append(temporary)
        with os_errors_as(RunError, path):
            self.index.save(temporary)
            if not temporary.exists():
                return None
            temporary.replace(path)
        return path.name


def open_recommender(run: RunFolder, *, with_index: bool, device: str) -> Recommender:
    """Opens a finished run to answer: from the index that was saved into it, if that is wanted, or from all items.

    Raises:
        RunError: A file of the run or its index is missing or damaged.
        SearchError: The index cannot be read, or its library or database is missing.
    """
    recommender = Recommender.open(run.path, device=device)
    if with_index:
        RunIndex.open(run, recommender)
    return recommender


def run_digest(run: RunFolder) -> str:
    """Returns the hex digest of a run's weights and of the rows that they belong to.

    Raises:
        RunError: A file is missing.
    """
    digest = hashlib.sha256()
    for name in ("model.safetensors", "schema.json"):
        digest.update(_digest(run.path / name).encode())
    return digest.hexdigest()


def has_index(run: RunFolder) -> bool:
    """Returns whether an index was saved into a run."""
    return (run.path / IndexFacts.FILE).is_file()


def require_index(run: RunFolder) -> None:
    """Raises a RunError unless an index was saved into a run."""
    if not has_index(run):
        raise RunError(f"{run.path} has no index. {_anew(run)}")


def _read_about(run: RunFolder) -> IndexFacts:
    require_index(run)
    about = run.read(IndexFacts)
    if (about.format, about.version) != (FORMAT, VERSION):
        raise RunError(
            f"The index of {run.path} was written in format {about.format} {about.version}, and this version of "
            f"TowerZoo reads {FORMAT} {VERSION}. {_anew(run)}"
        )
    if about.run != run_digest(run):
        raise RunError(f"The index of {run.path} was built from other weights than the run's. {_anew(run)}")
    return about


def _anew(run: RunFolder) -> str:
    return f"Build it with tools/index.py {run.path}."


def _digest(path: Path) -> str:
    with os_errors_as(RunError, path, "read", "Copy the whole run again."):
        return file_digest(path)
