"""Write the three files of a stand-in data set into one folder, all or nothing."""

from __future__ import annotations

from pathlib import Path

from spotify_engine.playlists.synthetic.catalogue import SampleConfig, build_catalogue
from spotify_engine.playlists.synthetic.features import write_features, write_genres
from spotify_engine.playlists.synthetic.listening import write_playlists
from spotify_engine.store.atomic import new_folder
from spotify_engine.store.invented import mark_invented

PLAYLISTS_FILE = "spotify_dataset.csv"
FEATURES_FILE = "tracks_features.csv"
GENRES_FILE = "artist_genres.csv"


def write_sample(out: Path, config: SampleConfig) -> dict[str, int]:
    """Write the playlists, features and genres files, and a note that they are invented.

    ``out`` appears once complete.

    Returns:
        Counts: users, playlists, rows, tracks, artists, featured_tracks, feature_rows, genre_rows;
        tracks and artists are those that occur in a playlist.

    Raises:
        InputError: ``out`` can't be written, or is there and not an empty folder.
    """
    with new_folder(out) as partial:
        catalogue = build_catalogue(config)
        rows, seen = write_playlists(partial / PLAYLISTS_FILE, config, catalogue)
        featured = write_features(partial / FEATURES_FILE, config, catalogue, seen)
        genre_rows = write_genres(partial / GENRES_FILE, config, catalogue)
        mark_invented(partial)
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
