"""The playlist graph: nodes, features and edges, from tables and the training part of the split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from pydantic import BaseModel, ConfigDict

from spotify_engine import graphs
from spotify_engine.playlists.schema import (
    ARTIST,
    AUDIO_COLUMNS,
    BY,
    CONTAINS,
    EDGE_TYPES,
    GENRE,
    IN,
    MADE,
    NODE_TYPES,
    PERFORMED_BY,
    PERFORMS,
    PLAYLIST,
    TRACK,
    EdgeType,
)
from spotify_engine.ragged import Ragged

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData

REVERSE: dict[EdgeType, EdgeType] = {CONTAINS: IN, BY: MADE, PERFORMS: PERFORMED_BY}


class GraphConfig(BaseModel):
    """Which inputs the graph uses; a switched-off input takes its features or relations along."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    audio: bool = True
    """Audio features of tracks and their means over playlists."""
    artists: bool = True
    """Artist nodes and track-artist edges."""
    genres: bool = True
    """Genre nodes and artist-genre edges (needs artists)."""


@dataclass(frozen=True)
class AudioScale:
    """Imputation and standardisation of audio features, fitted on tracks of the training part.

    Attributes:
        median, mean, std: float32 ``[7]``; a column that is missing everywhere has zeros and a
            std of 1.
    """

    median: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, audio: np.ndarray) -> AudioScale:
        """``audio`` float ``[tracks, 7]`` with NaN where missing."""
        known = [column[~np.isnan(column)] for column in audio.T]
        median = np.array([np.median(c) if len(c) else 0.0 for c in known], dtype=np.float32)
        filled = np.where(np.isnan(audio), median, audio)
        if not len(filled):
            filled = np.zeros((1, len(median)), dtype=np.float32)
        std = filled.std(axis=0)
        return cls(median, filled.mean(axis=0), np.where(std > 1e-6, std, 1.0))

    @property
    def unknown(self) -> np.ndarray:
        """Float32 ``[1, 8]``: what :meth:`apply` gives for a track of which nothing is known."""
        return self.apply(np.full((1, len(self.median)), np.nan, np.float32))

    def apply(self, audio: np.ndarray) -> np.ndarray:
        """Float32 ``[tracks, 8]``: seven standardised features and a flag for any missing one."""
        missing = np.isnan(audio)
        filled = np.where(missing, self.median, audio)
        scaled = (filled - self.mean) / self.std
        return np.column_stack([scaled, missing.any(axis=1)]).astype(np.float32)


def audio_matrix(tracks: pa.Table) -> np.ndarray:
    """Float32 ``[tracks, 7]`` of a tracks table, NaN where a value is missing."""
    columns = [
        tracks[name].to_numpy(zero_copy_only=False).astype(np.float32) for name in AUDIO_COLUMNS
    ]
    return np.column_stack(columns) if len(tracks) else np.zeros((0, len(columns)), np.float32)


def playlist_features(seeds: Ragged, track_features: np.ndarray | None) -> np.ndarray:
    """Float32 ``[playlists, 1 or 8]``: log10(1 + track count), then the mean audio features.

    Args:
        track_features: what :meth:`AudioScale.apply` gave, or None when there is no audio.
    """
    lengths = seeds.lengths
    count = np.log10(1 + lengths)[:, None]
    if track_features is None:
        return count.astype(np.float32)
    audio = track_features[:, : len(AUDIO_COLUMNS)]
    # Differences of a running sum give the sum of each list, empty ones included.
    running = np.zeros((len(seeds.values) + 1, audio.shape[1]))
    np.cumsum(audio[seeds.values], axis=0, dtype=np.float64, out=running[1:])
    total = running[seeds.offsets[1:]] - running[seeds.offsets[:-1]]
    return np.hstack([count, total / np.maximum(lengths, 1)[:, None]]).astype(np.float32)


def build_graph(
    tables: dict[str, pa.Table], train: Ragged, config: GraphConfig
) -> tuple[HeteroData, AudioScale | None]:
    """Assemble the heterogeneous graph of the training part.

    Only training edges join playlists and tracks, and only they feed playlist features, track
    counts of artists, medians and scales. Nodes without edges stay: their own features carry them.

    Args:
        tables: as ``schema.TABLES``; ``genres`` and ``artist_genres`` may be empty.
        train: training tracks of each playlist.

    Returns:
        ``(data, scale)``. ``data[type].x`` float32, ``data[relation].edge_index`` int64 ``[2, e]``;
        a relation and its reverse list their edges in the same order. ``scale`` is None without
        audio.
    """
    from torch_geometric.data import HeteroData

    data = HeteroData()
    sizes = {
        PLAYLIST: len(train),
        TRACK: len(tables["tracks"]),
        ARTIST: len(tables["artists"]),
        GENRE: len(tables["genres"]),
    }
    audio = audio_matrix(tables["tracks"])
    scale, track_features = None, None
    if config.audio and not np.isnan(audio).all():
        scale = AudioScale.fit(audio[np.unique(train.values)])
        track_features = scale.apply(audio)
    for kind, n in sizes.items():
        data[kind].num_nodes = n
        data[kind].x = torch.zeros((n, 0))
    data[PLAYLIST].x = torch.from_numpy(playlist_features(train, track_features))
    if track_features is not None:
        data[TRACK].x = torch.from_numpy(track_features)

    _connect(data, CONTAINS, train.rows, train.values)
    by = tables["track_artists"]
    if config.artists and len(by):
        track, artist = by["track"].to_numpy(), by["artist"].to_numpy()
        _connect(data, BY, track, artist)
        heard = np.zeros(sizes[TRACK], dtype=bool)
        heard[train.values] = True
        count = np.bincount(artist[heard[track]], minlength=sizes[ARTIST])
        data[ARTIST].x = torch.from_numpy(np.log10(1 + count)[:, None].astype(np.float32))
        performs = tables["artist_genres"]
        if config.genres and len(performs):
            _connect(data, PERFORMS, performs["artist"].to_numpy(), performs["genre"].to_numpy())
    return data, scale


def _connect(data: HeteroData, kind: EdgeType, source: np.ndarray, target: np.ndarray) -> None:
    graphs.connect(data, kind, REVERSE[kind], source, target)


def save_graph(data: HeteroData, scale: AudioScale | None, folder: Path) -> None:
    """One ``.npy`` an array, so that every worker of a machine maps the same pages."""
    graphs.save_graph(data, folder)
    if scale is not None:
        np.save(folder / "audio_scale.npy", np.stack([scale.median, scale.mean, scale.std]))


def load_graph(folder: Path) -> tuple[HeteroData, AudioScale | None]:
    """Open a saved graph without reading it: pages are mapped copy-on-write as they are touched.

    Raises:
        InputError: the folder holds no graph.
    """
    data = graphs.load_graph(folder, NODE_TYPES, EDGE_TYPES)
    scale_path = folder / "audio_scale.npy"
    scale = AudioScale(*np.load(scale_path)) if scale_path.exists() else None
    return data, scale
