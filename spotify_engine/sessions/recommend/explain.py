"""Explaining a recommended song: attention, genres, and all causes in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import numpy as np
from scipy import sparse

from spotify_engine.recommendation import (
    REST,
    Explanation,
    Reason,
    counted,
    part_of,
    reasons_for,
    written,
)
from spotify_engine.sessions.model.session_aware import TERMS, Counts
from spotify_engine.sessions.model.vectors import GATVectors
from spotify_engine.sessions.recommend.supplement import SupplementConfig, similar_users
from spotify_engine.shares import is_even, percentages, shown_of, standings

LISTENING_REASONS = ("transition", "artist", "follow", "replay", "collaborative")
HEADINGS = {
    "listening": "Similar Listening Patterns",
    "genre": "Genre Match",
    "popularity": "Popularity Context",
}


class GenreExplanation(TypedDict, total=False):
    """See :func:`genre_explanation`; empty where there is none."""

    collaborative_score: float
    genre_score: float
    final_score: float
    matched_genres: list[str]
    genre_contributions: dict[str, float]
    genre_influence: float


def genre_explanation(
    vectors: GATVectors, user: int, song: int, names: Sequence[str]
) -> GenreExplanation:
    """The genre dictionary of an Enhanced GAT's score.

    Returns:
        ``collaborative_score`` c, ``genre_score`` g, ``final_score`` = alpha c + (1 - alpha) g,
        ``matched_genres``, those of the song by what each adds to g, ``genre_contributions``, which
        sum to g, and ``genre_influence``, the genre term's part of both terms' sizes, 0 to 1.
    """
    collaborative = float(vectors.users[user] @ vectors.songs[song])
    shares = vectors.user_genres[user] * vectors.song_genres[song]
    genre = float(shares.sum())
    terms = (vectors.alpha * collaborative, (1 - vectors.alpha) * genre)
    size = abs(terms[0]) + abs(terms[1])
    matched = [int(g) for g in np.argsort(-shares, kind="stable") if shares[g] > 0]
    return {
        "collaborative_score": collaborative,
        "genre_score": genre,
        "final_score": terms[0] + terms[1],
        "matched_genres": [names[g] for g in matched],
        "genre_contributions": {names[g]: float(shares[g]) for g in matched},
        "genre_influence": abs(terms[1]) / size if size else 0.0,
    }


@dataclass(frozen=True, kw_only=True)
class SongExplanation(Explanation):
    """One recommendation explained.

    Attributes:
        terms: what each cause adds to the score.
        percent: whole percentages of listening, genre and popularity; they add up to 100.
        neighbours: (song, attention) of what the user attends to, strongest first; the attention
            of all of a user's songs sums to 1.
        even_attention: whether all of them get the same, so that it tells nothing.
        genre: see :func:`genre_explanation`; empty without an Enhanced GAT or a known user.
    """

    terms: Mapping[str, float]
    percent: Mapping[str, int]
    neighbours: list[tuple[int, float]]
    even_attention: bool
    genre: GenreExplanation


class Evidence:
    """Counts of one listener and one session, on which reasons are based.

    Args:
        counts: of a session-aware model; None: there is none.
        memory: songs back that it sees.
        listens: csr ``[users, songs]``, plays in training.
        has_genre: bool ``[songs, genres]``.
        user: row; None for a user that isn't known.
        played: int64 rows of this session's songs, the last one last.
        history: int64 rows of what the user played between training and this session.
        supplemented: whether plays of similar users count, too.
    """

    def __init__(
        self,
        counts: Counts | None,
        memory: int,
        listens: sparse.csr_array,
        has_genre: np.ndarray,
        user: int | None,
        played: np.ndarray,
        history: np.ndarray,
        cold: SupplementConfig,
        supplemented: bool,
    ) -> None:
        self.counts, self.memory, self.listens = counts, memory, listens
        self.user, self.played, self.cold, self.supplemented = user, played, cold, supplemented
        self.window = played[::-1][:memory].tolist()
        self.last = self.window[0] if self.window else None
        mine = np.bincount(history, minlength=listens.shape[1])
        if user is not None:
            part = slice(listens.indptr[user], listens.indptr[user + 1])
            mine[listens.indices[part]] += listens.data[part].astype(mine.dtype)
        self.mine = mine
        some = np.flatnonzero(mine)
        self.mine_of_genre = mine[some] @ has_genre[some]
        self.now_of_genre = has_genre[played].sum(axis=0)

    @cached_property
    def followed(self) -> dict[int, int]:
        """By song: its training plays right after this session's last song."""
        if self.counts is None or self.last is None:
            return {}
        return _row(self.counts.followed, self.last)

    @cached_property
    def neared(self) -> dict[int, dict[int, int]]:
        """By artist of the window and by artist: the latter's plays soon after the former."""
        if self.counts is None:
            return {}
        artists = dict.fromkeys(self.counts.artist[self.window].tolist())
        return {artist: _row(self.counts.neared, artist) for artist in artists}

    @cached_property
    def alike(self) -> np.ndarray:
        """Rows of the users who listen most like this one, without themselves."""
        plays = sparse.csr_array(self.mine[None].astype(np.float64))
        weight = similar_users(plays, self.listens, self.cold)[0]
        if self.user is not None:
            weight[self.user] = 0
        return np.flatnonzero(weight)

    @cached_property
    def of_alike(self) -> np.ndarray:
        """int ``[songs]``: how many of them have played each song."""
        theirs = self.listens[self.alike]
        return np.bincount(theirs.indices[theirs.data > 0], minlength=theirs.shape[1])


