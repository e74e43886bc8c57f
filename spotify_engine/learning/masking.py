"""Random splits of playlists into seeds and targets: the signal of masked-target training."""

from __future__ import annotations

import numpy as np

from spotify_engine.ragged import Ragged


def mask_targets(
    playlists: Ragged, keep: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Choose which tracks of each playlist stay as seeds; the others are to be predicted.

    Each playlist draws its own share of seeds from the range ``keep``, so that a model meets both
    short and long contexts. A playlist keeps at least one seed, so that its vector is never the
    mean of nothing, and gives at least one target if it has two tracks.

    Returns:
        bool ``[total]`` over ``playlists.values``, True for seeds.
    """
    rows, lengths = playlists.rows, playlists.lengths
    share = rng.uniform(*keep, size=len(playlists))[rows]
    draw = rng.random(len(playlists.values))
    seeds = draw < share
    filled = np.flatnonzero(lengths)
    if len(filled):
        starts = playlists.offsets[filled]
        # The track with the lowest draw is always a seed, the one with the highest never, unless
        # it is the only one.
        seeds |= draw == np.repeat(np.minimum.reduceat(draw, starts), lengths[filled])
        highest = draw == np.repeat(np.maximum.reduceat(draw, starts), lengths[filled])
        seeds &= ~(highest & (lengths[rows] > 1))
    return seeds
