"""The names of the session pipeline's files, tables, nodes and edges, defined here only."""

from __future__ import annotations

import pyarrow as pa

from spotify_engine.reading.rejects import REJECTS

USER, SONG, ARTIST, GENRE = "user", "song", "artist", "genre"
NODE_TYPES = (USER, SONG, ARTIST, GENRE)

EdgeType = tuple[str, str, str]
LISTENS_TO: EdgeType = (USER, "listens_to", SONG)
BY: EdgeType = (SONG, "by", ARTIST)
PREFERS: EdgeType = (USER, "prefers", GENRE)
BELONGS_TO: EdgeType = (ARTIST, "belongs_to", GENRE)
HAS_GENRE: EdgeType = (SONG, "has_genre", GENRE)
REVERSE: dict[EdgeType, EdgeType] = {
    (source, name, target): (target, f"rev_{name}", source)
    for source, name, target in (LISTENS_TO, BY, PREFERS, BELONGS_TO, HAS_GENRE)
}
EDGE_TYPES: tuple[EdgeType, ...] = (*REVERSE, *REVERSE.values())

# Columns of ``edge_attr``.
EDGE_ATTRIBUTES: dict[EdgeType, tuple[str, ...]] = {
    LISTENS_TO: ("play_count", "completion_ratio", "edge_weight"),
    PREFERS: ("affinity",),
}

USER_TYPES = ("casual", "regular", "power")
UNKNOWN_TYPE = "unknown"  # of a user for whom no file says it

# The CSV files of a data folder, and their columns. Only the first two files must be there.
SESSIONS_FILE = "raw_sessions.csv"
SESSION_COLUMNS = (
    "user_id",
    "track_id",
    "artist_id",
    "timestamp",
    "ms_played",
    "track_duration_ms",
)
TRACKS_FILE = "tracks.csv"
GENRES_FILE = "genres.csv"
ARTIST_GENRES_FILE = "artist_genres.csv"
SONG_GENRES_FILE = "song_genres.csv"
PREFERENCES_FILE = "user_genre_preferences.csv"
METADATA_COLUMNS: dict[str, tuple[str, ...]] = {
    TRACKS_FILE: ("track_id", "track_name", "artist_id", "artist_name", "duration_ms"),
    GENRES_FILE: ("genre_id", "genre_name"),
    ARTIST_GENRES_FILE: ("artist_id", "genre_id"),
    SONG_GENRES_FILE: ("track_id", "genre_id"),
    PREFERENCES_FILE: ("user_id", "genre_id", "affinity_score", "user_type"),
}
# Of these, what a file may lack.
OPTIONAL_COLUMNS: dict[str, tuple[str, ...]] = {
    TRACKS_FILE: ("track_name", "artist_name", "duration_ms"),
    PREFERENCES_FILE: ("user_type",),
}
FILES = (SESSIONS_FILE, *METADATA_COLUMNS)
REQUIRED_FILES = (SESSIONS_FILE, TRACKS_FILE)

# What plays become: one row a user and song, by user, then song.
LISTENING = pa.schema(
    [
        ("user", pa.int32()),
        ("song", pa.int32()),
        ("play_count", pa.int32()),
        ("avg_completion", pa.float32()),  # 0..1
        ("edge_weight", pa.float32()),  # 0..1
    ]
)

# Columns of tables/*.parquet. Ids that are ints count from 0 without gaps and are the node ids.
TABLES: dict[str, pa.Schema] = {
    # All that have a history or a preference, by id.
    "users": pa.schema([("user", pa.int32()), ("id", pa.string()), ("type", pa.string())]),
    # All of tracks.csv, heard or not, in its order.
    "songs": pa.schema(
        [
            ("song", pa.int32()),
            ("id", pa.string()),
            ("name", pa.string()),
            ("artist", pa.int32()),  # null if not known
            ("duration_ms", pa.int64()),  # null if not known
        ]
    ),
    "artists": pa.schema([("artist", pa.int32()), ("id", pa.string()), ("name", pa.string())]),
    "genres": pa.schema([("genre", pa.int32()), ("name", pa.string())]),
    "artist_genres": pa.schema([("artist", pa.int32()), ("genre", pa.int32())]),
    "song_genres": pa.schema([("song", pa.int32()), ("genre", pa.int32())]),
    "user_genre_preferences": pa.schema(
        [("user", pa.int32()), ("genre", pa.int32()), ("affinity", pa.float32())]  # 0..1
    ),
    # One row a play, by user, then time; what happened at the same second stays in file order.
    "events": pa.schema(
        [
            ("user", pa.int32()),
            ("song", pa.int32()),
            ("time", pa.int64()),  # seconds since 1970, UTC
            ("session", pa.int32()),  # counts from 0 over all users
            ("position", pa.int32()),  # in its session, from 0
            ("ms_played", pa.int64()),
            ("completion", pa.float32()),  # part of the song that was played, 0..1
        ]
    ),
    "edge_list": LISTENING,  # of all plays; a graph to be evaluated is made of the train part's
    "rejects": REJECTS,
}
