"""Measuring the completion of playlists of which little is known, compared with popularity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy import sparse

from spotify_engine.baselines.scorer import playlist_matrix
from spotify_engine.evaluation.ranking import ranking_metrics, top_k
from spotify_engine.evaluation.splits import Split
from spotify_engine.playlists.recommend.fallbacks import Fallbacks
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.ragged import Ragged

KS = (10, 100)
FIGURES = ("recall@10", "ndcg@10", "recall@100")
BATCH = 128


class ColdStartConfig(BaseModel):
    """On what the cold-start cases are measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_playlists: int | None = Field(1000, ge=1)
    """Measure each case on this many playlists; None: on all."""
    seed: int = Field(0, ge=0)
    """Of the draws of playlists and seed tracks."""


class Case(NamedTuple):
    """Playlists in one situation.

    Attributes:
        name: what is known.
        answers: which ``Recommendation.fallback`` this is.
        rows: int ``[n]``, the playlists it is measured on.
        truth: test tracks to find, over all playlists.
        score: from some of ``rows`` to float32 ``[rows, tracks]``.
    """

    name: str
    answers: str | None
    rows: np.ndarray
    truth: Ragged
    score: Callable[[np.ndarray], np.ndarray]


class ColdStartRow(TypedDict):
    """What :func:`measure_cold_start` says of a case."""

    case: str
    fallback: str | None
    playlists: int
    held_out: int
    ours: dict[str, float] | None
    popularity: dict[str, float] | None


def measure_cold_start(
    recommender: PlaylistRecommender,
    titles: Sequence[str],
    split: Split,
    config: ColdStartConfig,
    votes_needed: int | None = None,
) -> list[ColdStartRow]:
    """Complete test playlists as if little were known of them.

    All tracks are ranked but those of the playlist's train and val parts, by what ``complete``
    ranks by and by popularity, on the same playlists. A playlist's own title is left out of the
    title model, and its votes out of artists' genres, when the playlist is completed by it.

    Args:
        titles: ``[playlists]``.
        votes_needed: titles that must name a genre for it to be an artist's, where genres come
            from titles; None where they come from a file.

    Returns:
        For each case: ``case``, ``fallback``, ``playlists``, ``held_out`` (tracks), and in ``ours``
        and ``popularity`` recall and NDCG at 10 and recall at 100; None where no playlist is so.
    """
    known = split.known_before_test
    found: list[ColdStartRow] = []
    cases = cold_start_cases(recommender, titles, split, config, votes_needed)
    for case in cases:
        rows = case.rows
        lists: dict[str, list[np.ndarray]] = {"ours": [], "popularity": []}
        popularity = recommender.popularity.astype(np.float32)
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            for name, scores in (
                ("ours", case.score(batch)),
                ("popularity", np.broadcast_to(popularity, (len(batch), len(popularity)))),
            ):
                lists[name].append(top_k(scores, known.select(batch), max(KS))[0])
        truth = case.truth.select(rows)
        found.append(
            {
                "case": case.name,
                "fallback": case.answers,
                "playlists": len(rows),
                "held_out": len(truth.values),
                "ours": _figures(lists["ours"], truth),
                "popularity": _figures(lists["popularity"], truth),
            }
        )
    return found


def cold_start_cases(
    recommender: PlaylistRecommender,
    titles: Sequence[str],
    split: Split,
    config: ColdStartConfig,
    votes_needed: int | None,
) -> Iterator[Case]:
    """The cases that this model and these playlists have."""
    held = split.test.lengths > 0
    fallbacks = recommender.fallbacks
    draws = np.random.default_rng(config.seed).permutation(len(held))

    def some(eligible: np.ndarray) -> np.ndarray:
        """At most ``max_playlists`` of bool ``[playlists]``: the first of one order for all."""
        return np.sort(draws[eligible[draws]][: config.max_playlists])

    def of(rows: np.ndarray) -> list[str]:
        return [titles[int(row)] for row in rows]

    if (known := fallbacks.titles) is not None:

        def weights(rows: np.ndarray) -> sparse.csr_array:
            return fallbacks.alike(known, of(rows), rows)

        def by_title(rows: np.ndarray) -> np.ndarray:
            return fallbacks.score_titles(known, weights(rows))

        # Which titles are alike takes time to tell, so that is found out of those drawn.
        every = some(held)
        parts = [every[start : start + BATCH] for start in range(0, len(every), BATCH)]
        alike = np.concatenate([np.diff(weights(part).indptr) > 0 for part in [every[:0], *parts]])
        yield Case("a title like another's alone", "title", every[alike], split.test, by_title)

    first_artist = recommender.tables["tracks"]["artist"].to_numpy()
    votes = None
    if votes_needed is not None:
        votes = _Votes(fallbacks, titles, split.train, first_artist, votes_needed)

    def by_genres(rows: np.ndarray) -> np.ndarray:
        matching = fallbacks.of_genres(of(rows))
        if votes is not None:
            matching &= ~votes.by_own_title_alone(rows)
        return fallbacks.score_genres(matching)

    named = np.array([bool(len(fallbacks.genres.ids(title))) for title in titles], dtype=bool)
    yield Case(
        "a genre in a title, no title alike",
        "title genres",
        some(held & named),
        split.test,
        by_genres,
    )

    one = _one_each(split.train, np.random.default_rng([config.seed, len(titles)]))
    yield from _seed_cases(recommender, split, one, some)


