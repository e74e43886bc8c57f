"""Why a track was recommended: exact shares of its score, in words and in a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from spotify_engine.playlists.encoding import PARTS, EncodedTracks
from spotify_engine.playlists.model import EPSILON
from spotify_engine.recommendation import Reason

SEEDS_NAMED = 3
LISTENING = ("seed", "other_seeds", "item_item")  # reasons that are about listening


@dataclass(frozen=True)
class Explanation:
    """A score taken apart twice, each time exactly.

    Attributes:
        score: ``seeds.sum() + bias`` and ``sum(parts.values()) + bias``.
        seeds: float ``[seeds]``, each seed track's contribution: attention x value . t over heads,
            and its item-item weight.
        attention: float ``[seeds]``, mean over heads; sums to 1.
        parts: the same sum by what t is made of: the track itself, the playlists it is in, its
            artists with their genres; and the item-item term.
        bias: the track's own popularity term.
        matched_genres: genres that the track's artists share with the playlist, by affinity.
        affinity: share of the playlist's tracks whose artists have each matched genre.
        influence: share of the score's movement (absolute terms) by similar listening (item-item
            term included), genre and artist, and popularity; sums to 1.
        reasons: terms that sum to the score: similar listening by seed, genre, popularity.
        text: the whole in words.
    """

    track: int
    score: float
    seeds: np.ndarray
    attention: np.ndarray
    parts: dict[str, float]
    bias: float
    matched_genres: list[str]
    affinity: list[float]
    influence: dict[str, float]
    reasons: list[Reason]
    text: str


class Explainer:
    """Takes scores apart along a catalogue's tracks, artists and genres."""

    def __init__(
        self,
        tables: Mapping[str, pa.Table],
        names: Sequence[str],
        artists: Sequence[str],
        popularity: np.ndarray,
    ) -> None:
        self.names, self.artists, self.popularity = names, artists, popularity
        self.genre_names: list[str] = tables["genres"]["name"].to_pylist()
        # Standing among all tracks, 0 (least heard) to 1.
        ranks = np.searchsorted(np.sort(popularity), popularity, side="right")
        self.standing = ranks / max(len(popularity), 1)
        self.first_artist = tables["tracks"]["artist"].to_numpy()
        n_artists = len(tables["artists"])
        self.artist_genres: list[list[int]] = [[] for _ in range(n_artists)]
        links = tables["artist_genres"]
        for artist, genre in zip(
            links["artist"].to_pylist(), links["genre"].to_pylist(), strict=True
        ):
            self.artist_genres[artist].append(genre)

    def genres_of(self, track: int) -> list[int]:
        return self.artist_genres[self.first_artist[track]]

    def tracks_of_genres(self, genres: np.ndarray) -> np.ndarray:
        """Bool ``[tracks]``: whose first artist has one of the genres."""
        wanted = set(genres.tolist())
        has = np.array([not wanted.isdisjoint(own) for own in self.artist_genres], dtype=bool)
        return has[self.first_artist] if len(has) else np.zeros(len(self.names), dtype=bool)

    def explain(
        self,
        encoded: EncodedTracks,
        seeds: np.ndarray,
        attention: torch.Tensor,
        recommended: np.ndarray,
        together: np.ndarray,
    ) -> list[Explanation]:
        """
        Args:
            seeds: int ``[seeds]``.
            attention: ``[seeds, heads]`` of the last layer, as used in the score.
            recommended: int ``[n]``.
            together: float ``[seeds, n]``, the item-item term by seed.
        """
        values = encoded.folds[-1].values[seeds]
        weighted = (attention[:, :, None] * values).flatten(1)
        # p has length 1: every seed's part of it is divided by the same number.
        weighted = weighted / weighted.sum(0).norm().clamp(min=EPSILON)
        # [3 parts, seeds, n]: what each seed adds through each part of each recommended track.
        terms = torch.einsum("sd,pnd->psn", weighted, encoded.parts[:, recommended]).numpy()
        bias = encoded.bias[recommended].numpy()
        mean_attention = attention.mean(1).numpy()
        playlist_genres = np.zeros(len(self.genre_names))
        for seed in seeds:
            playlist_genres[self.genres_of(seed)] += 1 / len(seeds)
        return [
            self._explain_one(
                int(track),
                seeds,
                mean_attention,
                terms[:, :, i],
                together[:, i],
                float(bias[i]),
                playlist_genres,
            )
            for i, track in enumerate(recommended)
        ]

    def _explain_one(
        self,
        track: int,
        seeds: np.ndarray,
        attention: np.ndarray,
        terms: np.ndarray,
        together: np.ndarray,
        bias: float,
        playlist_genres: np.ndarray,
    ) -> Explanation:
        by_part = dict(zip(PARTS, terms, strict=True))
        parts = {part: float(term.sum()) for part, term in by_part.items()}
        parts["item_item"] = float(together.sum())
        moved = {
            "similar listening": sum(
                abs(parts[part]) for part in ("track", "playlists", "item_item")
            ),
            "genre and artist": abs(parts["artists"]),
            "popularity": abs(bias),
        }
        total = sum(moved.values()) or 1.0
        matched = sorted(
            (genre for genre in self.genres_of(track) if playlist_genres[genre] > 0),
            key=lambda genre: (-playlist_genres[genre], self.genre_names[genre]),
        )
        genres = [self.genre_names[genre] for genre in matched]
        affinity = [float(playlist_genres[genre]) for genre in matched]
        influence = {kind: value / total for kind, value in moved.items()}
        listening = by_part["track"] + by_part["playlists"]
        reasons = self._listening_reasons(seeds, attention, listening)
        if together.any():
            reasons.append(self._together_reason(seeds, together))
        matches = self._matches(track, seeds, genres, affinity)
        share = parts["artists"]
        reasons.append(Reason("genre", f"{'; '.join(matches)} (score {share:+.2f})", share))
        reasons.append(self.popularity_reason(track, bias, None))
        return Explanation(
            track=track,
            score=float(terms.sum() + together.sum() + bias),
            seeds=terms.sum(0) + together,
            attention=attention,
            parts=parts,
            bias=bias,
            matched_genres=genres,
            affinity=affinity,
            influence=influence,
            reasons=reasons,
            text=self._text(track, reasons, matches, influence),
        )

    def _listening_reasons(
        self, seeds: np.ndarray, attention: np.ndarray, listening: np.ndarray
    ) -> list[Reason]:
        """The strongest seeds one by one, the others together."""
        strongest = np.argsort(-listening, kind="stable")
        reasons = [
            Reason(
                "seed",
                f'Similar to "{self.names[seeds[i]]}" in the playlist '
                f"(attention: {attention[i]:.2f}, score {listening[i]:+.2f})",
                float(listening[i]),
                float(attention[i]),
                int(seeds[i]),
            )
            for i in strongest[:SEEDS_NAMED]
        ]
        others = strongest[SEEDS_NAMED:]
        if len(others):
            rest = float(listening[others].sum())
            text = f"Similar to the playlist's other {len(others)} tracks (score {rest:+.2f})"
            reasons.append(Reason("other_seeds", text, rest, float(attention[others].sum())))
        return reasons

    def _together_reason(self, seeds: np.ndarray, together: np.ndarray) -> Reason:
        strongest = np.argsort(-together, kind="stable")[:SEEDS_NAMED]
        names = [f'"{self.names[seeds[i]]}"' for i in strongest if together[i] > 0]
        share = float(together.sum())
        often = f"Often in playlists with {', '.join(names)}" if names else "Rarely with the others"
        return Reason("item_item", f"{often} (score {share:+.2f})", share)

    def _matches(
        self, track: int, seeds: np.ndarray, genres: list[str], affinity: list[float]
    ) -> list[str]:
        """What the track's artist and the playlist have in common, in words."""
        artist = self.first_artist[track]
        count = int((self.first_artist[seeds] == artist).sum())
        matches = []
        if count:
            times = f"{count} track{'s' * (count != 1)}"
            matches.append(f"{self.artists[track]} has {times} in the playlist")
        matches += [
            f"Matches the playlist's {genre} (affinity: {value:.2f})"
            for genre, value in list(zip(genres, affinity, strict=True))[:3]
        ]
        return matches or ["No genre or artist in common"]

    def popularity_reason(self, track: int, contribution: float, title: str | None) -> Reason:
        """What a track's standing among all tracks adds."""
        count = int(self.popularity[track])
        standing = f"in {count:,} playlist{'s' * (count != 1)}, above {self.standing[track]:.0%}"
        where = f' of the genres in "{title}"' if title else ""
        text = f"Popular{where}: {standing} of tracks (score {contribution:+.2f})"
        return Reason("popularity", text, contribution)

    def _text(
        self,
        track: int,
        reasons: list[Reason],
        matches: list[str],
        influence: dict[str, float],
    ) -> str:
        share = {kind: f"({value:.0%} influence)" for kind, value in influence.items()}
        listening = [f"   - {reason}" for reason in reasons if reason.kind in LISTENING]
        lines = [
            f'Recommending "{self.names[track]}" by {self.artists[track]} because:',
            "",
            f"1. Similar Listening Patterns {share['similar listening']}:",
            *listening,
            "",
            f"2. Genre and Artist Match {share['genre and artist']}:",
            *(f"   - {match}" for match in matches),
            "",
            f"3. Popularity Context {share['popularity']}:",
            f"   - {reasons[-1]}",
        ]
        return "\n".join(lines)


