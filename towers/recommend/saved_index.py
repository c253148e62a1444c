"""The index of a run: built from the factors of its items, and saved into its folder."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from towerzoo.registry import INDEXES, Spec
from towerzoo.registry.checks import check_part
from towerzoo.registry.errors import RunError, one_line
from towerzoo.registry.files import file_digest, os_errors_as
from towerzoo.towers.recommend.new_items import read_new_items
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
    """The description of a saved index. It is written last: the files that it names are the index.

    Attributes:
        index: The index's part and parameters.
        run: Digest of the run's weights and rows.
        vectors: The file of the index, if it writes one, with its digest as `sha256`.
        added: The table of the items that were added, if there are any.
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
class SavedIndex:
    """The files of a run's index.

    Attributes:
        run: The run.
        spec: The index as YAML names it.
        vectors: The file of the index, if it wrote one.
        added: The raw features of the items that were added; None if there are none.
    """

    run: RunFolder
    spec: Spec
    vectors: Path | None
    added: pa.Table | None

    @classmethod
    def open(cls, run: RunFolder) -> SavedIndex:
        """Reads the index that was saved into a run.

        Raises:
            RunError: There is none, it is damaged, or it was built from other weights.
        """
        require_index(run)
        facts = run.read(IndexFacts)
        if (facts.format, facts.version) != (FORMAT, VERSION):
            raise RunError(
                f"The index of {run.path} was written in format {facts.format} {facts.version}, and this version of "
                f"TowerZoo reads {FORMAT} {VERSION}. {_rebuild(run)}"
            )
        if facts.run != run_digest(run):
            raise RunError(f"The index of {run.path} was built from other weights than the run's. {_rebuild(run)}")
        added = None
        if facts.added is not None:
            with run.reading(f"{FOLDER}/{facts.added}", pa.ArrowException) as path:
                added = pq.read_table(path)
        vectors = None if facts.vectors is None else run.path / FOLDER / facts.vectors
        if vectors is not None and _digest(vectors) != facts.sha256:
            raise RunError(f"{vectors} changed since it was saved. {_rebuild(run)}")
        return cls(run, facts.index, vectors, added)

    def load(self, item_vectors: Tensor) -> Index:
        """Returns the index of all items' factors (I, F).

        Raises:
            SearchError: It cannot be read, or its library or database is missing.
        """
        name, parameters = INDEXES.split(self.spec)
        part: Any = INDEXES.get(name)
        index: Index = part.load(self.vectors or self.run.path / FOLDER / "no file", item_vectors, **parameters)
        return index

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Reports errors that show that the index is damaged as a RunError."""
        try:
            yield
        except (LookupError, TypeError, ValueError) as error:
            raise RunError(
                f"The index of {self.run.path} is damaged: {one_line(error)}. {_rebuild(self.run)}"
            ) from error


@dataclass(frozen=True)
class BuiltIndex:
    """An index that was built or extended.

    Attributes:
        path: Its folder.
        items: Items in it.
        added: Items that this call added.
        recall: Its recall and speed compared with exact search.
        notes: What the run does not know about the added items.
    """

    path: Path
    items: int
    added: int
    recall: Recall
    notes: list[str]


def build_index(
    path: str | PathLike[str],
    *,
    spec: str | None = None,
    add: Path | None = None,
    k: int = 100,
    device: str = "cpu",
) -> BuiltIndex:
    """Builds the index of a run's items or adds new items to it, and saves it into the run.

    Args:
        path: The run folder.
        spec: The index as YAML text. None keeps the index of the run if items are added to one, else takes `exact`.
        add: A CSV or Parquet file of new items, see `read_new_items`. Nothing is trained.
        k: The recall is that of lists of this length; up to `USERS_COMPARED` of the run's users are compared.
        device: `cpu`, `cuda` or `auto`.

    Raises:
        TowerZooError: The spec or the file is wrong, the items are too few for the index, or the run cannot be written.
    """
    run = RunFolder.open(Path(path))
    extends = spec is None and add is not None and has_index(run)
    checked: Spec = check_part(INDEXES, "exact" if spec is None else spec, "--index")
    recommender = Recommender.open(run.path, device=device, index=extends)
    if extends:
        checked = run.read(IndexFacts).index
    else:
        recommender.index = INDEXES.build(checked, item_vectors=recommender.item_vectors.factors)
    added, notes = (None, []) if add is None else read_new_items(add, recommender.items)
    if added is not None:
        recommender.append(added)
    assert recommender.index is not None
    n_users, items = len(recommender.users) - 1, len(recommender.item_vectors.factors) - 1
    rows = torch.linspace(1, n_users, min(USERS_COMPARED, n_users)).long().to(recommender.device)
    users = encode_rows(partial(recommender.model.user_factors, as_of="test"), rows)
    recall = measure_recall(recommender.index, users, min(k, items))
    _save(run, checked, recommender.index, recommender.added, recall)
    return BuiltIndex(run.path / FOLDER, items, 0 if added is None else len(added), recall, notes)


def _save(run: RunFolder, spec: Spec, index: Index, added: pa.Table | None, recall: Recall) -> None:
    """Saves an index completely or not at all: until its description is written, the previous one is in use."""
    folder = run.path / FOLDER
    with os_errors_as(RunError, folder, "created"):
        folder.mkdir(exist_ok=True)
    stamp = uuid.uuid4().hex[:12]
    vectors, temporary, table = (folder / f"{stamp}.{kind}" for kind in ("vectors", "tmp", "parquet"))
    try:
        with os_errors_as(RunError, vectors):
            index.save(temporary)
            if has_file := temporary.exists():
                temporary.replace(vectors)
        if added is not None:
            write_whole_with(table, lambda path: pq.write_table(added, path))
        facts = {
            "format": FORMAT,
            "version": VERSION,
            "index": spec,
            "run": run_digest(run),
            "items": len(index.item_vectors) - 1,
            "vectors": vectors.name if has_file else None,
            "sha256": _digest(vectors) if has_file else None,
            "added": None if added is None else table.name,
            "recall": {f"recall@{recall.k}": round(recall.recall, 4), "users": recall.users},
        }
        run.write_json(IndexFacts.FILE, facts)
    except BaseException:
        for path in (vectors, temporary, table):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it holds a previous index
            folder.rmdir()
        raise
    for path in folder.iterdir():
        if path.name not in (Path(IndexFacts.FILE).name, vectors.name, table.name) and not path.is_dir():
            path.unlink(missing_ok=True)


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
        raise RunError(f"{run.path} has no index. {_rebuild(run)}")


def _rebuild(run: RunFolder) -> str:
    return f"Build it with tools/index.py {run.path}."


def _digest(path: Path) -> str:
    with os_errors_as(RunError, path, "read", "Copy the whole run again."):
        return file_digest(path)