def _seed_cases(
    recommender: PlaylistRecommender,
    split: Split,
    one: Ragged,
    some: Callable[[np.ndarray], np.ndarray],
) -> Iterator[Case]:
    """The cases of few or unusual seed tracks.

    Args:
        one: a seed track of each training playlist that has any.
        some: at most so many of bool ``[playlists]`` as are measured, as row numbers.
    """
    held, unheard = split.test.lengths > 0, recommender.popularity == 0

    def by_one(rows: np.ndarray) -> np.ndarray:
        return recommender.score(one.select(rows))

    yield Case("one seed track", None, some(held & (one.lengths > 0)), split.test, by_one)

    if recommender.stand_ins is not None:

        def by_artist(rows: np.ndarray) -> np.ndarray:
            return recommender.score_by_artist(split.train.select(rows))

        rows = some(held & (split.train.lengths > 0))
        yield Case("artists of the tracks alone", "artist", rows, split.test, by_artist)

    unseen = split.val.filter(unheard[split.val.values])

    def by_unseen(rows: np.ndarray) -> np.ndarray:
        return recommender.score(unseen.select(rows))

    rows = some(held & (unseen.lengths > 0))
    yield Case("seed tracks unseen in training", "artist", rows, split.test, by_unseen)

    wanted = split.test.filter(unheard[split.test.values])

    def by_seeds(rows: np.ndarray) -> np.ndarray:
        return recommender.score(split.train.select(rows))

    rows = some(wanted.lengths > 0)
    yield Case("finding tracks unseen in training", None, rows, wanted, by_seeds)


class _Votes:
    """How often titles of training playlists put each artist in each genre."""

    def __init__(
        self,
        fallbacks: Fallbacks,
        titles: Sequence[str],
        train: Ragged,
        first_artist: np.ndarray,
        needed: int,
    ) -> None:
        self.first_artist, self.needed = first_artist, needed
        self.n_artists = int(first_artist.max(initial=0)) + 1
        self.named = Ragged.from_lists([fallbacks.genres.ids(title) for title in titles])
        artists = Ragged(train.offsets, first_artist[train.values])
        self.has = playlist_matrix(artists, self.n_artists)
        genres = playlist_matrix(self.named, len(fallbacks.explainer.genre_names))
        self.votes = sparse.csr_array(self.has.T @ genres)

    def by_own_title_alone(self, rows: np.ndarray) -> np.ndarray:
        """Bool ``[rows, tracks]``: whose artist would not be of the title's genres without it."""
        found = np.zeros((len(rows), len(self.first_artist)), bool)
        for i, row in enumerate(rows):
            artists = self.has.indices[self.has.indptr[row] : self.has.indptr[row + 1]]
            of_others = self.votes[artists][:, self.named[row]].toarray() - 1
            gone = np.zeros(self.n_artists, bool)
            gone[artists[(of_others < self.needed).all(axis=1)]] = True
            found[i] = gone[self.first_artist]
        return found


def render_cold_start(found: Sequence[ColdStartRow]) -> Table:
    """A line for each case: our figures, each above popularity's."""
    table = Table(
        title="Test part with little known: ours / popularity",
        caption="a playlist's own title says nothing of it: not by its likeness, not by its genres",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in ("known", "answered by"):
        table.add_column(column)
    for column in ("playlists", *FIGURES):
        table.add_column(column, justify="right")
    for row in found:
        ours, others = row["ours"], row["popularity"]
        cells = [
            f"{ours[name]:.4f} / {others[name]:.4f}" if ours and others else "" for name in FIGURES
        ]
        table.add_row(row["case"], row["fallback"] or "seeds", f"{row['playlists']:,}", *cells)
    return table


def _one_each(lists: Ragged, rng: np.random.Generator) -> Ragged:
    """One of the tracks of each list, drawn evenly."""
    pick = (rng.random(len(lists)) * lists.lengths).astype(np.int64)
    kept = np.zeros(len(lists.values), bool)
    kept[(lists.offsets[:-1] + pick)[lists.lengths > 0]] = True
    return lists.filter(kept)


def _figures(lists: list[np.ndarray], truth: Ragged) -> dict[str, float] | None:
    if not lists:
        return None
    metrics = ranking_metrics(np.concatenate(lists), truth, KS)
    return {name: metrics[name] for name in FIGURES}
