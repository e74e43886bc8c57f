"""One trained version on disk: a folder that is enough to serve, checked whenever it is opened."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import load_file, save_file
from torch import Tensor

from spotify_engine.dotted import Tree
from spotify_engine.errors import InputError
from spotify_engine.store.atomic import replaced_folder
from spotify_engine.strict_json import to_json

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"


class FileFacts(TypedDict, total=False):
    """What a manifest says of a file: of an array its shape and dtype, of a table its rows."""

    shape: list[int]
    dtype: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """An opened bundle whose files are all there and as they were written.

    Attributes:
        manifest: format version, pipeline, config, data fingerprint, metrics, and for each file its
            sha256 (and shape and dtype, of an array).
    """

    folder: Path
    manifest: Tree

    def array(self, name: str) -> np.ndarray:
        """A memory-mapped array; pages are private to the process if written to.

        Raises:
            InputError: not in the bundle, or of another shape or type than its manifest says.
        """
        path = self._path(f"{name}.npy")
        try:
            array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
        except ValueError as error:
            raise InputError(f"{path}: not a readable .npy array ({error})") from error
        said = self.manifest["files"][path.name]
        found = {"shape": list(array.shape), "dtype": str(array.dtype)}
        if any(said.get(key) != value for key, value in found.items()):
            raise InputError(
                f"{path}: holds {found['dtype']} {found['shape']}, but the manifest says "
                f"{said.get('dtype')} {said.get('shape')}"
            )
        return array

    def table(self, name: str) -> pa.Table:
        """One of its tables."""
        return pq.read_table(self._path(f"{name}.parquet"))

    def weights(self) -> dict[str, Tensor]:
        """All weights by name.

        Raises:
            InputError: a weight holds NaN or infinity.
        """
        path = self._path(WEIGHTS)
        weights: dict[str, Tensor] = load_file(path)
        for name, weight in weights.items():
            if weight.is_floating_point() and not weight.isfinite().all():
                raise InputError(f"{path}: {name} holds NaN or infinity; publish it again")
        return weights

    def _path(self, name: str) -> Path:
        if name not in self.manifest["files"]:
            raise InputError(f"{self.folder}: the bundle has no {name}; publish it again")
        return self.folder / name


def write_bundle(
    folder: Path,
    manifest: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    tables: Mapping[str, pa.Table],
    weights: Mapping[str, Tensor],
) -> None:
    """Write a bundle so that a crash leaves the old one, or the new one, never half of either.

    Args:
        manifest: ``pipeline``, ``config``, ``data_fingerprint``, ``metrics`` and whatever else the
            recommender needs to know; format version and files are added here.

    Raises:
        ValueError: an array or weight holds NaN or infinity.
    """
    with replaced_folder(folder) as partial:
        files = _write_parts(partial, arrays, tables, weights)
        content = {"format_version": FORMAT_VERSION, **manifest, "files": files}
        (partial / MANIFEST).write_text(to_json(content, sort_keys=True))


def _write_parts(
    partial: Path,
    arrays: Mapping[str, np.ndarray],
    tables: Mapping[str, pa.Table],
    weights: Mapping[str, Tensor],
) -> dict[str, FileFacts]:
    files: dict[str, FileFacts] = {}
    for name, array in arrays.items():
        _require_finite(f"array {name}", array)
        np.save(partial / f"{name}.npy", array, allow_pickle=False)
        files[f"{name}.npy"] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    for name, table in tables.items():
        pq.write_table(table, partial / f"{name}.parquet", compression="zstd")
        files[f"{name}.parquet"] = {"rows": len(table)}
    for name, weight in weights.items():
        _require_finite(f"weight {name}", weight.detach().numpy())
    save_file({k: v.detach().contiguous() for k, v in weights.items()}, partial / WEIGHTS)
    files[WEIGHTS] = {}
    for name, facts in files.items():
        facts["sha256"] = _sha256(partial / name)
    return files


def open_bundle(folder: Path | str, pipeline: str) -> Bundle:
    """Open a bundle after checking format, pipeline, presence and checksum of every file, and NaN.

    Raises:
        InputError: names the file that is missing, changed or damaged.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: not a bundle ({MANIFEST} is missing)")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {version!r}, this release reads {FORMAT_VERSION}; "
            "train again or use the release that wrote it"
        )
    if manifest.get("pipeline") != pipeline:
        raise InputError(f"{path}: a bundle of {manifest.get('pipeline')!r}, not of {pipeline!r}")
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise InputError(f"{path}: lists no files; the bundle is damaged, publish it again")
    for name, facts in files.items():
        # A manifest must not lead out of its folder.
        if Path(name).name != name or not (folder / name).is_file():
            raise InputError(f"{folder / name}: listed in the manifest but missing")
        if not isinstance(facts, dict) or _sha256(folder / name) != facts.get("sha256"):
            raise InputError(f"{folder / name}: changed or truncated since it was written")
    log.debug("%s: %d files are as they were written", folder, len(files))
    bundle = Bundle(folder, manifest)
    for name in files:
        if name.endswith(".npy"):
            array = bundle.array(name.removesuffix(".npy"))
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InputError(f"{folder / name}: holds NaN or infinity")
    return bundle


@contextmanager
def fitting_parts(folder: Path | str) -> Iterator[None]:
    """Tells what goes wrong while a recommender is put together from a bundle as what it is.

    Raises:
        InputError: parts of the bundle don't fit each other.
    """
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{folder}: parts do not fit each other ({first})") from error


def _require_finite(what: str, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{what} holds NaN or infinity; a model like that is not published")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