def plot_attention(
    explanations: Sequence[Explanation],
    seeds: Sequence[str],
    recommended: Sequence[str],
    path: Path,
) -> None:
    """Draw a playlist's attention over its tracks, above what each adds to each score, as PNG.

    Args:
        seeds, recommended: labels of the columns and of the rows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    terms = np.stack([explanation.seeds for explanation in explanations])
    # More columns than these are not legible: the tracks with most attention are shown.
    shown = np.sort(np.argsort(-explanations[0].attention, kind="stable")[:40])
    width = max(7.0, 0.34 * len(shown) + 4)
    figure = Figure(figsize=(width, 3.4 + 0.32 * len(recommended)), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, max(len(recommended), 2)])
    heat = top.imshow(explanations[0].attention[shown][None], cmap="Blues", aspect="auto", vmin=0)
    top.set_yticks([0], ["attention"])
    figure.suptitle("Attention over the playlist's tracks,\nand what each adds to each score")
    figure.colorbar(heat, ax=top, pad=0.01)
    limit = float(np.abs(terms[:, shown]).max()) or 1.0
    heat = bottom.imshow(terms[:, shown], cmap="RdBu", aspect="auto", vmin=-limit, vmax=limit)
    bottom.set_yticks(range(len(recommended)), [_short(text) for text in recommended])
    bottom.set_xticks(
        range(len(shown)), [_short(seeds[i]) for i in shown], rotation=60, ha="right", fontsize=8
    )
    figure.colorbar(heat, ax=bottom, pad=0.01, label="share of score")
    figure.savefig(path, dpi=130)


def _short(text: str, limit: int = 34) -> str:
    # "$" would start mathematics in a label.
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text.replace("$", r"\$")
