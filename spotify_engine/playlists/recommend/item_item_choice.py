"""The item-item term of a recommender: fitted on train, its strength chosen on validation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from spotify_engine.evaluation.ranking import NOTHING, top_k
from spotify_engine.evaluation.validation_sample import ValidationSample
from spotify_engine.learning.item_item import (
    ItemItemConfig,
    item_item_scores,
    item_item_weights,
)
from spotify_engine.pipelines import MONITOR
from spotify_engine.ragged import Ragged

log = logging.getLogger(__name__)

TOP = 20  # a list's length, over which the term's natural size is measured


def choose_item_item(
    score: Callable[[Ragged], np.ndarray],
    train: Ragged,
    val: Ragged,
    n_tracks: int,
    config: ItemItemConfig,
) -> tuple[sparse.csr_array | None, list[dict[str, float]]]:
    """Ridge and weight with the best recall@10 on val when added to a model's scores.

    Args:
        score: the model's float32 ``[playlists, tracks]`` from seeds.

    Returns:
        (weights ``[seed, track]``, ready to add, or None where the model is best alone; settings
        and recall of all that were tried)
    """
    if not config.neighbours:
        return None, []
    sample = ValidationSample.draw(train, val, config.validate_playlists, np.random.default_rng(0))
    fitted = item_item_weights(train, n_tracks, config.neighbours, config.regularisation)
    fitted = [each * _unit(each, sample) for each in fitted]
    lists: dict[tuple[int, float], list[np.ndarray]] = {
        (which, weight): [] for which in range(len(fitted)) for weight in config.weights
    }
    for batch in sample.batches():
        terms = [item_item_scores(each, batch.seeds) for each in fitted]
        contest = _Contest.of(score(batch.seeds), terms, batch.seeds, 10)
        for (which, weight), found in lists.items():
            found.append(contest.best(which, weight, 10))
    tried = [
        {
            "regularisation": config.regularisation[which],
            "weight": weight,
            MONITOR: sample.recall(found, 10),
        }
        for (which, weight), found in lists.items()
    ]
    best = int(np.argmax([each[MONITOR] for each in tried]))
    log.debug("of item-item terms %s the best is %d", tried, best)
    which, weight = list(lists)[best]
    if not weight:
        return None, tried
    return sparse.csr_array(fitted[which] * np.float32(weight)), tried


@dataclass(frozen=True)
class _Contest:
    """All tracks that can be among the best of a list, whatever weight a term has.

    They are those that a term speaks of, and the best of those that none does: a few thousand a
    list, in place of the catalogue.

    Attributes:
        ids: int64 ``[lists, most]``, ascending, padded at the end.
        alone: float32, without a term; -inf where padded.
        terms: float32 each.
    """

    ids: np.ndarray
    alone: np.ndarray
    terms: list[np.ndarray]

    @classmethod
    def of(
        cls, alone: np.ndarray, terms: Sequence[sparse.csr_array], seeds: Ragged, k: int
    ) -> _Contest:
        """Contests of lists from float32 ``[lists, tracks]``, which is overwritten."""
        lists, tracks = alone.shape
        alone[seeds.rows, seeds.values] = -np.inf
        spoken_of = np.concatenate([_keys(term) for term in terms])
        touched = np.unique(spoken_of)
        row, column = np.divmod(touched, tracks)
        values = alone[row, column]
        alone[row, column] = -np.inf
        rest, best = top_k(alone, seeds, k)
        there = rest >= 0
        keys = np.concatenate([touched, (np.arange(lists)[:, None] * tracks + rest)[there]])
        values = np.concatenate([values, best[there]])
        order = np.argsort(keys, kind="stable")
        keys, values = keys[order], values[order]
        row, column = np.divmod(keys, tracks)
        starts = np.searchsorted(row, np.arange(lists + 1))
        place = (row, np.arange(len(row)) - starts[row])
        shape = (lists, int(np.diff(starts).max(initial=0)))

        def padded(numbers: np.ndarray, filler: float) -> np.ndarray:
            found = np.full(shape, filler, numbers.dtype)
            found[place] = numbers
            return found

        spread = []
        for term in terms:
            own = np.zeros(len(keys), np.float32)
            own[np.searchsorted(keys, _keys(term))] = term.data
            spread.append(padded(own, 0))
        return cls(padded(column, 0), padded(values, -np.inf), spread)

    def best(self, which: int, weight: float, k: int) -> np.ndarray:
        """The k best tracks, int ``[lists, k]`` padded with -1, with a term of some weight."""
        mixed = self.alone + np.float32(weight) * self.terms[which]
        nothing = Ragged(np.zeros(len(mixed) + 1, np.int64), np.zeros(0, np.int64))
        places, _ = top_k(mixed, nothing, k)
        found = np.take_along_axis(self.ids, np.maximum(places, 0).astype(np.int64), axis=1)
        return np.where(places >= 0, found, NOTHING)


def _keys(matrix: sparse.csr_array) -> np.ndarray:
    """int64 ``[stored]``: row x columns + column of each stored value."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices


def _unit(weights: sparse.csr_array, sample: ValidationSample) -> np.float32:
    """The factor that makes the term 1 on average over the tops of its own lists."""
    tops: list[np.floating] = []
    for batch in sample.batches():
        scores = item_item_scores(weights, batch.seeds)
        for row in range(scores.shape[0]):
            found = np.sort(scores.data[scores.indptr[row] : scores.indptr[row + 1]])[-TOP:]
            if len(found):
                tops.append(found.mean())
    mean = float(np.mean(tops)) if tops else 0.0
    return np.float32(1 / mean if mean > 0 else 1.0)
