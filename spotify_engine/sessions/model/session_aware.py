"""The session-aware model: the probability of the next song as a sum of named causes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from spotify_engine.sessions.queries import UNKNOWN, Queries

TERMS = ("transition", "artist", "follow", "genre", "replay", "popularity")
# Where each of them stands in an array of terms.
TRANSITION_TERM, ARTIST_TERM, FOLLOW_TERM, GENRE_TERM, REPLAY_TERM, POPULARITY_TERM = range(6)
# Terms that say nothing at the start of a session.
NEEDS_SONG = (TRANSITION_TERM, ARTIST_TERM, FOLLOW_TERM)
TINY = 1e-12
NO_WEIGHT = -1e4  # a logit that leaves no weight


class SessionModelConfig(BaseModel):
    """Settings of :class:`SessionModel`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory: int = Field(6, ge=1, le=50)
    """Songs back that are attended to."""
    discount: float = Field(0.5, ge=0, lt=1)
    """Taken off every counted pair (absolute discounting, Ney et al. 1994): what occurred once is
    mostly chance."""
    shrink_transition: float = Field(1.0, gt=0)
    """Plays of popularity mixed into the songs that came after a song."""
    shrink_follow: float = Field(5.0, gt=0)
    """The same, for the artists that came after an artist."""
    shrink_taste: float = Field(5.0, gt=0)
    """The same, for the genres of a user."""
    prior_taste: float = Field(0.3, ge=0)
    """Precision of the normal prior of a user's genres around what was counted."""
    prior_gate: float = Field(10.0, ge=0)
    """Precision of the normal prior of a user's weights around everybody's."""
    song_prior: float = Field(0.5, gt=0)
    """Plays added to every song of an artist or genre, so that new ones are not impossible."""


@dataclass(frozen=True)
class Shares:
    """The share of each training play that counts for each term; a play without doubt counts as 1.

    Attributes:
        transition: float64 ``[n]``, from the song right before.
        follow: float64 ``[n, memory]``, from the artist of each recent song to the play's.
        replay: float64 ``[n]``, as one of the user's own songs.
        public: float64 ``[n]``, as a sign of the song's popularity with others.
    """

    transition: np.ndarray
    follow: np.ndarray
    replay: np.ndarray
    public: np.ndarray

    @classmethod
    def undecided(cls, queries: Queries) -> Shares:
        """Before anything is known: every play counts fully for every term, by the last song."""
        followed = (queries.recent[:, 0] >= 0).astype(np.float64)
        follow = np.zeros(queries.recent.shape)
        follow[:, 0] = followed
        everything = np.ones(len(queries))
        return cls(followed, follow, everything, everything)


