"""Writes a bundle: a run's towers, vocabularies and items, which recommend without TowerZoo."""

from __future__ import annotations

import importlib.metadata
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from towerzoo.datasets import Vocabulary
from towerzoo.registry.errors import ExportError
from towerzoo.registry.extras import require_extra
from towerzoo.towers.export import reader as export_reader
from towerzoo.towers.export.check import TOLERANCE, check_in_fresh_process, evenly_spaced
from towerzoo.towers.export.programs import OPSET, OUTPUT, SIDES, Programs, Side, export_tower
from towerzoo.towers.export.reader import FORMAT, VERSION
from towerzoo.towers.export.readme import render_readme
from towerzoo.towers.recommend.people import Person
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.retrieval.best_items import best_items
from towerzoo.towers.runs.documents import Metrics
from towerzoo.towers.runs.files import whole_folder
from towerzoo.towers.runs.folder import RunFolder

ABOUT: Final = "bundle.json"
PACKAGES: Final = ("towerzoo", "torch", "onnx", "onnxscript", "onnxruntime")
RECALL_USERS: Final = 10_000
"""Number of users whose lists measure the recall of quantised vectors."""


def export_run(
    path: Path, to: Path, *, force: bool = False, report: Callable[[str], object] = lambda step: None
) -> dict[str, Any]:
    """Exports a run as a bundle and checks the bundle against the run. A failure leaves no bundle.

    Args:
        path: The run folder.
        to: Folder for the bundle, new or empty.
        force: Whether to replace an earlier bundle in `to`.
        report: Called with a line at the start of each step.

    Returns:
        Content of bundle.json.

    Raises:
        ExtraError: The export extra is not installed.
        ExportError: `to` is not empty, a part cannot be exported, or the bundle does not agree with the run.
        RunError: A file of the run is missing or damaged, or the bundle cannot be written.
    """
    require_extra("export", "export")
    require_free(to, force=force)
    run = RunFolder.open(path)
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "opset": OPSET,
        "run": f"{run.name}/{run.path.resolve().name}",
        "fingerprint": run.read(Metrics).fingerprint,
    }
    recommender = Recommender.open(run.path)
    with whole_folder(to) as folder:
        report("exporting the towers")
        programs = {side: _write_tower(folder, recommender, side) for side in SIDES}
        about |= _describe(recommender, programs)
        report("writing the items")
        about["int8_recall"] = _write_items(folder, recommender)
        _write_json(folder / "vocabularies.json", _vocabularies(recommender, programs))
        reader = Path(export_reader.__file__).read_text(encoding="utf-8")
        (folder / "reader.py").write_text(reader, encoding="utf-8")
        _write_json(folder / ABOUT, about)
        report("checking both towers in a fresh process")
        about["parity"] = {"tolerance": TOLERANCE, **check_in_fresh_process(run.path, folder)}
        _write_json(folder / ABOUT, about)
        (folder / "README.md").write_text(render_readme(about, programs, recommender.items), encoding="utf-8")
    return about


def require_free(to: Path, *, force: bool) -> None:
    """Raises an ExportError unless `to` is new, empty or, with force, an earlier bundle."""
    expected = "--to must be a new or empty folder"
    if to.is_dir():
        if not any(to.iterdir()):
            return
        if not _is_bundle(to):
            raise ExportError(f"{expected}, got {str(to)!r} with other files. Choose another folder.")
        if not force:
            raise ExportError(f"{expected}, got a bundle in {str(to)!r}. Choose another folder, or add --force.")
    elif to.exists():
        raise ExportError(f"{expected}, got the file {str(to)!r}. Choose another folder.")


def _is_bundle(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["format"] == FORMAT)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _write_tower(folder: Path, recommender: Recommender, side: Side) -> Programs:
    model, table = recommender.model, recommender.users if side == "user" else recommender.items
    programs = export_tower(getattr(model, f"{side}_tower"), model.score, side, table)
    programs.onnx.save(folder / f"{side}_tower.onnx")
    program = io.BytesIO()  # Python then reports a full disk; torch has an error of its own for it
    torch.export.save(programs.program, program)
    (folder / f"{side}_tower.pt2").write_bytes(program.getbuffer())
    return programs


