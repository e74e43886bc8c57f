"""Ranking the next song: one target a play, the songs of the session so far left out for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spotify_engine.arrays import Ids, Scores
from spotify_engine.evaluation.beyond_accuracy import coverage
from spotify_engine.evaluation.ranking import NOTHING, Figures, ranking_metrics, top_k
from spotify_engine.ragged import Ragged
from spotify_engine.sessions.queries import Queries
from spotify_engine.strict_json import known

# From a batch of queries and its places among all of them to float32 [batch, songs].
ScoreNext = Callable[[Queries, Ids], Scores]


def rank_next(
    score: ScoreNext, queries: Queries, k: int, batch: int = 256
) -> tuple[NDArray[np.int32], Scores]:
    """The k likeliest next songs of each query, those already played in its session left out.

    Returns:
        (songs int32 ``[n, k]``, scores float32 ``[n, k]``), as :func:`top_k`.
    """
    songs = np.full((len(queries), k), NOTHING, np.int32)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(queries), batch):
        rows = np.arange(start, min(start + batch, len(queries)))
        some = queries.select(rows)
        songs[rows], scores[rows] = top_k(score(some, rows), some.played, k)
    return songs, scores


def single_targets(song: Ids) -> Ragged:
    """The songs that were played, as lists of one held-out song each."""
    return Ragged(np.arange(len(song) + 1), song)


def genre_diversity(lists: Ids, membership: np.ndarray) -> float:
    """Mean over lists of the effective number of genres, exp(entropy of the genre shares).

    Args:
        lists: int ``[n, k]``, padded with -1.
        membership: float ``[songs, genres]``, shares of each song.

    Returns:
        From 1 (a single genre) to the number of genres; NaN when no list has any.
    """
    shares = _membership(lists, len(membership)) @ membership
    total = shares.sum(axis=1)
    shares = shares[total > 0] / total[total > 0, None]
    if not len(shares):
        return float("nan")
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return float(np.exp(-(shares * logs).sum(axis=1)).mean())


def genre_coverage(lists: Ids, membership: np.ndarray) -> float:
    """Part of the genres that some song of some list has; NaN without genres."""
    if not membership.shape[1]:
        return float("nan")
    songs = np.unique(lists[lists >= 0])
    return float((membership[songs].sum(axis=0) > 0).mean())


def diversity_across(lists: Ids) -> float:
    """1 - the mean overlap of two lists / k: 0 if all lists are alike, 1 if none share a song.

    Source: Zhou et al., PNAS 107(10), 2010 ("personalisation"). NaN with fewer than two lists.
    """
    n, k = lists.shape
    if n < 2:
        return float("nan")
    counts = np.bincount(lists[lists >= 0]).astype(np.float64)
    shared = (counts * (counts - 1)).sum() / (n * (n - 1))
    return float(1 - shared / k)


def next_song_metrics(
    lists: Ids, song: Ids, plays: Ids, membership: np.ndarray, k: int = 10
) -> Figures:
    """All figures of some lists: right, and what they are like besides; None for what no list says.

    Args:
        lists: int ``[n, k]``.
        song: int64 ``[n]``, what was played.
        plays: int64 ``[songs]``, how often each was in training: what novelty goes by.
    """
    found = ranking_metrics(lists, single_targets(song), (k,))
    bits = -np.log2((plays + 1) / (plays.sum() + len(plays)))
    filled = lists >= 0
    novelty = np.where(filled, bits[lists], 0).sum() / max(filled.sum(), 1)
    figures: Figures = known(
        {
            "plays": len(song),
            **{f"{name}@{k}": found[f"{name}@{k}"] for name in ("recall", "ndcg", "mrr")},
            f"genre_diversity@{k}": genre_diversity(lists, membership),
            f"genre_coverage@{k}": genre_coverage(lists, membership),
            f"coverage@{k}": coverage(lists, len(membership), k),
            f"diversity@{k}": diversity_across(lists),
            f"novelty@{k}": float(novelty) if filled.any() else None,
        }
    )
    return figures


def by_group(
    lists: Ids,
    song: Ids,
    group: Ids,
    names: Sequence[str],
    plays: Ids,
    membership: np.ndarray,
) -> dict[str, Figures]:
    """``next_song_metrics`` of each group that has plays, by name.

    Args:
        group: int ``[n]``, index into ``names``.
    """
    return {
        name: next_song_metrics(lists[group == code], song[group == code], plays, membership)
        for code, name in enumerate(names)
        if (group == code).any()
    }


def _membership(lists: Ids, n_songs: int) -> sparse.csr_array:
    row, _ = np.nonzero(lists >= 0)
    ones = np.ones(len(row))
    return sparse.csr_array((ones, (row, lists[lists >= 0])), shape=(len(lists), n_songs))
