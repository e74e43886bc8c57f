"""Bundles that a server could serve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from spotify_engine.sessions.model.session_aware import Counts, SessionModel, SessionModelConfig
from spotify_engine.sessions.queries import queries_of_events
from spotify_engine.sessions.recommender import SessionRecommender, membership_of
from spotify_engine.sessions.synthetic import SyntheticConfig, write_sessions
from spotify_engine.sessions.tables.build import read_tables
from spotify_engine.sessions.tables.edges import song_artists


@pytest.fixture(scope="session")
def recommenders(
    tmp_path_factory: pytest.TempPathFactory, make_recommender: Callable[..., Any]
) -> dict[str, Any]:
    """One of each pipeline, untrained."""
    folder = tmp_path_factory.mktemp("sessions") / "data"
    write_sessions(folder, SyntheticConfig.tiny())
    tables = read_tables(folder)
    users, songs = len(tables["users"]), len(tables["songs"])
    events = tables["events"]
    song = events["song"].to_numpy().astype(np.int64)
    queries = queries_of_events(events, np.arange(len(events)), 6)
    counts = Counts.of(queries, song, song_artists(tables), membership_of(tables), users)
    sessions = SessionRecommender(
        tables,
        np.bincount(song, minlength=songs),
        sparse.csr_array((users, songs)),
        SessionModel(counts, SessionModelConfig()),
        None,
    )
    return {"playlists": make_recommender(), "sessions": sessions}


@pytest.fixture(scope="session")
def save_bundle(recommenders: dict[str, Any]) -> Callable[..., Path]:
    """Writes a bundle with these metrics; other metrics are other content."""

    def save(folder: Path, pipeline: str = "playlists", **metrics: Any) -> Path:
        manifest = {"config": {}, "metrics": metrics, "data_fingerprint": "ab" * 32}
        recommenders[pipeline].save(folder, manifest)
        return folder

    return save