@dataclass(frozen=True)
class Counts:
    """Counts of the training part.

    Attributes:
        plays: float64 ``[songs]``, by their public shares.
        listens: csr float64 ``[users, songs]``, plays of each, by their shares.
        transitions: csr float64 ``[songs, songs]``, how often the column came right after the row.
        artist: int64 ``[songs]``; songs without a known artist share one of their own.
        changes: float64 ``[artists, artists]``, how often the column came soon after the row.
        membership: float32 ``[songs, genres]``, shares that sum to 1 (0: no genre known).
        taste: float64 ``[users, genres]``, plays by genre.
        followed: csr int32 ``[songs, songs]``, how many plays of the column came right after the
            row: whole plays, whatever caused them.
        neared: csr int32 ``[artists, artists]``, how many plays of the column had another artist's
            song, the row's, among the ``memory`` songs before.
    """

    plays: np.ndarray
    listens: sparse.csr_array
    transitions: sparse.csr_array
    artist: np.ndarray
    changes: np.ndarray
    membership: np.ndarray
    taste: np.ndarray
    followed: sparse.csr_array
    neared: sparse.csr_array

    @classmethod
    def of(
        cls,
        queries: Queries,
        song: np.ndarray,
        artist: np.ndarray,
        membership: np.ndarray,
        n_users: int,
        shares: Shares | None = None,
    ) -> Counts:
        """Count plays.

        Args:
            queries, song: the moments before some plays, and what was played, int64 ``[n]``.
            artist: int64 ``[songs]``, -1 for none.
            membership: float ``[songs, genres]``.
        """
        shares = shares or Shares.undecided(queries)
        n_songs = len(artist)
        artist = np.where(artist < 0, artist.max(initial=-1) + 1, artist)
        n_artists = int(artist.max(initial=-1)) + 1
        user, recent = queries.user, queries.recent
        listens = _sum(shares.replay, user, song, (n_users, n_songs))
        after = recent[:, 0] >= 0
        transitions = _sum(
            shares.transition[after], recent[after, 0], song[after], (n_songs, n_songs)
        )
        row, place = np.nonzero(recent >= 0)
        source, target = artist[recent[row, place]], artist[song[row]]
        moved = source != target
        weight = shares.follow[row, place][moved]
        changes = _sum(weight, source[moved], target[moved], (n_artists, n_artists)).toarray()
        plays = np.bincount(song, shares.public, minlength=n_songs)
        taste = _sum(np.ones(len(user)), user, song, (n_users, n_songs)) @ membership
        whole = np.ones(after.sum(), np.int32)
        followed = _sum(whole, recent[after, 0], song[after], (n_songs, n_songs))
        # An artist counts once a play, however many of the songs before are theirs.
        _, first = np.unique(row[moved] * n_artists + source[moved], return_index=True)
        near = source[moved][first], target[moved][first]
        neared = _sum(np.ones(len(first), np.int32), *near, (n_artists, n_artists))
        return cls(
            plays, listens, transitions, artist, changes, membership, np.asarray(taste), followed,
            neared,
        )  # fmt: skip