def _row(matrix: sparse.csr_array, row: int) -> dict[int, int]:
    part = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return dict(zip(matrix.indices[part].tolist(), matrix.data[part].tolist(), strict=True))


class SessionExplainer:
    """Words for the terms of a score, as far as counts support them.

    Args:
        names: of songs.
        artist: int64 ``[songs]``, -1 for a song whose artist isn't known.
        artists: their names, by song.
        genre_names: of genres.
        membership: float ``[songs, genres]``.
        plays: int ``[songs]``, in training.
    """

    def __init__(
        self,
        names: Sequence[str],
        artist: np.ndarray,
        artists: Sequence[str],
        genre_names: Sequence[str],
        membership: np.ndarray,
        plays: np.ndarray,
        vectors: GATVectors | None,
    ) -> None:
        self.names, self.artist, self.artists = names, artist, artists
        self.genre_names, self.has_genre = genre_names, membership > 0
        self.plays, self.vectors = plays, vectors
        self.standing = standings(plays)

    def explain(
        self, song: int, terms: Mapping[str, float], evidence: Evidence, neighbours: bool
    ) -> SongExplanation:
        """Explain one song.

        Args:
            terms: by kind, as in ``TERMS``, or collaborative and genre of a GAT.
            neighbours: look up what the user attends to; takes half as long as all else.
        """
        score = float(sum(terms.values()))
        said = {kind: self._words(kind, song, evidence) for kind, value in terms.items() if value}
        reasons = reasons_for(
            score,
            [
                Reason(kind, said[kind] or "", float(terms[kind]))
                for kind in sorted(said, key=lambda kind: -terms[kind])
                if said[kind]
            ],
        )
        sizes = {
            "listening": sum(abs(v) for kind, v in terms.items() if kind in LISTENING_REASONS),
            "genre": abs(terms.get("genre", 0.0)),
            "popularity": abs(terms.get("popularity", 0.0)),
        }
        percent = dict(zip(sizes, percentages(list(sizes.values())), strict=True))
        attended: list[tuple[int, float]] = []
        genre: GenreExplanation = {}
        if neighbours and self.vectors is not None and evidence.user is not None:
            attended = self._attended(self.vectors, evidence.user, song)
            if self.vectors.user_genres.shape[1]:
                genre = genre_explanation(self.vectors, evidence.user, song, self.genre_names)
        text = self._text(song, reasons, percent)
        even = bool(attended) and self._attends_evenly(evidence.user)
        if attended or genre:
            ranks = "collaborative" in terms
            text += self._as_the_gat_sees_it(attended, even, genre, evidence, ranks)
        return SongExplanation(
            row=song,
            score=score,
            reasons=reasons,
            text=text,
            terms=dict(terms),
            percent=percent,
            neighbours=attended,
            even_attention=even,
            genre=genre,
        )

    def _attends_evenly(self, user: int | None) -> bool:
        if self.vectors is None or user is None:
            return False
        return is_even(self.vectors.attended(user)[1])

    def _attended(
        self, vectors: GATVectors, user: int, song: int, at_most: int = 10
    ) -> list[tuple[int, float]]:
        """(song, attention) of the user's other songs that are like this one, strongest first."""
        songs, weights = vectors.attended(user)
        alike = np.where(songs == song, 0, weights * self._similarity(songs, song))
        order = np.argsort(-alike, kind="stable")[:at_most]
        return [(int(songs[i]), float(weights[i])) for i in order if alike[i] > 0]

    def _similarity(self, songs: np.ndarray, song: int) -> np.ndarray:
        """Cosine of song vectors."""
        assert self.vectors is not None
        ours, theirs = self.vectors.songs[song], self.vectors.songs[songs]
        norms = np.linalg.norm(ours) * np.linalg.norm(theirs, axis=1)
        cosine: np.ndarray = theirs @ ours / np.maximum(norms, 1e-12)
        return cosine

    def genres_of(self, song: int) -> list[str]:
        """Names of a song's genres."""
        return [self.genre_names[g] for g in np.flatnonzero(self.has_genre[song]).tolist()]

    def popularity_words(self, song: int) -> str | None:
        """How often a song was played, beside others; None if it wasn't."""
        count, above = int(self.plays[song]), int(self.standing[song])
        if not count:
            return None
        return f"Played {counted(count, 'time')}" + f", more often than {above}% of songs" * (
            above > 0
        )

    def _words(self, kind: str, song: int, evidence: Evidence) -> str | None:
        """The counts behind a term, in words; None if they say nothing."""
        match kind:
            case "transition":
                count = evidence.followed.get(song, 0)
                last = f'"{self.names[evidence.last]}"' if evidence.last is not None else ""
                return f"Played {counted(count, 'time')} right after {last}" if count else None
            case "artist":
                return self._artist_words(song, evidence)
            case "follow":
                return self._follow_words(song, evidence)
            case "genre":
                return self._genre_words(song, evidence)
            case "replay":
                return self._replay_words(song, evidence)
            case "collaborative":
                return _alike_words(song, evidence)
            case _:
                return self.popularity_words(song)

    def _artist_words(self, song: int, evidence: Evidence) -> str | None:
        if self.artist[song] < 0:
            return None
        count = int((self.artist[evidence.window] == self.artist[song]).sum())
        if not count:
            return None
        name, of = self.artists[song], len(evidence.window)
        if of == 1:
            return f"The last song of this session is by {name}, too"
        verb = "is" if count == 1 else "are"
        return f"{count} of the last {of} songs of this session {verb} by {name}, too"

    def _follow_words(self, song: int, evidence: Evidence) -> str | None:
        """By the artist of the session whom this one came after most often."""
        artist = int(self.artist[song])
        near = {
            int(self.artist[other]): (
                evidence.neared[int(self.artist[other])].get(artist, 0), self.artists[other]
            )
            for other in evidence.window
            if self.artist[other] not in (-1, artist)
        }  # fmt: skip
        count, after = max(near.values(), default=(0, ""), key=lambda each: each[0])
        if artist < 0 or not count:
            return None
        soon = f"within {evidence.memory} songs" if evidence.memory > 1 else "right"
        times = counted(count, "time")
        return f"{self.artists[song]} was played {times} {soon} after a song by {after}"

    def _genre_words(self, song: int, evidence: Evidence) -> str | None:
        """By the genre that it shares with most of the user's and of the session's plays."""
        total, of = int(evidence.mine.sum()), len(evidence.played)
        best: tuple[float, str] = (0.0, "")
        for genre in np.flatnonzero(self.has_genre[song]).tolist():
            count, here = int(evidence.mine_of_genre[genre]), int(evidence.now_of_genre[genre])
            said = [
                *([part_of(count, total, "your", "play")] if count else []),
                *([part_of(here, of, "this session's", "song")] if here else []),
            ]
            share = count / max(total, 1) + here / max(of, 1)
            if share > best[0]:
                name = self.genre_names[genre]
                best = share, f'Its genre "{name}" is that of {" and of ".join(said)}'
        return best[1] or None

    def _replay_words(self, song: int, evidence: Evidence) -> str | None:
        count = int(evidence.mine[song])
        mine = f"You have played it {counted(count, 'time')}" if count else None
        theirs = _alike_words(song, evidence) if evidence.supplemented else None
        if mine and theirs:
            return f"{mine}; {theirs[0].lower()}{theirs[1:]}"
        return mine or theirs

    def _text(self, song: int, reasons: Sequence[Reason], percent: Mapping[str, int]) -> str:
        lines = [f'Recommending "{self.names[song]}" by {self.artists[song]} because:']
        for number, (group, heading) in enumerate(HEADINGS.items(), start=1):
            lines += ["", f"{number}. {heading} ({percent[group]}% influence):"]
            mine = [
                _line(reason) for reason in reasons
                if (reason.kind if reason.kind in HEADINGS else "listening") == group
                and reason.kind != REST
            ]  # fmt: skip
            lines += mine or ["   - no reason in particular"]
        lines += [f"\n{each.text} (score {each.contribution:+.4f})" for each in reasons[-1:]
                  if each.kind == REST]  # fmt: skip
        return "\n".join(lines)

    def _as_the_gat_sees_it(
        self,
        neighbours: Sequence[tuple[int, float]],
        even: bool,
        genre: GenreExplanation,
        evidence: Evidence,
        ranks: bool,
    ) -> str:
        lines = [
            f'   - Similar to "{self.names[other]}" in your history'
            + ("" if even else f" (attention: {written(weight)})")
            for other, weight in neighbours[:2]
        ]
        lines += [
            f"   - Matches your preference for {name} (genre score {written(value, '+')})"
            for name, value in list(genre.get("genre_contributions", {}).items())[:3]
            if evidence.mine_of_genre[self.genre_names.index(name)]
        ]
        heading = "As the GAT sees it" + ", which has no part in this score" * (not ranks)
        return "\n".join(["", "", f"{heading}:", *lines]) if lines else ""