def _describe(recommender: Recommender, programs: dict[Side, Programs]) -> dict[str, Any]:
    inputs = {
        side: [{**spec._asdict(), "dtype": spec.dtype, "shape": spec.shape} for spec in exported.tower.inputs]
        for side, exported in programs.items()
    }
    return {
        "user_key": recommender.users.key,
        "item_key": recommender.items.key,
        "towers": {side: {"inputs": described} for side, described in inputs.items()},
        "output": OUTPUT,
        "factors": recommender.item_vectors.factors.shape[1],
        "probabilities": recommender.is_probability(Person()),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _write_items(folder: Path, recommender: Recommender) -> dict[str, float]:
    """Writes the items and their vectors; returns the recall of the quantised vectors by list length."""
    factors = recommender.item_vectors.factors
    vectors = factors[1:].contiguous().numpy()
    numbers, scales = quantise(factors[1:])
    np.save(folder / "item_vectors.npy", vectors)
    np.save(folder / "item_vectors_int8.npy", numbers.numpy())
    np.save(folder / "item_scales.npy", scales.numpy())
    table = recommender.items
    items = {**{name: list(texts[1:]) for name, texts in table.texts.items()}, "id": list(table.ids.values)}
    _write_json(folder / "items.json", items)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    pq.write_table(pa.table({**items, "vector": flat}), folder / "item_vectors.parquet")
    rows = evenly_spaced(1, len(recommender.users), RECALL_USERS)
    users = recommender.factors([Person(row) for row in rows.tolist()])
    return {str(k): round(quantised_recall(users, factors, k), 4) for k in (10, 100) if k < len(factors)}


def _vocabularies(recommender: Recommender, programs: dict[Side, Programs]) -> dict[str, dict[str, Any]]:
    """Returns the values of each numbered feature and the number of the first value; always with the items' ids."""
    vocabularies: dict[str, dict[str, Any]] = {"user": {}, "item": {}}
    vocabularies["item"][recommender.items.key] = _words(recommender.items.ids)
    for side, exported in programs.items():
        tower = exported.tower.tower
        for spec in exported.tower.inputs:
            if spec.name in tower.feature_names:
                numbered = tower.encoder(spec.name).export_vocabulary()
                if numbered is not None:
                    vocabularies[side][spec.name] = {"first": numbered[0], "values": list(numbered[1])}
            elif spec.vocabulary is not None:
                vocabulary = exported.tower.table.column(spec.vocabulary).vocabulary
                assert vocabulary is not None
                vocabularies[side][spec.vocabulary] = _words(vocabulary)
    return vocabularies


def _words(vocabulary: Vocabulary) -> dict[str, Any]:
    return {"first": 1, "values": list(vocabulary.values)}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2 if path.name == ABOUT else None) + "\n", encoding="utf-8")


def quantise(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Quantises vectors (I, F) to int8 numbers from -127 to 127 (I, F) and scales > 0 (F,), whose product is close.

    Each dimension has its own scale, because a bias may be far larger than the factors of a cosine. A dot product with
    a user's factors needs the scales only once, on the user's side.

    Example:
        >>> quantise(torch.tensor([[1.0, 0.02], [-0.3, 0.0]]))
        (tensor([[127, 127],
                [-38,   0]], dtype=torch.int8), tensor([0.0079, 0.0002]))
    """
    largest = vectors.abs().amax(dim=0) if len(vectors) else vectors.new_ones(vectors.shape[1])
    scales = torch.where(largest > 0, largest / 127, 1.0)
    return ((vectors / scales).round().to(torch.int8), scales)


def quantised_recall(users: Tensor, items: Tensor, k: int) -> float:
    """Returns the mean recall of the exact k best items among the k best by quantised vectors, in [0, 1].

    Args:
        users: Factors of users (U, F).
        items: Factors of items (I, F), the unknown item first.
        k: Items per user, below I.
    """
    numbers, scales = quantise(items[1:])
    approximate = torch.cat([items[:1], numbers.to(items.dtype)])
    exact, retrieved = best_items(users, items, k).items, best_items(users * scales, approximate, k).items
    return float((exact.unsqueeze(2) == retrieved.unsqueeze(1)).any(dim=2).double().mean())
