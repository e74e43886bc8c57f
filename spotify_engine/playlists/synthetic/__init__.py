"""A stand-in for the Kaggle files: the same dialect, size and faults, with taste groups to learn.

Every artist belongs to a group that is named after a genre and has its own audio profile; inside a
group, a dozen artists next to each other form a scene. A playlist draws from a few scenes of its
owner's groups, some from anywhere in those groups, a little from anywhere.
"""

from spotify_engine.playlists.synthetic.catalogue import SampleConfig
from spotify_engine.playlists.synthetic.sample import (
    FEATURES_FILE,
    GENRES_FILE,
    PLAYLISTS_FILE,
    write_sample,
)

__all__ = ["FEATURES_FILE", "GENRES_FILE", "PLAYLISTS_FILE", "SampleConfig", "write_sample"]