def _line(reason: Reason) -> str:
    return f"   - {reason.text} (score {reason.contribution:+.4f})"


def _alike_words(song: int, evidence: Evidence) -> str | None:
    count, of = int(evidence.of_alike[song]), len(evidence.alike)
    if not count:
        return None
    if of == 1:
        return "Played by the user who listens most like you"
    return f"Played by {count:,} of the {of:,} users who listen most like you"


def plot_session_attention(
    explainer: SessionExplainer, user: int, songs: Sequence[int], path: Path, at_most: int = 25
) -> None:
    """Draw what a user attends to, above how like each recommended song that is, as PNG.

    Args:
        songs: rows of the recommended songs.
        at_most: neighbours to show, those with most attention.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assert explainer.vectors is not None, "attention needs a GAT"
    heard, weights = explainer.vectors.attended(user)
    shown = np.argsort(-weights, kind="stable")[:at_most]
    alike = np.stack([explainer._similarity(heard[shown], song) for song in songs])
    figure = Figure(
        figsize=(max(7.0, 0.36 * len(shown) + 4), 3.6 + 0.32 * len(songs)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, max(len(songs), 2)])
    heat = top.imshow(weights[shown][None], cmap="Blues", aspect="auto", vmin=0)
    top.set_yticks([0], ["attention"])
    figure.colorbar(heat, ax=top, pad=0.01)
    some = shown_of(weights, shown)
    figure.suptitle(
        f"Attention over the user's songs{some},\nand how like each recommended song they are"
    )
    heat = bottom.imshow(alike, cmap="RdBu", aspect="auto", vmin=-1, vmax=1)
    bottom.set_yticks(range(len(songs)), [_short(explainer.names[song]) for song in songs])
    bottom.set_xticks(
        range(len(shown)), [_short(explainer.names[heard[i]]) for i in shown],
        rotation=60, ha="right", fontsize=8,
    )  # fmt: skip
    figure.colorbar(heat, ax=bottom, pad=0.01, label="cosine")
    figure.savefig(path, dpi=130)


def _short(text: str, limit: int = 30) -> str:
    # "$" would start mathematics in a label.
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text.replace("$", r"\$")


assert set(TERMS) <= {*LISTENING_REASONS, "genre", "popularity"}
