"""The next song from a bundle: known and new users, with reasons that add up to the score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from scipy import sparse

from spotify_engine.arrays import Ids
from spotify_engine.errors import InputError
from spotify_engine.evaluation.ranking import NOTHING, top_k
from spotify_engine.ragged import Ragged
from spotify_engine.recommendation import Reason, Recommendation, Resolved, reasons_for
from spotify_engine.sessions.model.session_aware import TERMS, SessionModel
from spotify_engine.sessions.model.vectors import GATVectors
from spotify_engine.sessions.queries import UNKNOWN, Queries, hour_of_week, unix_seconds
from spotify_engine.sessions.recommend import bundling
from spotify_engine.sessions.recommend.explain import (
    Evidence,
    SessionExplainer,
    SongExplanation,
    plot_session_attention,
)
from spotify_engine.sessions.recommend.supplement import (
    SupplementConfig,
    new_song_vectors,
    supplement,
)
from spotify_engine.sessions.tables.edges import song_artists
from spotify_engine.store.bundle import fitting_parts, open_bundle
from spotify_engine.track_ids import track_id

MAX_RECENT = 1_000


def membership_of(tables: Mapping[str, pa.Table]) -> np.ndarray:
    """float32 ``[songs, genres]``: an even share for each genre of a song."""
    links = tables["song_genres"]
    found = np.zeros((len(tables["songs"]), len(tables["genres"])), np.float32)
    found[links["song"].to_numpy(), links["genre"].to_numpy()] = 1
    return found / np.maximum(found.sum(axis=1, keepdims=True), 1)


class SessionRecommender:
    """Predicts what is played next.

    Args:
        tables: as ``schema.TABLES``, those of ``bundling.BUNDLED_TABLES``.
        plays: int ``[songs]``, in training.
        listens: csr ``[users, songs]``, plays of each user in training.
        session: the session-aware model, which ranks when it is there.
        vectors: a GAT's, which ranks otherwise, and explains by attention and genre.
    """

    def __init__(
        self,
        tables: Mapping[str, pa.Table],
        plays: Ids,
        listens: sparse.csr_array,
        session: SessionModel | None,
        vectors: GATVectors | None,
        cold: SupplementConfig | None = None,
    ) -> None:
        if session is None and vectors is None:
            raise ValueError("neither a session model nor a GAT is given")
        self.tables = {name: tables[name] for name in bundling.BUNDLED_TABLES}
        self.plays, self.listens, self.session = plays, listens, session
        self.cold = cold or SupplementConfig()
        self.user_ids: list[str] = tables["users"]["id"].to_pylist()
        self.ids: list[str] = tables["songs"]["id"].to_pylist()
        self.names: list[str] = tables["songs"]["name"].to_pylist()
        artist = song_artists(dict(tables))
        known_names = [*tables["artists"]["name"].to_pylist(), "unknown artist"]
        self.artists = [known_names[row] for row in artist.tolist()]
        if vectors is not None:
            rng = np.random.default_rng(0)
            vectors = vectors.with_songs(
                new_song_vectors(vectors.songs, plays, artist, self.cold, rng)
            )
        self.vectors = vectors
        self._user_row = {id_: row for row, id_ in enumerate(self.user_ids)}
        self._song_row = {track_id(id_): row for row, id_ in enumerate(self.ids)}
        self.user_plays = np.asarray(listens.sum(axis=1)).ravel()
        self.explainer = SessionExplainer(
            self.names, artist, self.artists, tables["genres"]["name"].to_pylist(),
            membership_of(tables), plays, vectors,
        )  # fmt: skip

    def resolve(self, songs: Iterable[str]) -> Resolved:
        """Find songs by id; a Spotify URI or a link to a track is as good as its id."""
        rows, unknown = [], []
        for song in songs:
            row = self._song_row.get(track_id(song))
            if row is None:
                unknown.append(song)
            else:
                rows.append(row)
        return Resolved(np.array(rows, np.int64), unknown)

    def _known(self, songs: Sequence[str]) -> np.ndarray:
        """int64 rows, of songs that must be in the catalogue."""
        found = self.resolve(songs)
        if found.unknown:
            raise InputError(f"{found.unknown[0]!r} is not in the catalogue")
        return found.rows

    def knows(self, user: str) -> bool:
        """Whether a user has plays in training."""
        row = self._user_row.get(user)
        return row is not None and bool(self.user_plays[row] > 0)

    def next(
        self,
        user: str | None = None,
        recent: Sequence[str] = (),
        at: datetime | int | None = None,
        k: int = 10,
        history: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> list[Recommendation]:
        """The k songs most likely to be next, best first; those of ``recent`` are left out.

        Args:
            user: id; one without history is a new user. None or blank: nobody is named.
            recent: ids of this session's songs in the order they were played; ids that are not in
                the catalogue are left out (:meth:`resolve` names them).
            at: when; seconds since 1970 or a datetime (UTC if it names no zone). None: at no
                particular time.
            k: at least 1; fewer come back when the catalogue is exhausted.
            history: ids of songs that the user played before this session and after training.
            exclude: ids of more songs not to recommend.

        Raises:
            InputError: k below 1, or more than 1,000 recent songs.
        """
        found = self._next(user, recent, at, k, history, exclude, neighbours=False)
        return [each for each, _ in found]

    def next_explained(
        self,
        user: str | None = None,
        recent: Sequence[str] = (),
        at: datetime | int | None = None,
        k: int = 10,
        history: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> list[tuple[Recommendation, SongExplanation | None]]:
        """As :meth:`next`, each with what :meth:`explain` says of it.

        None where popularity alone answers.
        """
        return self._next(user, recent, at, k, history, exclude, neighbours=True)

    def _next(
        self,
        user: str | None,
        recent: Sequence[str],
        at: datetime | int | None,
        k: int,
        history: Sequence[str],
        exclude: Sequence[str],
        neighbours: bool,
    ) -> list[tuple[Recommendation, SongExplanation | None]]:
        """Reasons don't need the user's ``neighbours``, which take half as long as all else."""
        if k < 1:
            raise InputError(f"k is {k}; ask for at least 1 recommendation")
        row, played, query = self._ask(user, recent, at)
        before = self.resolve(history).rows
        terms, fallback = self._terms(row, query, before)
        left_out = np.union1d(played, self.resolve(exclude).rows)
        if terms is None:
            return [(each, None) for each in self._popular(left_out, k)]
        hidden = Ragged.from_lists([left_out])
        chosen, scores = top_k(
            np.sum(list(terms.values()), axis=0)[None], hidden, min(k, len(self.ids))
        )
        there = chosen[0] != NOTHING
        songs = chosen[0][there].tolist()
        evidence = self._evidence(row, played, before, fallback)
        explained = self._explained(songs, terms, evidence, neighbours)
        return [
            (
                self._recommendation(
                    song, score, each.reasons, "new song" if self.plays[song] == 0 else fallback
                ),
                each,
            )
            for song, score, each in zip(songs, scores[0][there].tolist(), explained, strict=True)
        ]

    def explain(
        self,
        songs: Sequence[str],
        user: str | None = None,
        recent: Sequence[str] = (),
        at: datetime | int | None = None,
        history: Sequence[str] = (),
    ) -> list[SongExplanation]:
        """Why each of ``songs`` (ids) may be next; the rest as in :meth:`next`.

        Raises:
            InputError: a song is not in the catalogue, or nothing is known to explain it by.
        """
        rows = self._known(songs)
        user_row, played, query = self._ask(user, recent, at)
        before = self.resolve(history).rows
        terms, fallback = self._terms(user_row, query, before)
        if terms is None:
            also = "" if self.session is None else ", nor a recent song"
            raise InputError(f"no user is known{also}: there is nothing to explain by")
        evidence = self._evidence(user_row, played, before, fallback)
        return self._explained(rows.tolist(), terms, evidence, neighbours=True)

    def _evidence(
        self, row: int | None, played: Ids, history: Ids, fallback: str | None
    ) -> Evidence:
        session = self.session
        counts, memory = (session.counts, session.config.memory) if session else (None, 1)
        return Evidence(
            counts, memory, self.listens, self.explainer.has_genre, row, played, history,
            self.cold, supplemented=fallback == "similar users",
        )  # fmt: skip

    def _explained(
        self,
        songs: Sequence[int],
        terms: Mapping[str, np.ndarray],
        evidence: Evidence,
        neighbours: bool,
    ) -> list[SongExplanation]:
        return [
            self.explainer.explain(
                song,
                {kind: float(values[song]) for kind, values in terms.items()},
                evidence,
                neighbours,
            )
            for song in songs
        ]

    def plot(self, user: str, songs: Sequence[str], path: Path) -> None:
        """Draw the attention heatmap of a user for some recommended songs, as PNG.

        Raises:
            InputError: the user has no history, a song is not known, or there is no GAT.
        """
        row = self._user_row.get(user)
        rows = self._known(songs)
        if self.vectors is None:
            raise InputError(
                "the bundle holds no GAT, whose attention is drawn; train one (--model basic or "
                "--model enhanced)"
            )
        if row is None or not len(self.vectors.attended(row)[0]):
            raise InputError(f"user {user!r}: has no history for a GAT to attend to")
        plot_session_attention(self.explainer, row, rows.tolist(), path)

    def _ask(
        self, user: str | None, recent: Sequence[str], at: datetime | int | None
    ) -> tuple[int | None, Ids, Queries]:
        """(row of the user or None, rows of this session in order, the query)."""
        if len(recent) > MAX_RECENT:
            raise InputError(f"recent has {len(recent):,} songs; the limit is {MAX_RECENT:,}")
        row = self._user_row[user] if user and self.knows(user) else None
        played = self.resolve(recent).rows
        memory = self.session.config.memory if self.session else 1
        window = np.full(memory, UNKNOWN, np.int64)
        last = played[::-1][:memory]
        window[: len(last)] = last
        hour = np.array([UNKNOWN])
        if at is not None:
            hour = hour_of_week(np.array([int(unix_seconds(at))]))
        query = Queries(
            np.array([UNKNOWN if row is None else row]), window[None], hour,
            Ragged.from_lists([played]),
        )  # fmt: skip
        return row, played, query

    def _terms(
        self, row: int | None, query: Queries, history: Ids
    ) -> tuple[dict[str, np.ndarray] | None, str | None]:
        """({kind: float32 ``[songs]``} whose sum is the score, fallback); None: nothing known."""
        something = query.recent[0, 0] >= 0 or len(history)
        if row is None and not (something and self.session is not None):
            return None, "popularity"
        if self.session is None:
            assert self.vectors is not None
            assert row is not None
            collaborative, genre = self.vectors.parts(np.array([row]))
            alpha = self.vectors.alpha
            return {
                "collaborative": alpha * collaborative[0],
                "genre": (1 - alpha) * genre[0],
            }, None
        counts = np.bincount(history, minlength=len(self.ids)).astype(np.float64)
        replay, fallback = sparse.csr_array(counts[None]), None
        if row is None:
            fallback = "history" if len(history) else "session"
        elif self.user_plays[row] + len(history) < self.cold.sparse_plays:
            replay = replay + self.session.counts.listens[[row]]
            replay = supplement(sparse.csr_array(replay), self.listens, self.cold)
            fallback = "similar users"
        elif len(history):
            replay = sparse.csr_array(replay + self.session.listens[[row]])
        else:
            replay = self.session.listens[[row]]
        terms = self.session.terms(query, replay, replayed=bool(len(history)))[0]
        return dict(zip(TERMS, terms, strict=True)), fallback

    def _popular(self, played: Ids, k: int) -> list[Recommendation]:
        hidden = Ragged.from_lists([played])
        plays = self.plays.astype(np.float32)
        chosen, scores = top_k(plays[None], hidden, min(k, len(self.ids)))
        found = []
        for song, score in zip(chosen[0].tolist(), scores[0].tolist(), strict=True):
            if song != NOTHING:
                words = self.explainer.popularity_words(song)
                said = [Reason("popularity", words, score)] if words else []
                reasons = reasons_for(score, said)
                found.append(self._recommendation(song, score, reasons, "popularity"))
        return found

    def _recommendation(
        self, song: int, score: float, reasons: list[Reason], fallback: str | None
    ) -> Recommendation:
        return Recommendation(
            self.ids[song], self.names[song], self.artists[song], score, reasons, fallback
        )

    def save(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Write a bundle; ``manifest`` brings config, data fingerprint and metrics."""
        parts = bundling.Parts(
            self.tables, self.plays, self.listens, self.session, self.vectors, self.cold
        )
        bundling.save(parts, folder, manifest)

    @classmethod
    def load(cls, bundle: Path | str) -> Self:
        """Open a bundle.

        Raises:
            InputError: it is damaged, of another pipeline or release; names the file.
        """
        with fitting_parts(bundle):
            return cls(*bundling.load(open_bundle(bundle, bundling.PIPELINE)))
