"""A session recommender as the files of a bundle, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import sparse

from spotify_engine.errors import InputError
from spotify_engine.sessions.model.session_aware import Counts, SessionModel, SessionModelConfig
from spotify_engine.sessions.model.vectors import ARRAY_NAMES, GATVectors
from spotify_engine.sessions.recommend.supplement import SupplementConfig
from spotify_engine.store.bundle import Bundle, write_bundle

PIPELINE = "sessions"
BUNDLED_TABLES = ("users", "songs", "artists", "genres", "song_genres")
CSR = ("data", "indices", "indptr")
COUNTED = ("plays", "artist", "changes", "membership", "taste")  # of Counts, as plain arrays
SPARSE = ("listens", "transitions", "followed", "neared")


class Parts(NamedTuple):
    """The parts that ``SessionRecommender`` is made from, in its order."""

    tables: dict[str, pa.Table]
    plays: np.ndarray
    listens: sparse.csr_array
    session: SessionModel | None
    vectors: GATVectors | None
    cold: SupplementConfig


def save(parts: Parts, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write a bundle; ``manifest`` brings config, data fingerprint and metrics."""
    session, vectors = parts.session, parts.vectors
    arrays: dict[str, np.ndarray] = {
        "plays": parts.plays,
        **_csr("listens", parts.listens),
    }
    weights = {}
    cold = parts.cold.model_dump(mode="json")
    content = {**manifest, "pipeline": PIPELINE, "cold": cold}
    if vectors is not None:
        arrays |= {f"gat_{name}": getattr(vectors, name) for name in ARRAY_NAMES}
        content["alpha"] = vectors.alpha
    if session is not None:
        content["session"] = session.config.model_dump(mode="json")
        weights = session.state_dict()
        for name in COUNTED:
            arrays[f"counts_{name}"] = getattr(session.counts, name)
        for name in SPARSE:
            arrays |= _csr(f"counts_{name}", getattr(session.counts, name))
    write_bundle(folder, content, arrays, parts.tables, weights)


def load(bundle: Bundle) -> Parts:
    """Read an opened bundle.

    Raises:
        InputError: an array has not as many rows as there are users or songs.
        LookupError, TypeError, ValueError, RuntimeError: parts don't fit each other.
    """
    tables = {name: bundle.table(name) for name in BUNDLED_TABLES}
    n_users, n_songs = len(tables["users"]), len(tables["songs"])
    session, vectors = None, None
    manifest = bundle.manifest
    if "session" in manifest:
        plain = {name: bundle.array(f"counts_{name}") for name in COUNTED}
        n_artists = len(plain["changes"])
        shapes = {"listens": (n_users, n_songs), "transitions": (n_songs, n_songs)}
        shapes |= {"followed": (n_songs, n_songs), "neared": (n_artists, n_artists)}
        counts = Counts(
            **plain,  # type: ignore[arg-type]
            **{name: _open_csr(bundle, f"counts_{name}", shapes[name]) for name in SPARSE},  # type: ignore[arg-type]
        )
        session = SessionModel(counts, SessionModelConfig.model_validate(manifest["session"]))
        session.load_state_dict(bundle.weights())
        session.eval()
    if "alpha" in manifest:
        arrays = {name: bundle.array(f"gat_{name}") for name in ARRAY_NAMES}
        vectors = GATVectors(**arrays, alpha=manifest["alpha"])
        for name, rows in (("users", n_users), ("songs", n_songs)):
            if len(arrays[name]) != rows:
                raise InputError(
                    f"{bundle.folder / f'gat_{name}.npy'}: {len(arrays[name])} rows for "
                    f"{rows} {name}"
                )
    listens = _open_csr(bundle, "listens", (n_users, n_songs))
    cold = SupplementConfig.model_validate(manifest["cold"])
    return Parts(tables, bundle.array("plays"), listens, session, vectors, cold)


def _csr(name: str, matrix: sparse.csr_array) -> dict[str, np.ndarray]:
    return {f"{name}_{part}": getattr(matrix, part) for part in CSR}


def _open_csr(bundle: Bundle, name: str, shape: tuple[int, int]) -> sparse.csr_array:
    data, indices, indptr = (bundle.array(f"{name}_{part}") for part in CSR)
    matrix = sparse.csr_array((data, indices, indptr), shape=shape)
    matrix.check_format(full_check=True)
    return matrix
