"""The session graph: users, songs, artists and genres, joined by what the training part holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from pydantic import BaseModel, ConfigDict

from spotify_engine import graphs
from spotify_engine.sessions.schema import (
    ARTIST,
    BELONGS_TO,
    BY,
    EDGE_TYPES,
    GENRE,
    HAS_GENRE,
    LISTENS_TO,
    PREFERS,
    REVERSE,
    SONG,
    USER,
    EdgeType,
)
from spotify_engine.sessions.tables.edges import song_artists

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData

_TABLE_OF = {USER: "users", SONG: "songs", ARTIST: "artists", GENRE: "genres"}


class SessionGraphConfig(BaseModel):
    """Which relations the graph has; its nodes are always all there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    artists: bool = True
    """``by``: song to artist."""
    genres: bool = True
    """``prefers``, ``belongs_to`` and ``has_genre``."""


def build_session_graph(
    tables: dict[str, pa.Table], edges: pa.Table, config: SessionGraphConfig
) -> HeteroData:
    """Assemble the heterogeneous graph.

    A relation without edges isn't there: a song without artist has no ``by``, and when no song has
    one, the graph has none. Users without history and songs that nobody heard stay as nodes.

    Args:
        tables: as ``schema.TABLES``; those of genres and preferences may be empty.
        edges: ``schema.LISTENING`` of the training part only.

    Returns:
        ``data[relation].edge_index`` int64 ``[2, e]``; a relation and its reverse list their edges
        in the same order and share ``edge_attr`` float32: ``[e, 3]`` play_count, completion_ratio
        and edge_weight of ``listens_to``, ``[e, 1]`` affinity of ``prefers``, where each user's
        strongest is 1. ``data[type].x`` is float32 ``[n, 0]``: nodes have no features.
        ``data.genre_names`` is a list, ``data.genre_songs``, ``data.genre_artists`` and
        ``data.genre_users`` int64 ``[genres]``: how many songs, artists and users each has.
    """
    from torch_geometric.data import HeteroData

    data = HeteroData()
    sizes = {kind: len(tables[name]) for kind, name in _TABLE_OF.items()}
    for kind, n in sizes.items():
        data[kind].num_nodes = n
        data[kind].x = torch.zeros((n, 0))
    _connect(
        data, LISTENS_TO, edges["user"].to_numpy(), edges["song"].to_numpy(),
        np.column_stack(
            [edges[name].to_numpy() for name in ("play_count", "avg_completion", "edge_weight")]
        ),
    )  # fmt: skip
    if config.artists:
        artist = song_artists(tables)
        known = np.flatnonzero(artist >= 0)
        _connect(data, BY, known, artist[known])
    if config.genres:
        prefers = tables["user_genre_preferences"]
        user, genre = prefers["user"].to_numpy(), prefers["genre"].to_numpy()
        affinity = normalised_affinity(user, prefers["affinity"].to_numpy(), sizes[USER])
        _connect(data, PREFERS, user, genre, affinity[:, None])
        for relation, table, owner in (
            (BELONGS_TO, tables["artist_genres"], "artist"),
            (HAS_GENRE, tables["song_genres"], "song"),
        ):
            _connect(data, relation, table[owner].to_numpy(), table["genre"].to_numpy())
    _describe_genres(data, tables)
    return data


def normalised_affinity(user: np.ndarray, affinity: np.ndarray, n_users: int) -> np.ndarray:
    """float32 ``[n]`` in 0..1: each affinity divided by its user's strongest; 0 if that is 0."""
    strongest = np.zeros(n_users, np.float32)
    np.maximum.at(strongest, user, affinity.astype(np.float32))
    below = strongest[user]
    return np.divide(affinity, below, out=np.zeros(len(user), np.float32), where=below > 0)


def _connect(
    data: HeteroData,
    kind: EdgeType,
    source: np.ndarray,
    target: np.ndarray,
    attributes: np.ndarray | None = None,
) -> None:
    if len(source):
        graphs.connect(data, kind, REVERSE[kind], source, target, attributes)


def _describe_genres(data: HeteroData, tables: dict[str, pa.Table]) -> None:
    data.genre_names = tables["genres"]["name"].to_pylist()
    for name, table in (
        ("genre_songs", "song_genres"),
        ("genre_artists", "artist_genres"),
        ("genre_users", "user_genre_preferences"),
    ):
        genre = tables[table]["genre"].to_numpy()
        counts = np.bincount(genre, minlength=len(data.genre_names))
        setattr(data, name, torch.from_numpy(counts.astype(np.int64)))


_GENRE_COUNTS = ("genre_songs", "genre_artists", "genre_users")


def save_session_graph(data: HeteroData, folder: Path) -> None:
    """As ``graphs.save_graph``; what the graph knows of genres goes into ``graph.json``."""
    counts = {name: getattr(data, name).tolist() for name in _GENRE_COUNTS}
    graphs.save_graph(data, folder, {"genre_names": data.genre_names, **counts})


def load_session_graph(folder: Path) -> HeteroData:
    """Open a saved graph, its arrays memory-mapped copy-on-write.

    Raises:
        InputError: the folder holds no graph.
    """
    data = graphs.load_graph(folder, tuple(_TABLE_OF), EDGE_TYPES)
    metadata = graphs.read_metadata(folder)
    data.genre_names = metadata["genre_names"]
    for name in _GENRE_COUNTS:
        setattr(data, name, torch.tensor(metadata[name], dtype=torch.int64))
    return data
