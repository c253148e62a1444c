"""A bundle: what recommends without TowerZoo, made from a run."""

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

from towerzoo.datasets import Table, Vocabulary
from towerzoo.registry.errors import ExportError
from towerzoo.registry.extras import require_extra
from towerzoo.towers.encoders.letter_trigrams import LetterTrigramEncoder
from towerzoo.towers.export import reader as export_reader
from towerzoo.towers.export.check import TOLERANCE, check_in_fresh_process
from towerzoo.towers.export.programs import OPSET, OUTPUT, Programs, export_tower
from towerzoo.towers.export.reader import FORMAT, VERSION
from towerzoo.towers.export.readme import render_readme
from towerzoo.towers.export.tower import SIDES, Input, Side
from towerzoo.towers.export.vectors import quantise, quantised_recall
from towerzoo.towers.recommend.people import Person
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.runs.files import whole_folder
from towerzoo.towers.runs.folder import RunFolder

Report = Callable[[str], object]

ABOUT: Final = "bundle.json"
PACKAGES: Final = ("towerzoo", "torch", "onnx", "onnxscript", "onnxruntime")
MOST_USERS: Final = 10_000
"""Users whose lists measure what quantisation costs."""


def _say_nothing(stage: str) -> None:
    pass


def export_run(path: Path, to: Path, *, force: bool = False, report: Report = _say_nothing) -> dict[str, Any]:
    """Writes the bundle of a run and checks it against the run; after a failure there is none.

    Args:
        path: The run folder.
        to: Where the bundle goes.
        force: Whether an earlier bundle may be replaced.
        report: Called with what is done next.

    Returns:
        The bundle's bundle.json.

    Raises:
        ExtraError: The export extra is not installed.
        ExportError: `to` is taken, a part cannot be exported, or the bundle does not agree with the run.
        RunError: A file of the run is missing or damaged, or the disk is full or cannot be written.
    """
    require_extra("export", "export")
    require_free(to, force=force)
    run = RunFolder.open(path)
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "opset": OPSET,
        "run": f"{run.name}/{run.path.resolve().name}",
        "fingerprint": run.read_json("metrics.json", "fingerprint")["fingerprint"],
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
        about["parity"] = {"tolerance": TOLERANCE, **check_in_fresh_process(run.path, folder)._asdict()}
        _write_json(folder / ABOUT, about)
        (folder / "README.md").write_text(render_readme(about, programs, recommender.items), encoding="utf-8")
    return about


def require_free(to: Path, *, force: bool) -> None:
    """Raises an ExportError unless there is nothing, an empty folder or, with force, an earlier bundle.

    A folder is replaced as a whole, so that the one that the command runs in would be gone for who called it.
    """
    expected = "--to must be a new or empty folder"
    if to.is_dir():
        if Path.cwd().is_relative_to(to.resolve()):
            raise ExportError(
                f"--to must be another folder than the current one, got {str(to)!r}. Name a new one in it."
            )
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
    program = io.BytesIO()  # a full disk is an error of Python's then, not one of torch's own
    torch.export.save(programs.program, program)
    (folder / f"{side}_tower.pt2").write_bytes(program.getbuffer())
    return programs


def _describe(recommender: Recommender, programs: dict[Side, Programs]) -> dict[str, Any]:
    inputs = {side: [_about_input(some) for some in exported.tower.inputs] for side, exported in programs.items()}
    return {
        "user_key": recommender.users.key,
        "item_key": recommender.items.key,
        "towers": {side: {"inputs": described} for side, described in inputs.items()},
        "output": OUTPUT,
        "factors": recommender.item_vectors.factors.shape[1],
        "probabilities": recommender.is_probability(Person()),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _about_input(some: Input) -> dict[str, Any]:
    return {**some._asdict(), "dtype": some.dtype, "shape": some.shape}


def _write_items(folder: Path, recommender: Recommender) -> dict[str, float]:
    """Writes the item vectors, and returns what share of the exact lists their quantised form finds, by length."""
    factors = recommender.item_vectors.factors
    vectors = factors[1:].contiguous().numpy()
    numbers, scales = quantise(factors[1:])
    np.save(folder / "item_vectors.npy", vectors)
    np.save(folder / "item_vectors_int8.npy", numbers.numpy())
    np.save(folder / "item_scales.npy", scales.numpy())
    items = _items(recommender.items)
    _write_json(folder / "items.json", items)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    pq.write_table(pa.table({**items, "vector": flat}), folder / "item_vectors.parquet")
    n_users = len(recommender.users)
    rows = torch.linspace(1, n_users - 1, min(MOST_USERS, n_users - 1), dtype=torch.float64).long()
    users = recommender.factors([Person(row) for row in rows.tolist()])
    return {str(k): round(quantised_recall(users, factors, k), 4) for k in (10, 100) if k < len(factors)}


def _items(table: Table) -> dict[str, list[Any]]:
    texts = {name: list(texts[1:]) for name, texts in table.texts.items()}
    return {**texts, "id": list(table.ids.values)}


def _vocabularies(recommender: Recommender, programs: dict[Side, Programs]) -> dict[str, dict[str, Any]]:
    """Returns the values of every feature that is numbered, and the number of the first; the items' ids always."""
    found: dict[str, dict[str, Any]] = {"user": {}, "item": {recommender.items.key: recommender.items.ids}}
    for side, exported in programs.items():
        for some in exported.tower.inputs:
            if some.kind == "trigrams":
                encoder = exported.tower.tower.encoder(some.name)
                assert isinstance(encoder, LetterTrigramEncoder)
                found[side][some.name] = {"first": 0, "values": encoder.known}
            elif some.vocabulary is not None:
                found[side][some.vocabulary] = exported.tower.table.column(some.vocabulary).vocabulary
    return {
        side: {
            name: {"first": 1, "values": list(some.values)} if isinstance(some, Vocabulary) else some
            for name, some in vocabularies.items()
        }
        for side, vocabularies in found.items()
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2 if path.name == ABOUT else None) + "\n", encoding="utf-8")
