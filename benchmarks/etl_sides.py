"""The sides of the ETL benchmark: each reads both files and says its time and counts."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

COUNTS = ("playlists", "tracks", "pairs")
_COLUMNS = ("user_id", "artistname", "trackname", "playlistname")
Result = dict[str, Any]

# Plain trim() takes blanks alone; given a list of characters it is five times slower.
_DUCKDB_SQL = r"""
CREATE TEMP TABLE features AS
WITH literal AS (
    SELECT id, lower(trim(name)) AS track_key,
        regexp_extract(artists, '^\[''((?:[^''\\]|\\.)*)''', 1) AS plain,
        regexp_extract(artists, '^\["((?:[^"\\]|\\.)*)"', 1) AS quoted,
        {audio}
    FROM read_csv($features, header = true, all_varchar = true, delim = ',', quote = '"',
                  escape = '"')
)
SELECT min(id) AS id, track_key,
    lower(trim(regexp_replace(coalesce(nullif(plain, ''), quoted), '\\(.)', '\1', 'g')))
        AS artist_key,
    {first_audio}
FROM literal GROUP BY track_key, artist_key;

CREATE TEMP TABLE pairs AS
SELECT DISTINCT p.user_id, p.playlistname, f.id
FROM read_csv($playlists, auto_detect = false, header = false, skip = 1, delim = ',', quote = '"',
              escape = '\', strict_mode = false, ignore_errors = true, null_padding = false,
              columns = {{'user_id': 'VARCHAR', 'artistname': 'VARCHAR', 'trackname': 'VARCHAR',
                         'playlistname': 'VARCHAR'}}) p
JOIN features f ON f.track_key = lower(trim(p.trackname))
    AND f.artist_key = lower(trim(p.artistname))
WHERE p.user_id <> '' AND p.playlistname <> '' AND f.track_key <> '' AND f.artist_key <> '';

CREATE TEMP TABLE playlists AS
SELECT (row_number() OVER (ORDER BY user_id, playlistname) - 1)::INT AS playlist, *
FROM (SELECT user_id, playlistname, count(*)::INT AS n_tracks FROM pairs GROUP BY ALL);

CREATE TEMP TABLE tracks AS
SELECT (row_number() OVER (ORDER BY id) - 1)::INT AS track, *
FROM features JOIN (SELECT id, count(*)::INT AS n_playlists FROM pairs GROUP BY id) USING (id);

COPY playlists TO '{out}/playlists.parquet';
COPY tracks TO '{out}/tracks.parquet';
COPY (
    SELECT playlist, track FROM pairs JOIN playlists USING (user_id, playlistname)
    JOIN tracks USING (id) ORDER BY playlist, track
) TO '{out}/playlist_tracks.parquet';
"""


def run_ours(playlists: str, features: str, out: Path) -> Result:
    import ray

    from spotify_engine.playlists.tables.build import DataConfig
    from spotify_engine.runtime.data.playlists import prepare_tables

    began = time.perf_counter()
    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    started = time.perf_counter()
    config = DataConfig(unmatched="drop", min_track_playlists=1, min_playlist_tracks=1)
    prepare_tables(playlists, features, out, config)
    done = time.perf_counter()
    ray.shutdown()
    return {"start_s": started - began, "seconds": done - started, **_count_tables(out)}


def run_duckdb(playlists: str, features: str, out: Path) -> Result:
    import duckdb

    from spotify_engine.playlists.schema import AUDIO_COLUMNS

    began = time.perf_counter()
    connection = duckdb.connect()
    started = time.perf_counter()
    sql = _DUCKDB_SQL.format(
        out=out,
        audio=", ".join(f"try_cast({name} AS FLOAT) AS {name}" for name in AUDIO_COLUMNS),
        first_audio=", ".join(f"arg_min({name}, id) AS {name}" for name in AUDIO_COLUMNS),
    )
    given = {"playlists": playlists, "features": features}
    for statement in sql.split(";\n"):
        if statement.strip():
            used = {name: value for name, value in given.items() if f"${name}" in statement}
            connection.execute(statement, used)
    done = time.perf_counter()
    return {"start_s": started - began, "seconds": done - started, **_count_tables(out)}


def _count_tables(folder: Path) -> dict[str, int]:
    files = ("playlists.parquet", "tracks.parquet", "playlist_tracks.parquet")
    rows = (pq.read_metadata(folder / file).num_rows for file in files)
    return dict(zip(COUNTS, rows, strict=True))


def run_reference(playlists: str, features: str, out: Path) -> Result:
    """Count with Arrow's reader over the whole file on one thread and one in-memory join."""
    began = time.perf_counter()
    size = 0
    with open(playlists, "rb", buffering=0) as file:
        while block := file.read(1 << 22):
            size += len(block)
    read = time.perf_counter()
    malformed = []

    def reject(row: Any) -> str:
        malformed.append(row.actual_columns)
        return "skip"

    table = pa_csv.read_csv(
        playlists,
        read_options=pa_csv.ReadOptions(
            use_threads=False, column_names=_COLUMNS, skip_rows=1, block_size=1 << 24
        ),
        parse_options=pa_csv.ParseOptions(
            quote_char='"',
            double_quote=True,
            escape_char="\\",
            newlines_in_values=True,
            invalid_row_handler=reject,
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(_COLUMNS, pa.string()), strings_can_be_null=False
        ),
    )
    parsed = time.perf_counter()
    catalogue = pa_csv.read_csv(
        features,
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=1 << 24),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            include_columns=["name", "artists"],
            column_types={"name": pa.string(), "artists": pa.string()},
            strings_can_be_null=False,
        ),
    )
    first_artist = [
        next(iter(ast.literal_eval(text)), "") for text in catalogue["artists"].to_pylist()
    ]
    known = pc.unique(_key(_normal(catalogue["name"].combine_chunks()), _normal(first_artist)))
    pairs = []
    for batch in table.to_batches():
        user, artist, track, title = batch.columns
        track, artist = _normal(track), _normal(artist)
        index = pc.index_in(_key(track, artist), value_set=known)
        named = pc.and_(pc.not_equal(user, ""), pc.not_equal(title, ""))
        named = pc.and_(named, pc.not_equal(track, ""))
        named = pc.and_(named, pc.not_equal(artist, ""))
        playlist = pc.binary_join_element_wise(user, title, "\x1f")
        matched = pa.table({"playlist": playlist, "track": index})
        pairs.append(matched.filter(pc.and_(named, pc.is_valid(index))))
    matched = pa.concat_tables(pairs).group_by(["playlist", "track"]).aggregate([])
    return {
        "start_s": 0.0,
        "seconds": time.perf_counter() - read,
        "playlists": pc.count_distinct(matched["playlist"]).as_py(),
        "tracks": pc.count_distinct(matched["track"]).as_py(),
        "pairs": matched.num_rows,
        "rows": table.num_rows,
        "malformed": len(malformed),
        "bytes": size,
        "read_s": read - began,
        "parse_s": parsed - read,
    }


def _normal(names: pa.Array | list[str]) -> pa.Array:
    from spotify_engine.names import normalise

    each = pa.array(names, pa.string()).dictionary_encode()
    return pa.array(map(normalise, each.dictionary.to_pylist()), pa.string()).take(each.indices)


def _key(track: pa.Array, artist: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(track, artist, "\x1f")


SIDES: dict[str, Callable[[str, str, Path], Result]] = {
    "ours": run_ours,
    "duckdb": run_duckdb,
    "reference": run_reference,
}
