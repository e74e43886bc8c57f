"""Why a song was recommended: attention, genres, and all causes in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spotify_engine.recommendation import Reason
from spotify_engine.sessions.mixture import TERMS
from spotify_engine.sessions.vectors import GATVectors

LISTENING = ("transition", "artist", "follow", "replay", "collaborative")
HEADINGS = {
    "listening": "Similar Listening Patterns",
    "genre": "Genre Match",
    "popularity": "Popularity Context",
}


def percentages(parts: Sequence[float]) -> list[int]:
    """Whole percentages of non-negative parts that add up to exactly 100 (0s if all are 0).

    What rounding down leaves goes to the largest remainders (Hamilton's method).
    """
    values = np.asarray(parts, np.float64)
    if values.sum() <= 0:
        return [0] * len(values)
    exact = 100 * values / values.sum()
    whole = np.floor(exact).astype(int)
    missing = 100 - int(whole.sum())
    order = np.lexsort((np.arange(len(values)), -(exact - whole)))
    whole[order[:missing]] += 1
    return [int(value) for value in whole]


def genre_explanation(
    vectors: GATVectors, user: int, song: int, names: Sequence[str]
) -> dict[str, Any]:
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


@dataclass(frozen=True)
class SessionExplanation:
    """One recommendation explained.

    Attributes:
        song: row.
        score: the sum of ``terms``.
        terms: what each cause adds to the score.
        percent: whole percentages of listening, genre and popularity; they add up to 100.
        neighbours: (song, attention) of what the user attends to, strongest first; the attention
            of all of a user's songs sums to 1.
        genre: see :func:`genre_explanation`; empty without an Enhanced GAT or a known user.
        reasons: in words, their contributions sum to the score.
        text: all of it.
    """

    song: int
    score: float
    terms: Mapping[str, float]
    percent: Mapping[str, int]
    neighbours: list[tuple[int, float]]
    genre: dict[str, Any]
    reasons: list[Reason]
    text: str


class SessionExplainer:
    """Words for the terms of a score.

    Args:
        names, artists: of songs.
        genre_names: of genres.
        membership: float ``[songs, genres]``.
        plays: int ``[songs]``, in training.
    """

    def __init__(
        self,
        names: Sequence[str],
        artists: Sequence[str],
        genre_names: Sequence[str],
        membership: np.ndarray,
        plays: np.ndarray,
        vectors: GATVectors | None,
    ) -> None:
        self.names, self.artists, self.genre_names = names, artists, genre_names
        self.membership, self.plays, self.vectors = membership, plays, vectors
        ordered = np.sort(plays)
        self.standing = np.searchsorted(ordered, plays) / max(len(plays), 1)

    def explain(
        self, song: int, terms: Mapping[str, float], user: int | None, recent: Sequence[int]
    ) -> SessionExplanation:
        """Explain one song.

        Args:
            terms: by kind, as in ``TERMS``, or collaborative and genre of a GAT.
            recent: rows of this session's songs, the last one first.
        """
        reasons = [
            Reason(kind, self._words(kind, song, recent), float(value))
            for kind, value in terms.items()
            if value != 0
        ]
        reasons.sort(key=lambda reason: -abs(reason.contribution))
        sizes = {
            "listening": sum(abs(v) for kind, v in terms.items() if kind in LISTENING),
            "genre": abs(terms.get("genre", 0.0)),
            "popularity": abs(terms.get("popularity", 0.0)),
        }
        percent = dict(zip(sizes, percentages(list(sizes.values())), strict=True))
        neighbours: list[tuple[int, float]] = []
        genre: dict[str, Any] = {}
        if self.vectors is not None and user is not None:
            songs, weights = self.vectors.attended(user)
            alike = weights * np.maximum(self._similarity(songs, song), 0)
            order = np.argsort(-alike, kind="stable")[:10]
            neighbours = [(int(songs[i]), float(weights[i])) for i in order]
            if self.vectors.user_genres.shape[1]:
                genre = genre_explanation(self.vectors, user, song, self.genre_names)
        score = float(sum(terms.values()))
        text = self._text(song, reasons, percent, neighbours, genre)
        return SessionExplanation(
            song, score, dict(terms), percent, neighbours, genre, reasons, text
        )

    def _similarity(self, songs: np.ndarray, song: int) -> np.ndarray:
        """Cosine of song vectors."""
        assert self.vectors is not None
        ours, theirs = self.vectors.songs[song], self.vectors.songs[songs]
        norms = np.linalg.norm(ours) * np.linalg.norm(theirs, axis=1)
        cosine: np.ndarray = theirs @ ours / np.maximum(norms, 1e-12)
        return cosine

    def genres_of(self, song: int) -> list[str]:
        """Names of a song's genres."""
        return [self.genre_names[g] for g in np.flatnonzero(self.membership[song]).tolist()]

    def _words(self, kind: str, song: int, recent: Sequence[int]) -> str:
        last = f'"{self.names[recent[0]]}"' if recent else "the start of a session"
        genres = " and ".join(self.genres_of(song)) or "its genre"
        return {
            "transition": f"Often played right after {last}",
            "artist": f"More by {self.artists[song]}, who is in this session",
            "follow": f"{self.artists[song]} is often played after this session's artists",
            "genre": f"{genres} suits your taste, this session's mood and the hour",
            "replay": "One of the songs that you come back to",
            "popularity": f"Played more than {self.standing[song]:.0%} of songs",
            "collaborative": "Users who listen like you also play this",
        }[kind]

    def _text(
        self,
        song: int,
        reasons: Sequence[Reason],
        percent: Mapping[str, int],
        neighbours: Sequence[tuple[int, float]],
        genre: Mapping[str, Any],
    ) -> str:
        lines = [f'Recommending "{self.names[song]}" by {self.artists[song]} because:']
        for number, (group, heading) in enumerate(HEADINGS.items(), start=1):
            lines += ["", f"{number}. {heading} ({percent[group]}% influence):"]
            mine = [
                reason for reason in reasons
                if (reason.kind if reason.kind in HEADINGS else "listening") == group
            ]  # fmt: skip
            lines += [f"   - {reason.text} (score {reason.contribution:+.4f})" for reason in mine]
            if group == "listening":
                lines += [
                    f'   - Similar to "{self.names[other]}" in your history '
                    f"(attention: {weight:.2f})"
                    for other, weight in neighbours[:2]
                ]
            if group == "genre" and genre:
                lines += [
                    f"   - Matches your preference for {name} (genre score {value:+.2f})"
                    for name, value in list(genre["genre_contributions"].items())[:3]
                ]
            if group == "popularity" and not mine:
                lines.append(f"   - {self._words('popularity', song, [])}")
        return "\n".join(lines)


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
    covered = weights[shown].sum()
    figure.suptitle(
        f"Attention over the user's songs ({len(shown)} of {len(heard)}, {covered:.0%} of it),\n"
        "and how like each recommended song they are"
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


assert set(TERMS) <= {*LISTENING, "genre", "popularity"}
