"""Explaining a recommended track: exact shares of its score, in words and in a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from spotify_engine.learning.attention import Projected
from spotify_engine.playlists.model.encoding import VECTOR_PARTS, EncodedTracks
from spotify_engine.playlists.model.network import EPSILON
from spotify_engine.playlists.second_stage.stage import Shares
from spotify_engine.recommendation import (
    LEAST_SHARE,
    REST,
    Explanation,
    Reason,
    counted,
    reasons_for,
    written,
)
from spotify_engine.shares import is_even, percentages, standings

SEEDS_NAMED = 3
TITLES_NAMED = 3
POPULAR_PERCENT = 50  # percent of all tracks that a popular one is above
LISTENING_REASONS = ("seed", "other_seeds", "item_item")  # reasons that are about listening


@dataclass(frozen=True)
class Seeds:
    """The tracks that a playlist is completed from.

    Attributes:
        rows: int64 ``[seeds]``, rows of the catalogue; -1 for a track that it doesn't have.
        names: ``[seeds]``.
        artists: int ``[seeds]``, rows of the first artists.
        approximated: bool ``[seeds]``, those of which only artist and audio are known: no training
            playlist holds them.
        folds: for each layer, the seeds as the playlist's attention sees them.
    """

    rows: np.ndarray
    names: list[str]
    artists: np.ndarray
    approximated: np.ndarray
    folds: list[Projected]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def known(self) -> np.ndarray:
        """int64, rows of those that are in the catalogue."""
        return self.rows[self.rows >= 0]

    @property
    def fallback(self) -> str | None:
        """``artist`` when no training playlist holds any of them."""
        return "artist" if self.approximated.all() else None


@dataclass(frozen=True)
class _Evidence:
    """What speaks for one track, by seed.

    Attributes:
        attention: float ``[seeds]``; sums to 1.
        parts: by what t is made of, float ``[seeds]`` each.
        together: float ``[seeds]``, the item-item term.
        playlists: int ``[seeds]``, training playlists that hold both.
        second: float ``[seeds]``, what the second stage's attention adds; None: there is none.
        after: int ``[seeds]``, training playlists in which the track comes right after the seed.
        bias: the track's own popularity terms.
    """

    attention: np.ndarray
    parts: dict[str, np.ndarray]
    together: np.ndarray
    playlists: np.ndarray
    second: np.ndarray | None
    after: np.ndarray
    bias: float

    @property
    def through(self) -> dict[str, np.ndarray]:
        """All terms but the bias."""
        found = {**self.parts, "item_item": self.together}
        return found if self.second is None else {**found, "second_stage": self.second}


@dataclass(frozen=True, kw_only=True)
class TrackExplanation(Explanation):
    """A score taken apart twice, each time exactly.

    Attributes:
        score: ``seeds.sum() + bias`` and ``sum(parts.values()) + bias``.
        seeds: float ``[seeds]``, each seed track's contribution: attention x value . t over heads,
            its item-item weight, and what the second stage's attention to it adds.
        attention: float ``[seeds]``, mean over heads, of the second stage where there is one: there
            each recommended track attends to other seeds. Sums to 1.
        through: by part, float ``[seeds]``: each seed's contribution through it.
        parts: the same sum by what t is made of: the track itself, the playlists it is in, its
            artists with their genres; the item-item term; and the second stage.
        bias: the track's own popularity terms.
        matched_genres: genres that the track's artists share with the playlist, by affinity.
        affinity: share of the playlist's tracks whose artists have each matched genre.
        influence: share of the score's movement (absolute terms) by similar listening (item-item
            term included), genre and artist, and popularity; sums to 1.
    """

    seeds: np.ndarray
    attention: np.ndarray
    through: dict[str, np.ndarray]
    parts: dict[str, float]
    bias: float
    matched_genres: list[str]
    affinity: list[float]
    influence: dict[str, float]


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
        self.artist_names: list[str] = tables["artists"]["name"].to_pylist()
        self.genre_names: list[str] = tables["genres"]["name"].to_pylist()
        self.standing = standings(popularity)
        self.first_artist = tables["tracks"]["artist"].to_numpy()
        n_artists = len(tables["artists"])
        self.artist_genres: list[list[int]] = [[] for _ in range(n_artists)]
        links = tables["artist_genres"]
        self._performs = links["artist"].to_numpy(), links["genre"].to_numpy()
        for artist, genre in zip(*(each.tolist() for each in self._performs), strict=True):
            self.artist_genres[artist].append(genre)

    def genres_of(self, track: int) -> list[int]:
        """Numbers of the genres of a track's first artist."""
        return self.artist_genres[self.first_artist[track]]

    def tracks_of_genres(self, genres: np.ndarray) -> np.ndarray:
        """Bool ``[tracks]``: whose first artist has one of the genres."""
        has = np.zeros(len(self.artist_names), dtype=bool)
        artist, genre = self._performs
        has[artist[np.isin(genre, genres)]] = True
        return has[self.first_artist] if len(has) else np.zeros(len(self.names), dtype=bool)

    def genre_shares(self, seeds: Seeds) -> np.ndarray:
        """float ``[genres]``, the share of the tracks whose first artist has each genre."""
        shares = np.zeros(len(self.genre_names))
        for artist in seeds.artists:
            shares[self.artist_genres[artist]] += 1 / len(seeds)
        return shares

    def explain(
        self,
        encoded: EncodedTracks,
        seeds: Seeds,
        attention: torch.Tensor,
        recommended: np.ndarray,
        together: np.ndarray,
        playlists: np.ndarray,
        second: Shares | None = None,
    ) -> list[TrackExplanation]:
        """Explain recommendations.

        Args:
            attention: ``[seeds, heads]`` of the last layer, as used in the score.
            recommended: int ``[n]``.
            together: float ``[seeds, n]``, the item-item term by seed.
            playlists: int ``[seeds, n]``, training playlists that hold both; 0 where the item-item
                term has no weight.
            second: what the second stage adds by the seeds that are in the catalogue; None: there
                is none, or none of them is.
        """
        weighted = (attention[:, :, None] * seeds.folds[-1].values).flatten(1)
        # p has length 1: every seed's part of it is divided by the same number.
        weighted = weighted / weighted.sum(0).norm().clamp(min=EPSILON)
        # [3 parts, seeds, n]: what each seed adds through each part of each recommended track.
        terms = torch.einsum("sd,pnd->psn", weighted, encoded.parts[:, recommended]).numpy()
        bias = encoded.bias[recommended].numpy()
        shape = (len(seeds), len(recommended))
        weights = np.broadcast_to(attention.mean(1).numpy()[:, None], shape)
        added, after = None, np.zeros(shape, np.int64)
        if second is not None:
            # The first stage's score is one of the second's terms.
            terms, together = second.first * terms, second.first * together
            bias = second.first * bias + second.popularity
            known = seeds.rows >= 0
            added, weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
            added[known], weights[known], after[known] = (
                second.seeds, second.attention, second.after
            )  # fmt: skip
        playlist_genres = self.genre_shares(seeds)
        return [
            self._explain_one(
                int(track),
                seeds,
                _Evidence(
                    weights[:, i],
                    dict(zip(VECTOR_PARTS, terms[:, :, i], strict=True)),
                    together[:, i],
                    playlists[:, i],
                    None if added is None else added[:, i],
                    after[:, i],
                    float(bias[i]),
                ),
                playlist_genres,
            )
            for i, track in enumerate(recommended)
        ]

    def _explain_one(
        self,
        track: int,
        seeds: Seeds,
        evidence: _Evidence,
        playlist_genres: np.ndarray,
    ) -> TrackExplanation:
        bias, attention, through = evidence.bias, evidence.attention, evidence.through
        parts = {part: float(term.sum()) for part, term in through.items()}
        moved = {
            "similar listening": sum(abs(parts[part]) for part in parts if part != "artists"),
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
        listening = through["track"] + through["playlists"]
        if evidence.second is not None:
            listening = listening + evidence.second
        matches = self._matches(track, seeds, genres, affinity)
        score = sum(parts.values()) + bias
        reasons = reasons_for(
            score,
            [
                *self._listening_reasons(seeds, attention, evidence.after, listening, score),
                *self._together_reasons(seeds, evidence.together, evidence.playlists),
                *([self._genre_reason(matches, parts["artists"])] if matches else []),
                *self.popularity_reasons(track, bias, None),
            ],
            attention=1.0,
        )
        return TrackExplanation(
            row=track,
            score=score,
            seeds=np.sum([*through.values()], axis=0),
            attention=attention,
            through=through,
            parts=parts,
            bias=bias,
            matched_genres=genres,
            affinity=affinity,
            influence=influence,
            reasons=reasons,
            text=self._text(track, reasons, matches, influence),
        )

    def _listening_reasons(
        self,
        seeds: Seeds,
        attention: np.ndarray,
        after: np.ndarray,
        listening: np.ndarray,
        score: float,
    ) -> list[Reason]:
        """The strongest seeds one by one, the others that add something together."""
        order = np.argsort(-listening, kind="stable")
        strongest = [i for i in order[:SEEDS_NAMED] if listening[i] >= LEAST_SHARE * abs(score)]
        even = is_even(attention)
        reasons = [
            Reason(
                "seed",
                f"{self._related(seeds, i, int(after[i]))} "
                f"({'' if even else f'attention: {written(attention[i])}, '}"
                f"score {written(listening[i], '+')})",
                float(listening[i]),
                float(attention[i]),
                int(seeds.rows[i]) if seeds.rows[i] >= 0 else None,
                seeds.names[i],
            )
            for i in strongest
        ]
        others = [i for i in order[len(strongest) :] if listening[i] > 0]
        if others:
            rest = float(listening[others].sum())
            text = f"Similar to {_other_tracks(len(others), len(order) - len(strongest))}"
            text += f" (score {written(rest, '+')})"
            reasons.append(Reason("other_seeds", text, rest, float(attention[others].sum())))
        return reasons

    def _related(self, seeds: Seeds, i: int, after: int) -> str:
        """What a seed has to do with a track: ``after``, playlists that have it right after."""
        if after:
            return f"Right after {self._named(seeds, i)}, in {counted(after, 'other')}"
        return f"Similar to {self._named(seeds, i)}"

    def _named(self, seeds: Seeds, i: int) -> str:
        name = f'"{seeds.names[i]}" in the playlist'
        if seeds.rows[i] < 0:
            return (
                f"{name}, of which only the artist {self.artist_names[seeds.artists[i]]} is known"
            )
        return f"{name}, which no training playlist has" if seeds.approximated[i] else name

    def _together_reasons(
        self, seeds: Seeds, together: np.ndarray, playlists: np.ndarray
    ) -> list[Reason]:
        """The seeds that speak for the track by playlists that hold both; none, or one reason."""
        speaking = np.flatnonzero((together > 0) & (playlists > 0))
        if not len(speaking):
            return []
        strongest = speaking[np.argsort(-together[speaking], kind="stable")]
        first, *others = strongest[:SEEDS_NAMED]
        said = [f'In {counted(int(playlists[first]), "playlist")} with "{seeds.names[first]}"']
        said += [f'{playlists[i]:,} with "{seeds.names[i]}"' for i in others]
        more = len(strongest) - SEEDS_NAMED
        text = ", ".join(said) + f" and some with {more:,} more of its tracks" * (more > 0)
        share = float(together[speaking].sum())
        return [Reason("item_item", f"{text} (score {written(share, '+')})", share)]

    def _genre_reason(self, matches: Sequence[str], share: float) -> Reason:
        return Reason("genre", f"{'; '.join(matches)} (score {written(share, '+')})", share)

    def _matches(
        self, track: int, seeds: Seeds, genres: list[str], affinity: list[float]
    ) -> list[str]:
        """The matches between a track's artist and the playlist, in words."""
        artist = self.first_artist[track]
        count = int((seeds.artists == artist).sum())
        matches = []
        if count:
            matches.append(f"{self.artists[track]} has {counted(count, 'track')} in the playlist")
        matches += [
            f"Matches the playlist's {genre} (affinity: {written(value)})"
            for genre, value in list(zip(genres, affinity, strict=True))[:3]
        ]
        return matches

    def title_reasons(
        self, title: str, playlists: Sequence[str], contributions: np.ndarray
    ) -> list[Reason]:
        """The contribution of similarly named playlists, as one reason or none.

        Args:
            playlists: their titles.
            contributions: float ``[playlists]``.
        """
        strongest = [i for i in np.argsort(-contributions, kind="stable") if contributions[i] > 0]
        if not strongest:
            return []
        share = float(contributions[strongest].sum())
        # Many playlists share one title.
        named = list(dict.fromkeys(playlists[i] for i in strongest))
        names = ", ".join(f'"{name}"' for name in named[:TITLES_NAMED])
        more = ", ..." * (len(named) > TITLES_NAMED)
        text = f'Suits {counted(len(strongest), "playlist")} named like "{title}": {names}{more}'
        return [Reason("title", f"{text} (score {written(share, '+')})", share)]

    def popularity_reasons(
        self, track: int, contribution: float, title: str | None
    ) -> list[Reason]:
        """The contribution of a track's popularity; no reason for one that no playlist holds."""
        count, above = int(self.popularity[track]), int(self.standing[track])
        if not count:
            return []
        text = f"in {counted(count, 'playlist')}" + f", above {above}% of tracks" * (above > 0)
        genres = f' of the genres in "{title}"' if title else ""
        if above >= POPULAR_PERCENT:
            text = f"Popular{genres}: {text}"
        elif title:
            text = f"A track{genres}, {text}"
        else:
            text = text[0].upper() + text[1:]
        score = f"(score {written(contribution, '+')})"
        return [Reason("popularity", f"{text} {score}", contribution)]

    def _text(
        self,
        track: int,
        reasons: list[Reason],
        matches: list[str],
        influence: dict[str, float],
    ) -> str:
        whole = dict(zip(influence, percentages(list(influence.values())), strict=True))
        share = {kind: f"({value}% influence)" for kind, value in whole.items()}
        nothing = ["   - no reason in particular"]
        listening = [f"   - {reason}" for reason in reasons if reason.kind in LISTENING_REASONS]
        popular = [f"   - {reason}" for reason in reasons if reason.kind == "popularity"]
        lines = [
            f'Recommending "{self.names[track]}" by {self.artists[track]} because:',
            "",
            f"1. Similar Listening Patterns {share['similar listening']}:",
            *(listening or nothing),
            "",
            f"2. Genre and Artist Match {share['genre and artist']}:",
            *(f"   - {match}" for match in matches or ["No genre or artist in common"]),
            "",
            f"3. Popularity Context {share['popularity']}:",
            *(popular or nothing),
        ]
        lines += [
            f"\n{each} (score {written(each.contribution, '+')})"
            for each in reasons
            if each.kind == REST
        ]
        return "\n".join(lines)


def _other_tracks(count: int, left: int) -> str:
    """Some of the tracks of a playlist that are left, in words."""
    if count < left:
        return f"{counted(count, 'other track')} of the playlist"
    return "the playlist's other track" if count == 1 else f"the playlist's other {count:,} tracks"
