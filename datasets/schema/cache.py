"""Caches a star schema in one safetensors file, so that raw files are parsed once."""

from __future__ import annotations

import json
import os
import uuid
import warnings
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from towerzoo.datasets.schema.star_schema import Column, Interactions, StarSchema, Table
from towerzoo.datasets.splits import PARTS, Split
from towerzoo.datasets.vocabulary import Vocabulary

FORMAT: Final = "towerzoo-star-schema"
VERSION: Final = "4"
"""Raise it when the layout of the file changes; files of other versions are rebuilt."""
DESCRIPTION: Final = "description"
"""The tensor of UTF-8 JSON with everything that is not a tensor; safetensors limits its own header to 100 MB."""


def cache_folder() -> Path:
    """Returns the folder for reproducible files: `$TOWERZOO_CACHE`, else `~/.cache/towerzoo`."""
    named = os.environ.get("TOWERZOO_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "towerzoo"


def cached(name: str, digest: str, build: Callable[[], StarSchema]) -> StarSchema:
    """Returns the schema from the cache folder, or builds and caches it.

    Args:
        name: Name of the cache file, without its suffix; one name holds one schema.
        digest: Hex digest of the sources; a schema of other sources is rebuilt.
        build: Builds the schema, with this digest.
    """
    path = cache_folder() / "schemas" / f"{name}.safetensors"
    schema = load_schema(path, digest)
    if schema is None:
        schema = build()
        save_schema(schema, path)
    return schema


def save_schema(schema: StarSchema, path: Path) -> None:
    """Writes a schema to a temporary file beside `path` and renames it.

    A cache that cannot be written only costs time, so it is a warning and not an error.
    """
    tensors = _tensors(schema)
    header = {"format": FORMAT, "version": VERSION, "digest": schema.digest, "crc32": str(_checksum(tensors))}
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(safetensors.torch.save(tensors, header))
        temporary.replace(path)
    except OSError as error:
        warnings.warn(
            f"{path.parent} cannot be written ({error.strerror or error}), so the raw files will be parsed again next "
            "time. Set TOWERZOO_CACHE to another folder.",
            stacklevel=2,
        )
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def load_schema(path: Path, digest: str) -> StarSchema | None:
    """Reads a schema that `save_schema` wrote.

    Args:
        path: The file.
        digest: What the schema's digest must be.

    Returns:
        The schema; None if the file is missing, unreadable, truncated, damaged, of another program or version, or made
        from other sources.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
        # The header alone decides whether to read the rest.
        if (header.get("format"), header.get("version"), header.get("digest")) != (FORMAT, VERSION, digest):
            return None
        tensors = safetensors.torch.load(path.read_bytes())
        if str(_checksum(tensors)) != header.get("crc32"):
            return None
        return _schema(tensors, digest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        return None


def _tensors(schema: StarSchema) -> dict[str, Tensor]:
    events = schema.interactions
    tensors = {"interactions/user": events.user, "interactions/item": events.item}
    optional = {"timestamp": events.timestamp, "weight": events.weight, "negatives": events.negatives}
    tensors |= {f"interactions/{name}": values for name, values in optional.items() if values is not None}
    tensors |= {f"feedback/{name}": values for name, values in events.feedback.items()}
    description: dict[str, Any] = {
        "feedback": list(events.feedback),
        "categories": {name: vocabulary.values for name, vocabulary in events.categories.items()},
        "notes": schema.notes,
    }
    if (split := schema.split) is not None:
        tensors |= {f"split/{part}": getattr(split, part) for part in PARTS}
        description["split"] = {"in_time": split.in_time, "streamed": split.streamed}
    for side, table in (("users", schema.users), ("items", schema.items)):
        tensors |= {f"{side}/{name}": column.values for name, column in table.columns.items()}
        description[side] = {
            "key": table.key,
            "texts": table.texts,
            "columns": {
                name: None if column.vocabulary is None else column.vocabulary.values
                for name, column in table.columns.items()
            },
        }
    text = json.dumps(description, default=dict).encode()
    tensors[DESCRIPTION] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    # Copies, because safetensors refuses views and tensors that share their memory.
    return {
        name: values.detach().cpu().clone(memory_format=torch.contiguous_format) for name, values in tensors.items()
    }


def _schema(tensors: Mapping[str, Tensor], digest: str) -> StarSchema:
    description = json.loads(tensors[DESCRIPTION].numpy().tobytes())
    interactions = Interactions(
        user=tensors["interactions/user"],
        item=tensors["interactions/item"],
        feedback={name: tensors[f"feedback/{name}"] for name in description["feedback"]},
        timestamp=tensors.get("interactions/timestamp"),
        weight=tensors.get("interactions/weight"),
        negatives=tensors.get("interactions/negatives"),
        categories={name: Vocabulary(values) for name, values in description["categories"].items()},
    )
    users, items = (_table(side, description[side], tensors) for side in ("users", "items"))
    split = None
    if "split" in description:
        train, valid, test = (tensors[f"split/{part}"] for part in PARTS)
        split = Split(train, valid, test, **description["split"])
    return StarSchema(users, items, interactions, digest, tuple(description["notes"]), split)


def _table(side: str, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Table:
    return Table(
        key=description["key"],
        columns={
            name: Column(name, tensors[f"{side}/{name}"], None if values is None else Vocabulary(values))
            for name, values in description["columns"].items()
        },
        texts={name: tuple(texts) for name, texts in description["texts"].items()},
    )


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """Returns the CRC-32 over names, types, shapes and bytes, which detects a flipped bit."""
    crc = 0
    for name in sorted(tensors):
        values = tensors[name]
        crc = zlib.crc32(f"{name} {values.dtype} {tuple(values.shape)}".encode(), crc)
        crc = zlib.crc32(values.numpy().data, crc)
    return crc
