"""Do a session model's explanations name what moves its scores?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import sparse

from spotify_engine.evaluation.faithfulness import summarised
from spotify_engine.evaluation.ranking import Figures, top_k
from spotify_engine.ragged import Ragged
from spotify_engine.sessions.measure.next_song import rank_next
from spotify_engine.sessions.model.basic_gat import Relations, SessionGAT
from spotify_engine.sessions.model.session_aware import REPLAY_TERM, SessionModel
from spotify_engine.sessions.queries import UNKNOWN, Queries
from spotify_engine.sessions.schema import LISTENS_TO

SAMPLE = 200
REMOVED_SONGS = 3  # of a user's, for a GAT


def session_faithfulness(
    model: SessionModel, queries: Queries, rng: np.random.Generator, sample: int = SAMPLE
) -> Figures:
    """Take out the evidence that explains the best song most, and another piece at random.

    The evidence is each recent song of the session, which explains by transition, artist and
    follow, and the user's own plays of the song, which explain by replay. A song is taken out as if
    it had not been played.

    Args:
        queries: those with at least two recent songs are sampled.

    Returns:
        See :func:`summarised`.
    """
    left = np.array([len(np.unique(played)) < model.n_songs for played in queries.played], bool)
    eligible = np.flatnonzero(left & ((queries.recent >= 0).sum(axis=1) >= 2))
    some = queries.select(np.sort(rng.permutation(eligible)[:sample]))
    if not len(some):
        return summarised("plays", 1, np.zeros((0, 2)))
    rows = np.arange(len(some))
    song = rank_next(lambda batch, _: model.score(batch), some, 1)[0][:, 0].astype(np.int64)
    replay = _replay(model, some)
    terms = model.terms(some, replay)
    before, replayed = terms[rows, :, song].sum(axis=1), terms[rows, REPLAY_TERM, song]
    pieces = np.concatenate([model.by_place(some, song), replayed[:, None]], axis=1)
    there = np.concatenate([some.recent >= 0, replayed[:, None] > 0], axis=1)
    explained = np.where(there, pieces, -np.inf).argmax(axis=1)
    there[rows, explained] = False
    other = np.where(there, rng.random(there.shape), -1).argmax(axis=1)
    moved = []
    for piece in (explained, other):
        without, own = _without(some, replay, piece, song)
        after = model.terms(without, own)[rows, :, song].sum(axis=1)
        moved.append(np.abs(after - before))
    return summarised("plays", 1, np.stack(moved, axis=1))


def _replay(model: SessionModel, queries: Queries) -> sparse.csr_array:
    """``[n, songs]``: what was counted of each query's user; nothing of one that isn't known."""
    rows = sparse.csr_array(model.listens[np.maximum(queries.user, 0)])
    rows.data *= np.repeat(queries.user >= 0, np.diff(rows.indptr))
    return rows


def _without(
    queries: Queries, replay: sparse.csr_array, piece: np.ndarray, song: np.ndarray
) -> tuple[Queries, sparse.csr_array]:
    """Each query without a recent song (piece: its place) or the user's plays of ``song``."""
    memory = queries.recent.shape[1]
    recent = np.concatenate([queries.recent, np.full((len(queries), 1), UNKNOWN)], axis=1)
    place = np.arange(memory)
    recent = np.take_along_axis(recent, place + (place >= piece[:, None]), axis=1)
    own = replay.copy()
    row = np.repeat(np.arange(len(queries)), np.diff(own.indptr))
    own.data[(piece[row] == memory) & (own.indices == song[row])] = 0
    return replace(queries, recent=recent), own


@torch.no_grad()
def gat_faithfulness(
    model: SessionGAT,
    relations: Relations,
    known: Ragged,
    rng: np.random.Generator,
    sample: int = SAMPLE,
    remove: int = REMOVED_SONGS,
) -> Figures:
    """Take out the songs of a user that explain the best new song most, and as many random ones.

    A user's songs explain by attention times likeness to the song, as ``SessionExplainer`` ranks
    them. They are taken out of what the user attends to; the song stays as others' listening made
    it.

    Args:
        known: each user's songs that are not to be recommended.

    Returns:
        See :func:`summarised`.
    """
    model.eval()
    whole = model.encode(model.x_dict(), relations)
    (listener, heard), attention = whole.attention[0].numpy(), whole.attention[1].numpy()
    count = np.bincount(listener, minlength=len(whole.users))
    eligible = (count >= 2 * remove) & (known.lengths < len(whole.songs))
    users = np.sort(rng.permutation(np.flatnonzero(eligible))[:sample])
    if not len(users):
        return summarised("users", remove, np.zeros((0, 2)))
    scores = model.score(whole, torch.from_numpy(users)).numpy()
    best = top_k(scores, known.select(users), 1)[0][:, 0]
    songs = torch.nn.functional.normalize(whole.songs, dim=1).numpy()
    edge_user, edge_song = relations.edges(LISTENS_TO).numpy()
    hidden = np.zeros((2, len(edge_user)), bool)
    for user, song in zip(users, best, strict=True):
        mine = np.flatnonzero(listener == user)
        alike = attention[mine] * (songs[heard[mine]] @ songs[song])
        explained = heard[mine[np.argsort(-alike, kind="stable")[:remove]]]
        other = rng.choice(heard[mine], remove, replace=False)
        for part, out in zip(hidden, (explained, other), strict=True):
            part |= (edge_user == user) & np.isin(edge_song, out)
    rows = np.arange(len(users))
    moved = []
    for part in hidden:
        seen = model.encode(model.x_dict(), relations, torch.from_numpy(part))
        mixed = whole._replace(users=seen.users, genres=seen.genres)
        after = model.score(mixed, torch.from_numpy(users)).numpy()
        moved.append(np.abs(after[rows, best] - scores[rows, best]))
    return summarised("users", remove, np.stack(moved, axis=1))
