"""Metrics of recommendation lists besides accuracy: diversity, coverage, novelty and genres.

In all of them ``predictions`` is int ``[playlists, k or more]``, padded with -1, of which the first
k columns count. Playlists whose list is empty were not asked, and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from spotify_engine.arrays import Ids
from spotify_engine.evaluation.ranking import Figures, hit_matrix
from spotify_engine.ragged import Ragged
from spotify_engine.strict_json import known


@dataclass(frozen=True)
class TrackFacts:
    """Facts about the tracks: their first artists and their genres.

    Attributes:
        first_artist: int ``[tracks]``.
        track_genres: float ``[tracks, genres]``, see ``genres_of_tracks``; None without genres.
    """

    first_artist: Ids
    track_genres: sparse.csr_array | None = None


class GenreConsistency(NamedTuple):
    """``mean`` is NaN when nothing could be compared; the others count playlists."""

    mean: float
    compared: int
    left_out: int


def genres_of_tracks(
    first_artist: Ids,
    artist: Ids,
    genre: Ids,
    weight: np.ndarray,
    n_genres: int,
) -> sparse.csr_array:
    """Each track has the genres of its first artist, as shares that sum to 1 (or to 0: none known).

    Args:
        first_artist: int ``[tracks]``.
        artist, genre, weight: the columns of ``artist_genres``, each ``[pairs]``; weights >= 0.

    Returns:
        float64 ``[tracks, n_genres]``.
    """
    n_artists = 1 + max(int(first_artist.max(initial=-1)), int(artist.max(initial=-1)))
    by_artist = sparse.csr_array(
        (weight.astype(np.float64), (artist, genre)), shape=(n_artists, n_genres)
    )
    totals: np.ndarray = np.asarray(by_artist.sum(axis=1)).ravel()
    shares = sparse.diags_array(1 / np.where(totals > 0, totals, 1)) @ by_artist
    return sparse.csr_array(shares)[first_artist]


def completion_rate(predictions: Ids, truth: Ragged, k: int) -> float:
    """Share of all held-out tracks that the lists recover: sum of hits / sum of held out.

    Unlike recall@k it weighs playlists by what they hold out, and is not scaled up where more is
    held out than k. NaN when nothing is held out.
    """
    if len(truth.values) == 0:
        return float("nan")
    return float(hit_matrix(predictions[:, :k], truth).sum() / len(truth.values))


def genre_consistency(
    predictions: Ids, train: Ragged, track_genres: sparse.csr_array, k: int
) -> GenreConsistency:
    """The agreement of a list's genres with those of its playlist.

    The mean over playlists of cos(a, b), a = sum of the genre shares of the playlist's train
    tracks, b = that of its recommendations. Playlists where a or b is 0 are left out and counted.

    Args:
        train: train tracks of the same playlists.
        track_genres: ``[tracks, genres]``, from ``genres_of_tracks``.
    """
    asked = np.flatnonzero((predictions[:, :k] >= 0).any(axis=1))
    theirs = _membership(train.select(asked), track_genres.shape[0]) @ track_genres
    ours = _membership(_as_ragged(predictions[asked, :k]), track_genres.shape[0]) @ track_genres
    dot = np.asarray(theirs.multiply(ours).sum(axis=1)).ravel()
    norms = np.sqrt(
        np.asarray(theirs.multiply(theirs).sum(axis=1)).ravel()
        * np.asarray(ours.multiply(ours).sum(axis=1)).ravel()
    )
    known = norms > 0
    mean = float(np.mean(dot[known] / norms[known])) if known.any() else float("nan")
    return GenreConsistency(mean, int(known.sum()), int((~known).sum()))


def artist_diversity(predictions: Ids, first_artist: Ids, k: int) -> float:
    """Mean over lists of distinct first artists / length of the list; NaN without lists.

    Args:
        first_artist: int ``[tracks]``.
    """
    lists = predictions[:, :k]
    artists = np.sort(np.where(lists >= 0, first_artist[lists], -1), axis=1)
    new = np.diff(artists, axis=1, prepend=-1) != 0
    length = (lists >= 0).sum(axis=1)
    asked = length > 0
    if not asked.any():
        return float("nan")
    return float(np.mean(new.sum(axis=1)[asked] / length[asked]))


def coverage(predictions: Ids, n_tracks: int, k: int) -> float:
    """Distinct tracks in all lists / tracks in the catalogue."""
    lists = predictions[:, :k]
    return len(np.unique(lists[lists >= 0])) / n_tracks


def novelty(predictions: Ids, train: Ragged, n_tracks: int, k: int) -> float:
    """Mean self-information of the recommendations, in bits; NaN without lists.

    A track in c of the P train playlists counts -log2((c + 1) / (P + 2)), Laplace's estimate, so
    that a track in none is finite. Averaged in each list, then over lists (Zhou et al. 2010).
    """
    containing = np.bincount(train.values, minlength=n_tracks)
    bits = -np.log2((containing + 1) / (len(train) + 2))
    lists = predictions[:, :k]
    length = (lists >= 0).sum(axis=1)
    asked = length > 0
    if not asked.any():
        return float("nan")
    total = np.where(lists >= 0, bits[lists], 0.0).sum(axis=1)
    return float(np.mean(total[asked] / length[asked]))


def beyond_accuracy_metrics(
    predictions: Ids,
    truth: Ragged,
    train: Ragged,
    facts: TrackFacts,
    ks: Sequence[int],
) -> Figures:
    """All of the above, at each k.

    Args:
        truth, train: held-out and train tracks of the same playlists.

    Returns:
        ``{"completion_rate@10": ..., ...}``; genre_consistency@k (None when no list could be
        compared) and genre_consistency_left_out@k (lists) only where the catalogue has genres; None
        for what no list says.
    """
    n_tracks = len(facts.first_artist)
    figures: dict[str, float] = {}
    for k in ks:
        figures[f"completion_rate@{k}"] = completion_rate(predictions, truth, k)
        if facts.track_genres is not None:
            genres = genre_consistency(predictions, train, facts.track_genres, k)
            figures[f"genre_consistency@{k}"] = genres.mean
            figures[f"genre_consistency_left_out@{k}"] = genres.left_out
        figures[f"artist_diversity@{k}"] = artist_diversity(predictions, facts.first_artist, k)
        figures[f"coverage@{k}"] = coverage(predictions, n_tracks, k)
        figures[f"novelty@{k}"] = novelty(predictions, train, n_tracks, k)
    found: Figures = known(figures)
    return found


def _as_ragged(lists: Ids) -> Ragged:
    rows, _ = np.nonzero(lists >= 0)
    return Ragged.from_pairs(rows, lists[lists >= 0], len(lists))


def _membership(lists: Ragged, n_tracks: int) -> sparse.csr_array:
    ones = np.ones(len(lists.values))
    return sparse.csr_array((ones, lists.values, lists.offsets), shape=(len(lists), n_tracks))
