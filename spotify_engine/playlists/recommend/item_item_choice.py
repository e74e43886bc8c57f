"""The item-item term of a recommender: fitted on train, its strength chosen on validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from spotify_engine.evaluation.ranking import ranking_metrics, top_k
from spotify_engine.learning.item_item import (
    ItemItemConfig,
    add_item_item_scores,
    item_item_scores,
    item_item_weights,
)
from spotify_engine.pipelines import MONITOR
from spotify_engine.ragged import Ragged

BATCH = 256
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
    held = np.flatnonzero(val.lengths)
    asked = np.sort(np.random.default_rng(0).permutation(held)[: config.validate_playlists])
    fitted = item_item_weights(train, n_tracks, config.neighbours, config.regularisation)
    fitted = [each * _unit(each, train.select(asked)) for each in fitted]
    lists: dict[tuple[int, float], list[np.ndarray]] = {
        (which, weight): [] for which in range(len(fitted)) for weight in config.weights
    }
    for first in range(0, len(asked), BATCH):
        seeds = train.select(asked[first : first + BATCH])
        alone = score(seeds)
        for (which, weight), found in lists.items():
            mixed = alone.copy()
            add_item_item_scores(mixed, fitted[which] * np.float32(weight), seeds)
            found.append(top_k(mixed, seeds, 10)[0])
    truth = val.select(asked)
    tried = [
        {
            "regularisation": config.regularisation[which],
            "weight": weight,
            MONITOR: ranking_metrics(np.concatenate(found), truth, (10,))["recall@10"],
        }
        for (which, weight), found in lists.items()
    ]
    best = int(np.argmax([each[MONITOR] for each in tried]))
    which, weight = list(lists)[best]
    if not weight:
        return None, tried
    return sparse.csr_array(fitted[which] * np.float32(weight)), tried


def _unit(weights: sparse.csr_array, seeds: Ragged) -> np.float32:
    """The factor that makes the term 1 on average over the tops of its own lists."""
    tops: list[Any] = []
    for first in range(0, len(seeds), BATCH):
        scores = item_item_scores(
            weights, seeds.select(np.arange(first, min(first + BATCH, len(seeds))))
        )
        for row in range(scores.shape[0]):
            found = np.sort(scores.data[scores.indptr[row] : scores.indptr[row + 1]])[-TOP:]
            if len(found):
                tops.append(found.mean())
    mean = float(np.mean(tops)) if tops else 0.0
    return np.float32(1 / mean if mean > 0 else 1.0)
