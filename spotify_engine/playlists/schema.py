"""The names of the playlist pipeline's tables, nodes and edges, defined here only."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from spotify_engine.reading.rejects import REJECTS


class AudioColumn(NamedTuple):
    """One audio feature: its legal range in the file, in the file's own unit."""

    name: str
    low: float
    high: float


# Tempo (beats a minute) and loudness (dB) are scaled to [0, 1] over these ranges; the others are
# already there. Values outside a range are clipped to it and counted.
AUDIO = (
    AudioColumn("danceability", 0.0, 1.0),
    AudioColumn("energy", 0.0, 1.0),
    AudioColumn("valence", 0.0, 1.0),
    AudioColumn("acousticness", 0.0, 1.0),
    AudioColumn("instrumentalness", 0.0, 1.0),
    AudioColumn("loudness", -60.0, 0.0),
    AudioColumn("tempo", 0.0, 250.0),
)
AUDIO_COLUMNS = tuple(column.name for column in AUDIO)

PLAYLIST, TRACK, ARTIST, GENRE = "playlist", "track", "artist", "genre"
NODE_TYPES = (PLAYLIST, TRACK, ARTIST, GENRE)

EdgeType = tuple[str, str, str]
CONTAINS: EdgeType = (PLAYLIST, "contains", TRACK)
BY: EdgeType = (TRACK, "by", ARTIST)
PERFORMS: EdgeType = (ARTIST, "performs_genre", GENRE)
IN: EdgeType = (TRACK, "rev_contains", PLAYLIST)
MADE: EdgeType = (ARTIST, "rev_by", TRACK)
PERFORMED_BY: EdgeType = (GENRE, "rev_performs_genre", ARTIST)
EDGE_TYPES = (CONTAINS, BY, PERFORMS, IN, MADE, PERFORMED_BY)

# Columns of tables/*.parquet. Ids that are ints count from 0 without gaps and are the node ids.
TABLES: dict[str, pa.Schema] = {
    "playlists": pa.schema(
        [
            ("playlist", pa.int32()),
            ("user_id", pa.string()),
            ("name", pa.string()),
            ("n_tracks", pa.int32()),
        ]
    ),
    "tracks": pa.schema(
        [
            ("track", pa.int32()),
            ("id", pa.string()),  # the features file's id, or "key:..." for a track it doesn't have
            ("name", pa.string()),
            ("artist", pa.int32()),  # its first artist
            ("artist_name", pa.string()),
            ("n_playlists", pa.int32()),
            ("album", pa.int32()),  # the same for tracks of one album, null if unknown
            ("year", pa.float32()),  # of release, null if unknown
            ("missing_features", pa.bool_()),  # at least one audio column is null
            *((name, pa.float32()) for name in AUDIO_COLUMNS),  # scaled to [0, 1], null if unknown
        ]
    ),
    "artists": pa.schema([("artist", pa.int32()), ("name", pa.string()), ("n_tracks", pa.int32())]),
    "genres": pa.schema([("genre", pa.int32()), ("name", pa.string())]),
    "playlist_tracks": pa.schema(
        [("playlist", pa.int32()), ("track", pa.int32()), ("position", pa.int32())]
    ),
    "track_artists": pa.schema(
        [("track", pa.int32()), ("artist", pa.int32()), ("position", pa.int32())]
    ),
    "artist_genres": pa.schema(
        [("artist", pa.int32()), ("genre", pa.int32()), ("weight", pa.float32())]
    ),
    "rejects": REJECTS,
}
