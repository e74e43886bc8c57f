"""Completing a playlist from its title alone: what playlists with similar titles would get."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Self, TypedDict

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse
from torch import Tensor

from spotify_engine.evaluation.ranking import top_k
from spotify_engine.evaluation.validation_sample import ValidationSample
from spotify_engine.playlists.model.encoding import EncodedTracks, score_tracks
from spotify_engine.playlists.tables.genre_vocabulary import BREAK, normalise_title
from spotify_engine.ragged import Ragged

SHARPNESS = 2  # power of a similarity that makes it a weight
# Below it, titles share a syllable or "the": on validation they neither helped nor hurt, but an
# answer that names them as its reason would not be true.
LEAST = 0.1
CHOSEN_BY = 100  # list length: few held-out tracks are among the first 10 for a title
BATCH = 128  # titles scored at once


class TitleConfig(BaseModel):
    """Ways of comparing titles; the combination that is best on validation is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    letters: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field((0.0, 0.5), min_length=1)
    """Share of letter triples in the similarity of two titles; the rest is words."""
    neighbours: tuple[Annotated[int, Field(ge=1)], ...] = Field((30, 100), min_length=1)
    """Playlists with the most similar titles that speak for a title."""
    popularity: tuple[Annotated[float, Field(ge=0)], ...] = Field((0.0, 0.5, 1.0), min_length=1)
    """Weight of log(1 + training playlists) of a track, beside its bias."""
    validate_playlists: int = Field(500, ge=1)
    """Playlists that the choice is measured on."""


@dataclass(frozen=True)
class TitleSettings:
    """One combination of a :class:`TitleConfig`."""

    letters: float
    neighbours: int
    popularity: float


class TitleModel:
    """The titles of training playlists and the vectors of what they hold.

    A title's vector is the mean of those of the most similarly titled playlists, weighted by
    similarity squared. Similarity is the cosine of tf-idf weighted words, mixed with that of letter
    triples, so that "Neo-Soul" is like "neosoul"; less than 0.1 is none. Where the playlists have
    little in common, their mean is short, and a track's popularity decides.
    """

    def __init__(
        self,
        playlists: np.ndarray,
        titles: Sequence[str],
        vectors: np.ndarray,
        settings: TitleSettings,
    ) -> None:
        """Index titles.

        Args:
            playlists: int ``[n]``, distinct: which playlist each title is of, to leave it out.
            titles: ``[n]``.
            vectors: float32 ``[n, out]``, what ``encoding.fold_in`` gives for the training tracks.
        """
        self.playlists, self.titles = playlists, list(titles)
        self.vectors, self.settings = vectors, settings
        parts = [(1 - settings.letters, title_words), (settings.letters, letter_triples)]
        self._terms = [(share, _Terms(self.titles, split)) for share, split in parts if share]

    @classmethod
    def fit(
        cls, titles: Sequence[str], train: Ragged, vectors: np.ndarray, settings: TitleSettings
    ) -> Self:
        """From the titles, training tracks and vectors of all playlists."""
        useful = [
            bool(len(own)) and bool(title_words(title)) for own, title in _with(train, titles)
        ]
        rows = np.flatnonzero(useful)
        return cls(rows.astype(np.int32), [titles[int(i)] for i in rows], vectors[rows], settings)

    def varied(self, neighbours: int, popularity: float) -> Self:
        """The same titles and similarity, with other settings."""
        other = copy(self)
        other.settings = replace(self.settings, neighbours=neighbours, popularity=popularity)
        return other

    def weights(
        self, titles: Sequence[str | None], leave_out: np.ndarray | None = None
    ) -> sparse.csr_array:
        """How much each training playlist speaks for each title.

        Args:
            leave_out: int ``[titles]``, a playlist that says nothing about this title: when known
                playlists are measured, the one whose title it is.

        Returns:
            float32 ``[titles, n]``; rows sum to 1, or to 0 for a title that is like none.
        """
        asked = [title or "" for title in titles]
        first, *others = (share * terms.similarity(asked) for share, terms in self._terms)
        found = sparse.coo_array(sum(others, first))
        usable = found.data >= LEAST
        if leave_out is not None:
            usable &= self.playlists[found.col] != leave_out[found.row]
        row, column = found.row[usable], found.col[usable]
        weight = found.data[usable] ** SHARPNESS
        order = np.lexsort((column, -weight, row))
        row, column, weight = row[order], column[order], weight[order]
        starts = np.searchsorted(row, row)
        near = np.arange(len(row)) - starts < self.settings.neighbours
        row, column, weight = row[near], column[near], weight[near]
        total = np.bincount(row, weights=weight, minlength=len(asked))
        data = (weight / total[row]).astype(np.float32)
        return sparse.csr_array((data, (row, column)), shape=(len(asked), len(self.titles)))

    def alike(self, titles: Sequence[str | None], leave_out: np.ndarray) -> np.ndarray:
        """Bool ``[titles]``: which of them are like any other; see :meth:`weights`."""
        parts = []
        for start in range(0, len(titles), BATCH):
            part = slice(start, start + BATCH)
            parts.append(np.diff(self.weights(titles[part], leave_out[part]).indptr) > 0)
        return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)

    def scores(
        self, weights: sparse.csr_array, encoded: EncodedTracks, popularity: np.ndarray
    ) -> np.ndarray:
        """Scores ``p . t + bias_t + popularity term``, float32 ``[titles, tracks]``.

        Args:
            weights: as :meth:`weights` gives them.
            popularity: int ``[tracks]``, training playlists that hold each track.
        """
        vectors: Tensor = torch.from_numpy(weights @ self.vectors)
        return score_tracks(vectors, encoded) + self.popularity_term(popularity)

    def popularity_term(self, popularity: np.ndarray) -> np.ndarray:
        """The amount a track's training playlists add to its score, float32."""
        return (self.settings.popularity * np.log1p(popularity)).astype(np.float32)


