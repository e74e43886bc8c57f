import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.learning.masking import mask_targets
from spotify_engine.ragged import Ragged

lengths = st.lists(st.integers(0, 12), max_size=12)
ranges = st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)).map(lambda r: tuple(sorted(r)))


@given(lengths, ranges, st.integers(0, 2**32 - 1))
def test_every_playlist_keeps_a_seed_and_gives_a_target(lengths, keep, seed):
    playlists = Ragged.from_lists([range(n) for n in lengths])
    is_seed = mask_targets(playlists, keep, np.random.default_rng(seed))
    assert is_seed.shape == playlists.values.shape
    assert is_seed.dtype == bool
    seeds, targets = playlists.filter(is_seed), playlists.filter(~is_seed)
    for whole, kept, hidden in zip(playlists, seeds, targets, strict=True):
        assert sorted([*kept, *hidden]) == whole.tolist()
        assert len(kept) >= min(len(whole), 1)
        assert len(hidden) >= (len(whole) > 1)


@pytest.mark.parametrize("keep", [(0.5, 0.9), (0.2, 0.2)])
def test_share_of_seeds_is_within_the_range_on_average(keep):
    playlists = Ragged.from_lists([range(50)] * 2000)
    is_seed = mask_targets(playlists, keep, np.random.default_rng(0))
    share = playlists.filter(is_seed).lengths / 50
    assert share.mean() == pytest.approx(sum(keep) / 2, abs=0.01)
    # Each playlist draws its own share: they spread as the range does.
    assert share.std() == pytest.approx(
        np.sqrt((keep[1] - keep[0]) ** 2 / 12 + np.mean(keep) * (1 - np.mean(keep)) / 50), rel=0.1
    )


def test_every_track_is_as_likely_a_target():
    playlists = Ragged.from_lists([range(6)] * 20_000)
    is_seed = mask_targets(playlists, (0.5, 0.9), np.random.default_rng(0)).reshape(-1, 6)
    share = is_seed.mean(axis=0)
    np.testing.assert_allclose(share, share.mean(), atol=0.012)


def test_same_seed_same_mask():
    playlists = Ragged.from_lists([range(9)] * 5)
    first, again = (mask_targets(playlists, (0.3, 0.7), np.random.default_rng(4)) for _ in "ab")
    np.testing.assert_array_equal(first, again)
