"""Recommendations for a playlist of unknown tracks: by its title, then by popularity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from spotify_engine.evaluation.ranking import NOTHING, top_k
from spotify_engine.playlists.model.encoding import EncodedTracks
from spotify_engine.playlists.recommend.explain import Explainer
from spotify_engine.playlists.recommend.titles import TitleModel
from spotify_engine.playlists.tables.genre_vocabulary import TitleGenres
from spotify_engine.ragged import Ragged
from spotify_engine.recommendation import Reason, reasons_for

FallbackAnswer = tuple[int, float, list[Reason], str]
"""Track, score, reasons whose contributions sum to it, and which fallback it is."""


@dataclass(frozen=True)
class Fallbacks:
    """Similarly named playlists; else popularity, within the title's genres first.

    Attributes:
        popularity: int ``[tracks]``, training playlists that hold each track.
        titles: None: of a title, only the genres that it names count.
        genres: finds genres in a title.
    """

    encoded: EncodedTracks
    popularity: np.ndarray
    titles: TitleModel | None
    genres: TitleGenres
    explainer: Explainer

    def complete(self, title: str | None, k: int, hidden: Ragged) -> list[FallbackAnswer]:
        """The k best tracks for a title, best first.

        Args:
            hidden: one list, of tracks not to recommend.
        """
        if self.titles is not None and title:
            weights = self.alike(self.titles, [title])
            if weights.nnz:
                return self._by_title(self.titles, title, weights, k, hidden)
        matching = self.of_genres([title])
        scores = self.score_genres(matching)
        answers: list[FallbackAnswer] = []
        for row in best_of(scores, hidden, k)[0]:
            score, of_genre = float(self.popularity[row]), bool(matching[0, row])
            said = self.explainer.popularity_reasons(row, score, title if of_genre else None)
            kind = "title genres" if of_genre else "popularity"
            answers.append((row, score, reasons_for(score, said), kind))
        return answers

    def alike(
        self, known: TitleModel, titles: Sequence[str], leave_out: np.ndarray | None = None
    ) -> sparse.csr_array:
        """``TitleModel.weights``, and none for a title whose genres no similar title names.

        "samba for my dog" is then popular samba, and not what "my songs" holds. Such titles are too
        few to tell on validation which is better; this one keeps to what the title says.
        """
        weights = known.weights(titles, leave_out)
        kept = np.ones(len(titles), np.float32)
        for row, title in enumerate(titles):
            named = set(self.genres.ids(title).tolist())
            near = weights.indices[weights.indptr[row] : weights.indptr[row + 1]]
            kept[row] = not named or any(
                not named.isdisjoint(self.genres.ids(known.titles[i]).tolist()) for i in near
            )
        weights.data *= np.repeat(kept, np.diff(weights.indptr))
        weights.eliminate_zeros()
        return weights

    def score_titles(self, known: TitleModel, weights: sparse.csr_array) -> np.ndarray:
        """Scores of all tracks by :meth:`alike`'s playlists, float32 ``[titles, tracks]``."""
        return known.scores(weights, self.encoded, self.popularity)

    def of_genres(self, titles: Sequence[str | None]) -> np.ndarray:
        """Bool ``[titles, tracks]``: which tracks are of the genres that a title names."""
        return np.stack(
            [self.explainer.tracks_of_genres(self.genres.ids(title)) for title in titles]
        )

    def score_genres(self, matching: np.ndarray) -> np.ndarray:
        """Popularity with the tracks of :meth:`of_genres` before all others, float32."""
        popularity = self.popularity.astype(np.float32)
        return np.where(matching, popularity + popularity.max(initial=0) + 1, popularity)

    def _by_title(
        self, known: TitleModel, title: str, weights: sparse.csr_array, k: int, hidden: Ragged
    ) -> list[FallbackAnswer]:
        scores = self.score_titles(known, weights)
        chosen, best = best_of(scores, hidden, k)
        playlists = [known.titles[i] for i in weights.indices]
        weighted = weights.data[:, None] * known.vectors[weights.indices]
        shares = weighted @ self.encoded.vectors[chosen].numpy().T
        bias = self.encoded.bias.numpy() + known.popularity_term(self.popularity)
        answers: list[FallbackAnswer] = []
        for row, score, share in zip(chosen, best, shares.T, strict=True):
            said = [
                *self.explainer.title_reasons(title, playlists, share),
                *self.explainer.popularity_reasons(row, float(bias[row]), None),
            ]
            answers.append((row, score, reasons_for(score, said), "title"))
        return answers


def best_of(scores: np.ndarray, hidden: Ragged, k: int) -> tuple[list[int], list[float]]:
    """The k best tracks of the only row, and their scores."""
    chosen, best = top_k(scores, hidden, k)
    there = chosen[0] != NOTHING
    return chosen[0][there].tolist(), best[0][there].tolist()
