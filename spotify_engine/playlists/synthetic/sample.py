"""Write the three files of a stand-in data set into one folder, all or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from spotify_engine.errors import InputError
from spotify_engine.playlists.synthetic.catalogue import SampleConfig, build_catalogue
from spotify_engine.playlists.synthetic.features import write_features, write_genres
from spotify_engine.playlists.synthetic.listening import write_playlists

PLAYLISTS_FILE = "spotify_dataset.csv"
FEATURES_FILE = "tracks_features.csv"
GENRES_FILE = "artist_genres.csv"


def write_sample(out: Path, config: SampleConfig) -> dict[str, int]:
    """Write the playlists, features and genres files under ``out``, which appears once complete.

    Returns:
        Counts: users, playlists, rows, tracks, artists, featured_tracks, feature_rows, genre_rows;
        tracks and artists are those that occur in a playlist.

    Raises:
        InputError: ``out`` exists and isn't an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: already exists and isn't an empty folder; choose another one")
    out.parent.mkdir(parents=True, exist_ok=True)
    catalogue = build_catalogue(config)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        rows, seen = write_playlists(partial / PLAYLISTS_FILE, config, catalogue)
        featured = write_features(partial / FEATURES_FILE, config, catalogue, seen)
        genre_rows = write_genres(partial / GENRES_FILE, config, catalogue)
        partial.chmod(0o755)
        os.replace(partial, out)
    except BaseException:
        shutil.rmtree(partial)
        raise
    return {
        "users": config.users,
        "playlists": config.playlists,
        "rows": rows,
        "tracks": int(seen.sum()),
        "artists": len(set(catalogue.track_artist[seen].tolist())),
        "featured_tracks": featured,
        "feature_rows": config.feature_rows,
        "genre_rows": genre_rows,
    }
