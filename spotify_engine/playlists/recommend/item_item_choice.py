"""The item-item term of a recommender: fitted on train, its strength chosen on validation."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from scipy import sparse

from spotify_engine.evaluation.ranking import top_k
from spotify_engine.evaluation.validation_sample import ValidationSample
from spotify_engine.learning.item_item import (
    ItemItemConfig,
    add_item_item_scores,
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
        alone = score(batch.seeds)
        for (which, weight), found in lists.items():
            mixed = alone.copy()
            add_item_item_scores(mixed, fitted[which] * np.float32(weight), batch.seeds)
            found.append(top_k(mixed, batch.seeds, 10)[0])
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
