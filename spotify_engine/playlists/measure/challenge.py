"""Evaluation in the manner of the RecSys Challenge 2018, and who a scorer serves well.

The challenge's metrics are those of its rules (recsys-challenge.spotify.com/rules) and its final
report (Zamani, Schedl, Lamere & Chen 2018, arXiv:1810.01520). With G the held-out tracks of a
playlist and R the list of up to 500 recommendations, best first:

- R-precision, as scored in the end: (hits among the first |G| of R + 0.25 x artists of G among the
  artists of those) / |G|. Each artist counts once, also where one of its tracks is a hit already,
  for so the formula reads: a perfect list gets more than 1. ``artist_credit=0`` gives the earlier
  rule, without artists. The artist of a track is its first one.
- NDCG: DCG = rel_1 + sum over i >= 2 of rel_i / log2(i), so that ranks 1 and 2 count alike; other
  NDCGs divide by log2(i + 1). The rules print the ideal as a sum over the |G n R| tracks found,
  by which one hit at the top is worth 1 whatever was missed; the organisers' own code
  (RecsysChallengeTools, metrics.py) sums over min(|G|, 500), and so do we by default.
- Clicks: floor((rank of the first hit - 1) / 10), how often ten more songs have to be asked for;
  51 without a hit among 500.

In the challenge, playlists of the challenge set were in no training data. Here a scorer has been
fitted to the train tracks of the very playlists that it completes from n of them: the figures
compare scorers on one split, and not with the challenge's leaderboard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from spotify_engine.arrays import Flags, Floats, Ids
from spotify_engine.baselines.scorer import Scorer
from spotify_engine.evaluation.ranking import (
    NOTHING,
    ScoreFunction,
    evaluate_scorer,
    hit_matrix,
    per_playlist_metrics,
)
from spotify_engine.evaluation.splits import Split
from spotify_engine.ragged import Ragged

PAGE = 10  # songs shown at a time
NEVER = 51  # clicks when nothing is found

Row = dict[str, Any]
Breakdown = dict[str, list[Row]]
"""Part (seeds, lengths, popularity) -> its groups, ready for JSON. A row has ``group`` (its label),
``playlists``, ``held_out`` (tracks) and figures, which are None where there are no playlists."""


class BreakdownConfig(BaseModel):
    """Into which groups playlists and held-out tracks are divided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed_counts: tuple[int, ...] = Field(default=(1, 5, 10, 25, 100), min_length=1)
    """Seeds to complete a playlist from; for each, playlists with fewer train tracks are left out.
    From 0 seeds, only a title can complete it, which is measured elsewhere."""
    list_length: int = Field(default=500, ge=1)
    """Recommendations a playlist, for the challenge's metrics."""
    k: int = Field(default=10, ge=1)
    """Of recall@k."""
    length_edges: tuple[int, ...] = Field(default=(10, 25, 50, 100), min_length=1)
    """Most train tracks of a playlist in each band; one more band has all longer ones."""
    popularity_edges: tuple[int, ...] = Field(default=(0, 2, 10, 100), min_length=1)
    """Most training playlists with a held-out track in each band; 0: unseen in training."""
    max_playlists: int | None = Field(default=500, ge=1)
    """Measure each group on this many playlists, the same for all scorers; None: on all."""
    batch: int = Field(default=128, ge=1)
    """Playlists scored at a time: memory is about three times batch x tracks floats."""
    seed: int = Field(default=0, ge=0)
    """Of the draws of seed tracks and playlists."""

    @field_validator("seed_counts", "length_edges", "popularity_edges")
    @classmethod
    def _ascend(cls, values: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        least = 0 if info.field_name == "popularity_edges" else 1
        if values[0] < least or any(low >= high for low, high in pairwise(values)):
            raise ValueError(f"{values} must ascend from {least} or more")
        return values


def r_precision(
    predictions: Ids, truth: Ragged, first_artist: Ids, artist_credit: float = 0.25
) -> Floats:
    """R-precision of each list, see the top of this file.

    Args:
        predictions: int ``[playlists, k]``, best first, padded with -1. Where more than k tracks
            are held out, all k count.
        truth: held-out tracks of the same playlists, each once.
        first_artist: int ``[tracks]``; -1 for unknown, which never matches.
        artist_credit: worth of an artist in comparison with a track.

    Returns:
        float64 ``[playlists]``, NaN where nothing is held out.

    Raises:
        ValueError: wrong predictions, see ``hit_matrix``.
    """
    hits = hit_matrix(predictions, truth, len(first_artist))
    held_out = truth.lengths
    counted = np.arange(predictions.shape[1]) < held_out[:, None]
    rows, columns = np.nonzero(counted & (predictions != NOTHING))
    base = int(first_artist.max(initial=0)) + 1
    theirs = _distinct(truth.rows, first_artist[truth.values], base)
    ours = _distinct(rows, first_artist[predictions[rows, columns]], base)
    shared = np.intersect1d(theirs, ours, assume_unique=True) // base
    artists = np.bincount(shared, minlength=len(truth))
    credit = (hits & counted).sum(axis=1) + artist_credit * artists
    return np.where(held_out > 0, credit / np.maximum(held_out, 1), np.nan)


def challenge_ndcg(
    predictions: Ids, truth: Ragged, ideal: Literal["held_out", "found"] = "held_out"
) -> Floats:
    """NDCG of each list with the challenge's discount, see the top of this file.

    Args:
        predictions, truth: as in ``r_precision``.
        ideal: of how many hits the ideal list consists; ``held_out``: as many as can be in a list,
            ``found``: as many as there are, the rules' letter.

    Returns:
        float64 ``[playlists]``, 0 without hits, NaN where nothing is held out.
    """
    hits = hit_matrix(predictions, truth)
    length = hits.shape[1]
    discounts = 1 / np.log2(np.maximum(np.arange(1, length + 1), 2))
    best = np.concatenate([[1.0], np.cumsum(discounts)])  # of n hits; without any, gain is 0
    reachable = hits.sum(axis=1) if ideal == "found" else np.minimum(truth.lengths, length)
    return np.where(truth.lengths > 0, hits @ discounts / best[reachable], np.nan)


def clicks(predictions: Ids, truth: Ragged) -> Floats:
    """Recommended songs clicks of each list, see the top of this file.

    Returns:
        float64 ``[playlists]``, 51 without a hit, NaN where nothing is held out.
    """
    hits = hit_matrix(predictions, truth)
    if hits.shape[1] == 0:
        return np.where(truth.lengths > 0, float(NEVER), np.nan)
    needed = np.where(hits.any(axis=1), hits.argmax(axis=1) // PAGE, NEVER)
    return np.where(truth.lengths > 0, needed, np.nan)


def challenge_breakdown(
    scorer: Scorer | ScoreFunction,
    split: Split,
    first_artist: Ids,
    config: BreakdownConfig | None = None,
) -> Breakdown:
    """Measure a fitted scorer on the test part, group by group.

    - seeds: n of a playlist's train tracks, drawn evenly; R-precision, NDCG, clicks, recall.
    - lengths: all known tracks, train and val, are seeds; recall of playlists with so many train
      tracks.
    - popularity: the same lists; recall of the held-out tracks of that band alone, over the
      playlists that hold one out: hits in it / min(k, held out in it).

    All tracks are ranked but the playlist's train and val ones, also those that are no seeds. Which
    playlists and seeds are drawn depends on split and config alone.

    Args:
        scorer: as in ``evaluate_scorer``.
        first_artist: int ``[tracks]``, -1 for unknown.

    Raises:
        ValueError: wrong scores, see ``evaluate_scorer``; or ``first_artist`` has another length.
    """
    config = config or BreakdownConfig()
    if len(first_artist) != split.n_tracks:
        raise ValueError(f"first_artist must be [{split.n_tracks}], got {first_artist.shape}")
    known = split.known_before_test
    by_seeds = []
    for label, drawn, seeds in _seed_groups(split, config):
        truth = split.test.select(drawn)
        length = max(config.list_length, config.k)
        lists, _ = evaluate_scorer(
            scorer, seeds, known.select(drawn), truth, split.n_tracks, length, config.batch
        )
        counted = lists[:, : config.list_length]
        values = {
            "r_precision": r_precision(counted, truth, first_artist),
            "ndcg": challenge_ndcg(counted, truth),
            "ndcg_found": challenge_ndcg(counted, truth, "found"),
            "clicks": clicks(counted, truth),
            f"recall@{config.k}": _recall(lists, truth, config.k),
        }
        by_seeds.append(_row(label, truth, values))

    groups = {
        part: list(each(split, config))
        for part, each in (("lengths", _length_groups), ("popularity", _popularity_groups))
    }
    drawn = np.unique(np.concatenate([rows for each in groups.values() for _, rows, _ in each]))
    lists, _ = evaluate_scorer(
        scorer,
        known.select(drawn),
        known.select(drawn),
        split.test.select(drawn),
        split.n_tracks,
        config.k,
        config.batch,
    )
    breakdown = {"seeds": by_seeds}
    for part, of_part in groups.items():
        breakdown[part] = []
        for label, rows, truth in of_part:
            recall = _recall(lists[np.searchsorted(drawn, rows)], truth, config.k)
            breakdown[part].append(_row(label, truth, {f"recall@{config.k}": recall}))
    return breakdown


Group = tuple[str, Ids, Ragged]
"""Label, playlists drawn (int, ascending), and their seeds or held-out tracks."""


def _seed_groups(split: Split, config: BreakdownConfig) -> Iterator[Group]:
    lengths = split.train.lengths
    for count in config.seed_counts:
        rng = np.random.default_rng([config.seed, count])
        rows = _draw_rows((lengths >= count) & (split.test.lengths > 0), config, rng)
        train = split.train.select(rows)
        order = np.lexsort((rng.random(len(train.values)), train.rows))
        kept = np.zeros(len(train.values), bool)
        kept[order] = np.arange(len(order)) - train.offsets[train.rows] < count
        yield str(count), rows, train.filter(kept)


def _length_groups(split: Split, config: BreakdownConfig) -> Iterator[Group]:
    # A playlist without train tracks has no length of its own: nothing to complete it from.
    bands = _bands((0, *config.length_edges))
    for index, (label, low, high) in enumerate(bands):
        lengths = split.train.lengths
        inside = (lengths >= low) & (lengths <= high) & (split.test.lengths > 0)
        rng = np.random.default_rng([config.seed, 1, index])
        rows = _draw_rows(inside, config, rng)
        yield label, rows, split.test.select(rows)


def _popularity_groups(split: Split, config: BreakdownConfig) -> Iterator[Group]:
    containing = np.bincount(split.train.values, minlength=split.n_tracks)[split.test.values]
    bands = _bands((-1, *config.popularity_edges))
    for index, (label, low, high) in enumerate(bands):
        of_band = split.test.filter((containing >= low) & (containing <= high))
        rng = np.random.default_rng([config.seed, 2, index])
        rows = _draw_rows(of_band.lengths > 0, config, rng)
        yield label, rows, of_band.select(rows)


def _bands(edges: tuple[int, ...]) -> Iterator[tuple[str, int, float]]:
    """(label, least, most) of the bands that end at all edges but the first, and of the last."""
    for below, most in pairwise(edges):
        yield str(most) if below + 1 == most else f"{below + 1}-{most}", below + 1, most
    yield f">{edges[-1]}", edges[-1] + 1, np.inf


def _draw_rows(eligible: Flags, config: BreakdownConfig, rng: np.random.Generator) -> Ids:
    """Numbers of the playlists to measure, ascending; at most ``max_playlists``."""
    rows = np.flatnonzero(eligible)
    if config.max_playlists is None or len(rows) <= config.max_playlists:
        return rows
    return np.sort(rng.choice(rows, config.max_playlists, replace=False))


def _row(label: str, truth: Ragged, values: Mapping[str, Floats]) -> Row:
    figures = {name: float(each.mean()) if len(each) else None for name, each in values.items()}
    return {"group": label, "playlists": len(truth), "held_out": len(truth.values), **figures}


def _recall(lists: Ids, truth: Ragged, k: int) -> Floats:
    return per_playlist_metrics(lists, truth, [k])[f"recall@{k}"]


def _distinct(rows: Ids, artists: Ids, base: int) -> Ids:
    """row x base + artist, each pair once, without unknown artists."""
    known = artists >= 0
    pairs: Ids = np.unique(rows[known] * base + artists[known])
    return pairs
