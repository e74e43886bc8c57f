"""The fingerprint of a file of lists, by which a report names the lists it was made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def fingerprint(path: Path) -> str:
    """Sha256 of a table's columns and rows, however the file is compressed or its rows ordered."""
    table = pq.read_table(path)
    names = sorted(table.column_names)
    table = table.select(names).sort_by([(name, "ascending") for name in names])
    digest = hashlib.sha256()
    for name in names:
        column = table[name].combine_chunks()
        digest.update(name.encode())
        if pa.types.is_string(column.type):
            digest.update("\0".join(column.to_pylist()).encode())
        else:
            kind = "<i8" if pa.types.is_integer(column.type) else "<f4"
            digest.update(column.to_numpy().astype(kind).tobytes())
    return digest.hexdigest()
