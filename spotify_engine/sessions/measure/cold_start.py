"""The benefit of each way of handling cold start, measured on the test part."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import sparse

from spotify_engine.evaluation.ranking import ranking_metrics
from spotify_engine.sessions.measure.leaderboard import HeldOut
from spotify_engine.sessions.measure.next_song import ScoreNext, rank_next, single_targets
from spotify_engine.sessions.model.session_aware import SessionModel
from spotify_engine.sessions.model.vectors import GATVectors
from spotify_engine.sessions.queries import UNKNOWN, Queries
from spotify_engine.sessions.recommend.supplement import (
    SupplementConfig,
    new_song_vectors,
    supplement,
)
from spotify_engine.sessions.tables.edges import song_artists

TEST_PLAYS = 3_000  # test plays to measure on
FEW = 10  # plays that a user made sparse keeps
BLANKED = 0.1  # part of the songs that is made new


def cold_start_benefits(
    data: HeldOut,
    session: SessionModel | None,
    vectors: GATVectors | None,
    config: SupplementConfig,
) -> dict[str, dict[str, float]]:
    """Compare each fallback with doing without it.

    Returns:
        - new_user: next-song recall@10 of popularity, and of songs at random (expected)
        - sparse_user: the same of users of whom only the first 10 plays are known, from these
          alone, and supplemented by similar users (the session is not shown in either)
        - new_song: how high a user's test songs rank among all songs if they are made new, as the
          mean part of songs below them, with the artist's vector and with a random one
    """
    memory = session.config.memory if session else 1
    test = data.plays(data.split.test, TEST_PLAYS, memory)
    song = single_targets(test.song)
    counts = data.counts.astype(np.float32)

    def recall(score: ScoreNext, queries: Queries) -> float:
        lists, _ = rank_next(score, queries, 10)
        return ranking_metrics(lists, song, (10,))["recall@10"]

    popular = recall(lambda q, _: np.tile(counts, (len(q), 1)), test.queries)
    found: dict[str, dict[str, float]] = {
        "new_user": {"random": min(10 / data.n_songs, 1.0), "popularity": popular}
    }
    if session is not None:
        alone = Queries(
            test.queries.user,
            np.full_like(test.queries.recent, UNKNOWN),
            test.queries.hour,
            test.queries.played,
        )
        few = _first_plays(data, FEW)
        listens = session.counts.listens
        both = {"alone": few, "supplemented": supplement(few, listens, config)}
        found["sparse_user"] = {
            name: recall(partial(_as_new, session, plays), alone) for name, plays in both.items()
        }
    if vectors is not None:
        found["new_song"] = _new_song(data, vectors, config)
    return found


def _as_new(
    session: SessionModel, plays: sparse.csr_array, queries: Queries, _: np.ndarray
) -> np.ndarray:
    """Scores of users that have plays but no parameters of their own."""
    nobody = Queries(np.full(len(queries), UNKNOWN), queries.recent, queries.hour, queries.played)
    terms = session.terms(nobody, plays[queries.user], replayed=True)
    scores: np.ndarray = terms.sum(axis=1)
    return scores


def _first_plays(data: HeldOut, n: int) -> sparse.csr_array:
    """``[users, songs]``: each user's first plays in training."""
    rows = np.flatnonzero(data.split.train)
    user = data.user[rows]
    first = np.searchsorted(user, user)  # plays of a user lie together
    early = np.arange(len(user)) - first < n
    kept = rows[early]
    matrix = sparse.csr_array(
        (np.ones(len(kept)), (data.user[kept], data.song[kept])),
        shape=(data.n_users, data.n_songs),
    )
    matrix.sum_duplicates()
    return matrix


def _new_song(data: HeldOut, vectors: GATVectors, config: SupplementConfig) -> dict[str, float]:
    rng = np.random.default_rng(0)
    blank = rng.random(data.n_songs) < BLANKED
    artist = song_artists(dict(data.tables))
    plays = np.where(blank, 0, data.counts)
    length = float(np.linalg.norm(vectors.songs, axis=1).mean())
    noise = rng.normal(size=vectors.songs.shape) * length / np.sqrt(vectors.songs.shape[1])
    random = np.where(blank[:, None], noise, vectors.songs).astype(np.float32)
    placed = new_song_vectors(vectors.songs, plays, artist, config, rng)
    row, song = data.new_in_test.rows, data.new_in_test.values
    keep = blank[song]
    row, song = row[keep], song[keep]
    if not len(row):
        return {}
    found = {}
    for name, songs in (("random_vector", random), ("artist_vector", placed)):
        scores = vectors.users @ songs.T
        target = scores[row, song]
        found[name] = float(
            np.mean([(scores[u] < t).mean() for u, t in zip(row, target, strict=True)])
        )
    return found
