"""The same list for everybody."""

from __future__ import annotations

from typing import Self

import numpy as np

from spotify_engine.arrays import Scores
from spotify_engine.ragged import Ragged


class Popularity:
    """A track's score is the number of train playlists it is in."""

    name = "popularity"

    def fit(self, train: Ragged, n_tracks: int) -> Self:
        """Count the training playlists of each track; returns itself."""
        self.counts = np.bincount(train.values, minlength=n_tracks).astype(np.float32)
        return self

    def score(self, seeds: Ragged) -> Scores:
        """Score all tracks by their counts, alike for every playlist."""
        return np.tile(self.counts, (len(seeds), 1))
