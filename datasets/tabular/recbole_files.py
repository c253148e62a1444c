"""RecBole's atomic files, whose header gives each column a type (recbole.io/docs/user_guide/data/atomic_files.html)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from towerzoo.registry.errors import DataError

SUFFIXES: Final = (".inter", ".user", ".item")
"""File suffixes of interactions, users and items."""
SEQUENCE_SEPARATOR: Final = " "
"""The separator of the values of a `token_seq`."""
TYPES: Final = {
    "token": pa.string(),
    "token_seq": pa.list_(pa.string()),
    "float": pa.float64(),
    "float_seq": pa.list_(pa.float64()),
}
"""The Arrow type of each type in a header."""


def typed_header(fields: Sequence[str], path: str) -> dict[str, pa.DataType]:
    """Returns the type of each column by its name, from the fields of a header.

    Raises:
        DataError: Fields have no type, an unknown type or the name of another; all of it in one message.

    Example:
        >>> typed_header(["user_id:token", "age:float"], "ml.user")
        {'user_id': DataType(string), 'age': DataType(double)}
    """
    columns: dict[str, pa.DataType] = {}
    faults = []
    for field in fields:
        name, _, kind = field.strip().rpartition(":")
        if not name or kind not in TYPES:
            faults.append(
                f"{path}: each field of the header must be NAME:TYPE with a type of {', '.join(TYPES)}, "
                f"got {field!r}. Write it so, or give the file the suffix .tsv."
            )
        elif name in columns:
            faults.append(f"{path} has several columns called {name!r}. Rename all but one.")
        else:
            columns[name] = TYPES[kind]
    if faults:
        raise DataError("\n".join(faults))
    return columns