class TitleTrials(TypedDict):
    """Settings and recall of all that were tried, and popularity's recall."""

    tried: list[dict[str, float]]
    popularity: float | None


def choose_titles(
    titles: Sequence[str],
    train: Ragged,
    val: Ragged,
    vectors: np.ndarray,
    encoded: EncodedTracks,
    config: TitleConfig,
) -> tuple[TitleModel | None, TitleTrials]:
    """The title model with the best recall@100 on val, each playlist completed without its own row.

    Args:
        titles: ``[playlists]``.
        vectors: float32 ``[playlists, out]``, of the training tracks.

    Returns:
        (the model, or None when no title is like another playlist's or popularity is as good;
        ``tried``, settings and recall of all that were tried, and ``popularity``, its recall)
    """
    popularity = np.bincount(train.values, minlength=len(encoded.vectors))
    first = TitleSettings(config.letters[0], config.neighbours[0], config.popularity[0])
    model = TitleModel.fit(titles, train, vectors, first)
    rng = np.random.default_rng(0)
    asked = ValidationSample.draw(train, val, config.validate_playlists, rng).playlists
    asked = asked[model.alike([titles[int(i)] for i in asked], asked)]
    if not len(asked):
        return None, {"tried": [], "popularity": None}
    sample = ValidationSample.of(asked, train, val)
    tried: list[dict[str, float]] = []
    best: tuple[float, TitleModel] | None = None
    for letters, neighbours in product(config.letters, config.neighbours):
        if letters != model.settings.letters:
            settings = replace(first, letters=letters)
            model = TitleModel.fit(titles, train, vectors, settings)
        fitted = [
            model.varied(neighbours=neighbours, popularity=weight) for weight in config.popularity
        ]
        found: list[list[np.ndarray]] = [[] for _ in fitted]
        for batch in sample.batches():
            rows = batch.playlists
            weights = fitted[0].weights([titles[int(i)] for i in rows], rows)
            for each, lists in zip(fitted, found, strict=True):
                scores = each.scores(weights, encoded, popularity)
                lists.append(top_k(scores, batch.seeds, CHOSEN_BY)[0])
        for each, lists in zip(fitted, found, strict=True):
            found_here = sample.recall(lists, CHOSEN_BY)
            tried.append({**vars(each.settings), f"val_recall@{CHOSEN_BY}": found_here})
            if best is None or found_here > best[0]:
                best = found_here, each
    assert best is not None
    everyones = popularity.astype(np.float32)
    plain = sample.recall(
        [
            top_k(np.tile(everyones, (len(batch), 1)), batch.seeds, CHOSEN_BY)[0]
            for batch in sample.batches()
        ],
        CHOSEN_BY,
    )
    return best[1] if best[0] > plain else None, {"tried": tried, "popularity": plain}


def title_words(title: str) -> list[str]:
    """Words of a title in one spelling, and its pictograms one by one."""
    words = [word for word in normalise_title(title).split(" ") if word and word != BREAK]
    if title.isascii():
        return words
    return words + [sign for sign in title if unicodedata.category(sign) == "So"]


def letter_triples(title: str) -> list[str]:
    """Three letters in a row, of the words of a title as one: "rock n" and "rockn" are alike."""
    joined = f"<{''.join(title_words(title))}>"
    return [joined[i : i + 3] for i in range(max(len(joined) - 2, 1))]


class _Terms:
    """Titles as unit vectors over their terms, weighted by inverse document frequency."""

    def __init__(self, titles: Sequence[str], split: Callable[[str], list[str]]) -> None:
        self.split = split
        split_titles = [set(split(title)) for title in titles]
        counts = Counter(term for terms in split_titles for term in terms)
        self.number = {term: i for i, term in enumerate(counts)}
        self.n = len(titles)
        frequency = np.fromiter(counts.values(), np.float64, len(counts))
        self.idf = np.log1p(self.n / frequency)
        # By term, so that a product with few terms costs what they hold.
        self.by_term = sparse.csr_array(self._vectors(split_titles).T)

    def similarity(self, titles: Sequence[str]) -> sparse.csr_array:
        """Cosines with the titles fitted to, ``[titles, n]``."""
        vectors = self._vectors([set(self.split(title)) for title in titles])
        return sparse.csr_array(vectors @ self.by_term)

    def _vectors(self, titles: Sequence[Iterable[str]]) -> sparse.csr_array:
        """A term that no title has counts in the length, as one that a single title has."""
        columns: list[int] = []
        data: list[float] = []
        indptr = [0]
        rare = float(np.log1p(self.n))
        for terms in titles:
            known = [number for number in map(self.number.get, terms) if number is not None]
            weights = self.idf[known]
            others = len(set(terms)) - len(known)
            length = np.sqrt(weights @ weights + others * rare**2)
            columns += known
            data += (weights / max(length, 1e-12)).tolist()
            indptr.append(len(columns))
        arrays = (np.array(data), np.array(columns, np.int64), np.array(indptr))
        return sparse.csr_array(arrays, shape=(len(titles), len(self.number)))


def _with(train: Ragged, titles: Sequence[str]) -> Iterable[tuple[np.ndarray, str]]:
    if len(titles) != len(train):
        raise ValueError(f"{len(titles)} titles for {len(train)} playlists")
    return zip(train, titles, strict=True)