def _sum(
    weight: np.ndarray, row: np.ndarray, column: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_array:
    """csr with sorted columns; weights at equal places are added."""
    matrix = sparse.csr_array((weight, (row, column)), shape=shape)
    matrix.sum_duplicates()
    return matrix


class SessionModel(nn.Module):
    r"""The next song's probability as a mixture.

    .. math::
        p(s \mid u, r, h) = \sum_k \pi_k(u, n)\, p_k(s \mid u, r, h)

    where r are the songs of this session, n how many there are (up to ``memory``) and h the hour of
    the week. The terms, in the order of :data:`TERMS`:

    - transition: what came right after ``r_0`` in training
    - artist: another song of the artists of r, by popularity, with learned weights b_j by place
    - follow: songs of artists that came after those of r
    - genre: :math:`\sum_g T(g) P(s \mid g)`, T a softmax of the user's taste, hour, weekday and of
      the mood, a learned average of the genres of r
    - replay: the user's own songs by plays, times how their genres suit hour and weekday
    - popularity

    Every term is a distribution over songs, so the addends of a score are its exact explanation.
    What smooths transition and follow is popularity, and counts there in :meth:`terms`: these two
    are above 0 only for songs and artists that did come after.
    """

    def __init__(self, counts: Counts, config: SessionModelConfig) -> None:
        super().__init__()
        self.config = config
        n_users, n_genres = counts.taste.shape
        self.n_users, self.n_songs = n_users, len(counts.plays)
        self.use(counts)
        totals = (counts.membership * (counts.plays + config.song_prior)[:, None]).sum(axis=0)
        self.has_genre = torch.from_numpy(totals > 0)
        share = totals / max(totals.sum(), TINY)
        taste = counts.taste + config.shrink_taste * share
        taste /= np.maximum(taste.sum(axis=1, keepdims=True), TINY)
        # The last row is a user that isn't known.
        start = np.log(np.concatenate([taste, share[None]]) + 1e-4).astype(np.float32)
        self.start_taste = torch.from_numpy(start)
        self.membership = torch.from_numpy(
            np.concatenate([counts.membership, np.zeros((1, n_genres))]).astype(np.float32)
        )
        self.taste = nn.Parameter(torch.zeros(n_users + 1, n_genres))
        self.gate_user = nn.Parameter(torch.zeros(n_users + 1, len(TERMS)))
        self.gate = nn.Parameter(torch.zeros(config.memory + 1, len(TERMS)))
        self.hour_genre = nn.Parameter(torch.zeros(25, n_genres))
        self.weekday_genre = nn.Parameter(torch.zeros(8, n_genres))
        self.recency = nn.Parameter(-0.7 * torch.arange(config.memory, dtype=torch.float32))
        self.mood_recency = nn.Parameter(-0.4 * torch.arange(config.memory, dtype=torch.float32))
        self.mood_drift = nn.Parameter(torch.eye(n_genres) * 4 - 4)
        self.mood_floor = nn.Parameter(torch.tensor(-2.0))

    def use(self, counts: Counts) -> None:
        """Take other counts of the same plays, by other shares."""
        self.counts = counts
        plays = counts.plays + self.config.song_prior
        by_artist = np.bincount(counts.artist, plays, minlength=len(counts.changes))
        self.song_share = plays / plays.sum()
        self.within_artist = plays / by_artist[counts.artist]
        self.artist_share = by_artist / by_artist.sum()
        in_genre = counts.membership * plays[:, None]
        totals = np.maximum(in_genre.sum(axis=0), TINY)
        self.within_genre = torch.from_numpy((in_genre / totals).astype(np.float32))
        discount = self.config.discount
        self.listens = _discounted(counts.listens, discount)
        self.transitions = _discounted(counts.transitions, discount)
        self.changes = np.maximum(counts.changes - discount, 0)
        total = self.changes.sum(axis=1) + self.config.shrink_follow
        self.follow = (self.changes / total[:, None]).astype(np.float32)
        self.follow_smoothing = (self.config.shrink_follow / total).astype(np.float32)
        self.after = np.asarray(self.transitions.sum(axis=1)).ravel()
        mine = np.asarray(self.listens @ counts.membership)
        mass = np.concatenate([mine, np.zeros((1, mine.shape[1]))])
        self.replay_mass = torch.from_numpy(mass.astype(np.float32))

    def penalty(self) -> Tensor:
        """Minus the log of a Gaussian prior of what each user has for themselves."""
        config = self.config
        return (
            config.prior_taste * self.taste.square().sum()
            + config.prior_gate * self.gate_user.square().sum()
        ) / 2

    # What both sides share

    def gates(self, user: Tensor, length: Tensor) -> Tensor:
        """pi ``[n, terms]``, rows sum to 1."""
        logits = self.gate[length] + self.gate_user[user]
        none = torch.zeros(len(TERMS), dtype=torch.bool)
        none[list(NEEDS_SONG)] = True
        return logits.masked_fill(none & (length == 0)[:, None], NO_WEIGHT).softmax(dim=1)

    def attention(self, recent: Tensor, logits: Tensor) -> Tensor:
        """b ``[n, memory]``: weights of the recent songs; zeros where there is none."""
        there = recent >= 0
        weights = logits.expand_as(recent).masked_fill(~there, NO_WEIGHT).softmax(dim=1)
        return weights * there

    def when(self, hour: Tensor) -> Tensor:
        """``[n, genres]``: how much each genre is liked at an hour of the week, as logits."""
        known = hour >= 0
        of_day = torch.where(known, hour % 24, 24)
        weekday = torch.where(known, hour // 24, 7)
        return self.hour_genre[of_day] + self.weekday_genre[weekday]

    def genre_weights(self, user: Tensor, recent: Tensor, when: Tensor) -> Tensor:
        """T ``[n, genres]``, rows sum to 1."""
        weights = self.attention(recent, self.mood_recency)
        mood = (weights[:, :, None] * self.membership[recent]).sum(dim=1)
        moved = mood @ F.softplus(self.mood_drift)
        liking = torch.log(F.softplus(self.mood_floor) + moved)
        logits = self.start_taste[user] + self.taste[user] + when + liking
        return logits.masked_fill(~self.has_genre, NO_WEIGHT).softmax(dim=1)

    def _tensors(self, queries: Queries) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        user = np.where(queries.user == UNKNOWN, self.n_users, queries.user)
        recent = torch.from_numpy(queries.recent)
        return torch.from_numpy(user), recent, torch.from_numpy(queries.hour), (recent >= 0).sum(1)

    # One song of each query: training

    def prepare(self, queries: Queries, target: np.ndarray, shares: Shares) -> dict[str, Tensor]:
        """The part without parameters: each play's terms, with the play itself taken out of counts.

        A count that holds the very play to be predicted would teach that counts are always right.
        """
        counts, config = self.counts, self.config
        recent = queries.recent
        last = np.maximum(recent[:, 0], 0)
        discount = config.discount
        pair = _cells(counts.transitions, last, target) - shares.transition - discount
        total = self.after[last] - shares.transition
        shrink = config.shrink_transition
        plays = counts.plays[target] + config.song_prior
        others = (plays - shares.public) / plays  # what is left without the play itself
        popular = self.song_share[target] * others
        transition = (np.maximum(pair, 0) + shrink * popular) / (np.maximum(total, 0) + shrink)
        artist = counts.artist[target]
        # Where there is no recent song, attention gives no weight to what is read here.
        sources = counts.artist[np.maximum(recent, 0)]
        within = (self.within_artist[target] * others)[:, None]
        same = sources == artist[:, None]
        own = shares.follow * ~same
        changes = counts.changes[sources, artist[:, None]] - own - discount
        totals = self.changes.sum(axis=1)[sources] - own
        shrink = config.shrink_follow
        follow = (np.maximum(changes, 0) + shrink * self.artist_share[artist][:, None]) / (
            np.maximum(totals, 0) + shrink
        )
        mine = _cells(counts.listens, queries.user, target) - shares.replay - discount
        mine = np.maximum(mine, 0)
        values = {
            "transition": transition,
            "same": same * within,
            "follow": follow * within,
            "within_genre": self.within_genre[target].numpy() * others[:, None],
            "mine": mine,
            "own": shares.replay,
            "popular": popular,
        }
        return {name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()}

    def target_terms(
        self, queries: Queries, target: np.ndarray, prepared: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Addends of p(target), from :meth:`prepare`'s parts of the same queries.

        Returns:
            (``[n, terms]``, whose rows sum to p; ``[n, memory]``, the follow term by recent song)
        """
        user, recent, hour, length = self._tensors(queries)
        when = self.when(hour)
        weights = self.attention(recent, self.recency)
        genre = (self.genre_weights(user, recent, when) * prepared["within_genre"]).sum(1)
        suits = when.exp()
        suit = (self.membership[torch.from_numpy(target)] * suits).sum(1)
        # Without the play itself.
        total = (self.replay_mass[user] * suits).sum(1) - prepared["own"] * suit
        replay = prepared["mine"] * suit / total.clamp(min=1e-2)
        gates = self.gates(user, length)
        follow = weights * prepared["follow"]
        terms = torch.stack(
            [
                prepared["transition"],
                (weights * prepared["same"]).sum(1),
                follow.sum(1),
                genre,
                replay.clamp(max=1),
                prepared["popular"],
            ],
            dim=1,
        )
        return gates * terms, gates[:, [FOLLOW_TERM]] * follow

    @torch.no_grad()
    def shares(
        self, queries: Queries, target: np.ndarray, prepared: Mapping[str, Tensor]
    ) -> Shares:
        """How much of each play every term explains, now (the E step of Dempster et al., 1977)."""
        terms, follow = self.target_terms(queries, target, prepared)
        total = terms.sum(1).clamp(min=TINY)
        return Shares(
            (terms[:, TRANSITION_TERM] / total).double().numpy(),
            (follow / total[:, None]).double().numpy(),
            (terms[:, REPLAY_TERM] / total).double().numpy(),
            1 - (terms[:, REPLAY_TERM] / total).double().numpy(),
        )

    # All songs of each query: ranking

    @torch.no_grad()
    def terms(
        self, queries: Queries, replay: sparse.csr_array | None = None, replayed: bool = False
    ) -> np.ndarray:
        """The addends of every song's probability.

        Args:
            replay: ``[n, songs]``, plays of each query's user in place of what was counted.
            replayed: ``replay`` counts for users that aren't known as well.

        Returns:
            float32 ``[n, terms, songs]``
        """
        counts, shrink = self.counts, self.config.shrink_transition
        user, recent, hour, length = self._tensors(queries)
        when = self.when(hour)
        weights = self.attention(recent, self.recency).numpy()
        n = len(queries)
        out = np.zeros((n, len(TERMS), self.n_songs), np.float32)
        followed = np.flatnonzero(queries.recent[:, 0] >= 0)
        last = queries.recent[followed, 0]
        total = (self.after[last] + shrink)[:, None]
        out[followed, TRANSITION_TERM] = self.transitions[last].toarray() / total
        artists = np.zeros((n, len(counts.changes)), np.float32)
        sources = counts.artist[np.maximum(queries.recent, 0)]
        np.add.at(artists, (np.arange(n)[:, None], sources), weights)
        out[:, ARTIST_TERM] = artists[:, counts.artist] * self.within_artist
        out[:, FOLLOW_TERM] = (artists @ self.follow)[:, counts.artist] * self.within_artist
        genre = self.genre_weights(user, recent, when).numpy()
        out[:, GENRE_TERM] = genre @ self.within_genre.numpy().T
        known = np.flatnonzero((queries.user >= 0) | replayed)
        if replay is None:
            mine = self.listens[queries.user[known]].toarray()
        else:
            mine = replay[known].toarray()
        mine *= when.exp().numpy()[known] @ counts.membership.T
        out[known, REPLAY_TERM] = mine / np.maximum(mine.sum(axis=1, keepdims=True), 1e-2)
        gates = self.gates(user, length).numpy()
        popular = gates[:, POPULARITY_TERM] + gates[:, FOLLOW_TERM] * (
            artists @ self.follow_smoothing
        )
        popular[followed] += gates[followed, TRANSITION_TERM] * shrink / total[:, 0]
        gates[:, POPULARITY_TERM] = popular
        out[:, POPULARITY_TERM] = self.song_share
        out *= gates[:, :, None]
        return out

    @torch.no_grad()
    def by_place(self, queries: Queries, song: np.ndarray) -> np.ndarray:
        """Each recent song's part in a song's probability, by transition, artist and follow.

        Args:
            song: int64 ``[n]``, one of each query.

        Returns:
            float64 ``[n, memory]``, whose rows sum to those three of :meth:`terms`.
        """
        user, recent, _, length = self._tensors(queries)
        gates = self.gates(user, length).double().numpy()
        weights = self.attention(recent, self.recency).double().numpy()
        artist = self.counts.artist[song][:, None]
        sources = self.counts.artist[np.maximum(queries.recent, 0)]
        near = gates[:, [ARTIST_TERM]] * (sources == artist)
        near += gates[:, [FOLLOW_TERM]] * self.follow[sources, artist]
        added: np.ndarray = weights * near * self.within_artist[song][:, None]
        last = np.maximum(queries.recent[:, 0], 0)
        total = self.after[last] + self.config.shrink_transition
        transition = gates[:, TRANSITION_TERM] * _cells(self.transitions, last, song) / total
        added[:, 0] += np.where(queries.recent[:, 0] >= 0, transition, 0)
        return added

    def score(self, queries: Queries) -> np.ndarray:
        """float32 ``[n, songs]``: the probability of each song to be next."""
        scores: np.ndarray = self.terms(queries).sum(axis=1)
        return scores


def _discounted(counts: sparse.csr_array, discount: float) -> sparse.csr_array:
    found = counts.copy()
    found.data = np.maximum(found.data - discount, 0)
    found.eliminate_zeros()
    return found


def _cells(matrix: sparse.csr_array, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """float64 ``[n]``: the values at (row, column) pairs, 0 where nothing is stored."""
    keys = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * matrix.shape[1]
    keys += matrix.indices
    wanted = row * matrix.shape[1] + column
    order = np.argsort(keys) if (np.diff(keys) < 0).any() else slice(None)
    keys, data = keys[order], matrix.data[order]
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    if not len(keys):
        return np.zeros(len(wanted))
    return np.where(keys[place] == wanted, data[place], 0.0)
