"""Opens trained versions of either pipeline, alone or in their registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spotify_engine.pipelines import Pipeline
from spotify_engine.recommendation import Recommender
from spotify_engine.store.registry import Registry

if TYPE_CHECKING:
    from spotify_engine.playlists.recommender import PlaylistRecommender
    from spotify_engine.sessions.recommender import SessionRecommender


def load_playlists(bundle: Path) -> PlaylistRecommender:
    """Open a bundle of playlists; importing PyTorch waits until one is opened.

    Raises:
        InputError: a file is missing, changed or of another release, holds NaN, or doesn't fit.
    """
    from spotify_engine.playlists.recommender import PlaylistRecommender

    return PlaylistRecommender.load(bundle)


def load_sessions(bundle: Path) -> SessionRecommender:
    """Open a bundle of sessions; importing PyTorch waits until one is opened.

    Raises:
        InputError: as for :func:`load_playlists`.
    """
    from spotify_engine.sessions.recommender import SessionRecommender

    return SessionRecommender.load(bundle)


LOADERS: Mapping[Pipeline, Callable[[Path], Recommender]] = {
    "playlists": load_playlists,
    "sessions": load_sessions,
}


def open_registry(root: Path) -> Registry:
    """The registry under a folder, which takes only what these loaders can open.

    Raises:
        InputError: ``root`` is a file.
    """
    return Registry(root, LOADERS)
