"""From scores to top-k lists, and from lists to recall, precision, NDCG, MRR and hit rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from spotify_engine.arrays import Flags, Floats, Ids, Scores
from spotify_engine.baselines.scorer import Scorer
from spotify_engine.errors import InputError
from spotify_engine.evaluation.splits import check_ids, read_columns
from spotify_engine.ragged import Ragged
from spotify_engine.store.atomic import replaced_file

SCHEMA = pa.schema(
    [
        ("playlist", pa.int32()),
        ("rank", pa.int32()),
        ("track", pa.int32()),
        ("score", pa.float32()),
    ]
)
NOTHING = -1  # where a list is shorter than k
ScoreFunction = Callable[[Ragged], Scores]  # from seeds to float32 [playlists, tracks]
Figures = dict[str, float | None]
"""What was measured, by name; None where there is nothing to measure it on."""


def top_k(scores: Scores, exclude: Ragged, k: int) -> tuple[NDArray[np.int32], Scores]:
    """The k best tracks of each row; of equal scores, the smaller id comes first.

    Args:
        scores: float32 ``[rows, tracks]``; -inf means "never". Left as it is.
        exclude: for each row, tracks that are not to be returned.
        k: length of a list.

    Returns:
        Track ids int32 ``[rows, k]`` and their scores float32 ``[rows, k]``, best first, padded
        with -1 and -inf where fewer than k tracks are left.

    Raises:
        ValueError: NaN scores, or as many lists in ``exclude`` as ``scores`` doesn't have rows.
    """
    if scores.ndim != 2 or len(exclude) != len(scores):
        raise ValueError(f"scores {scores.shape} need one exclude list a row, got {len(exclude)}")
    n_rows, n_tracks = scores.shape
    ids = np.full((n_rows, k), NOTHING, np.int32)
    best = np.full((n_rows, k), -np.inf, np.float32)
    width = min(k, n_tracks)
    if n_rows == 0 or width == 0:
        return ids, best
    if np.isnan(scores.max(axis=1)).any():
        row = int(np.flatnonzero(np.isnan(scores).any(axis=1))[0])
        raise ValueError(f"scores of row {row} have NaN")
    scores = scores.astype(np.float32)
    scores[exclude.rows, exclude.values] = -np.inf

    # One more than asked, to see whether the last place is a tie: which of the tracks at that score
    # topk picks is arbitrary, so there it is decided again.
    most, found = torch.topk(torch.from_numpy(scores), min(width + 1, n_tracks), dim=1)
    chosen = found[:, :width].numpy()
    last = most[:, width - 1].numpy()
    tie = np.flatnonzero((most[:, -1].numpy() == last) & (last > -np.inf))
    if width < n_tracks and len(tie):
        rows = scores[tie]
        above, level = rows > last[tie, None], rows == last[tie, None]
        places = width - above.sum(axis=1, keepdims=True)
        keep = above | (level & (level.cumsum(axis=1, dtype=np.int32) <= places))
        chosen[tie] = np.nonzero(keep)[1].reshape(-1, width)
    chosen.sort(axis=1)
    values = np.take_along_axis(scores, chosen, axis=1)
    best_first = np.argsort(-values, axis=1, kind="stable")
    best[:, :width] = np.take_along_axis(values, best_first, axis=1)
    ids[:, :width] = np.take_along_axis(chosen, best_first, axis=1)
    ids[best == -np.inf] = NOTHING
    return ids, best


def evaluate_scorer(
    scorer: Scorer | ScoreFunction,
    seeds: Ragged,
    exclude: Ragged,
    truth: Ragged,
    n_tracks: int,
    k: int,
    batch: int = 128,
) -> tuple[NDArray[np.int32], Scores]:
    """Rank all tracks for each playlist with something held out.

    Memory is bounded by ``batch`` x ``n_tracks`` scores.

    Args:
        scorer: fitted; or a function from seeds to float32 ``[playlists, n_tracks]``.
        seeds, exclude, truth: over the same playlists. Only ``truth``'s lengths are looked at.

    Returns:
        Tracks int32 ``[playlists, k]`` and scores float32; -1 and -inf where nothing is held out.

    Raises:
        ValueError: the scores have a wrong shape, or NaN.
    """
    score = scorer.score if isinstance(scorer, Scorer) else scorer
    predictions = np.full((len(truth), k), NOTHING, np.int32)
    kept_scores = np.full((len(truth), k), -np.inf, np.float32)
    asked = np.flatnonzero(truth.lengths)
    for start in range(0, len(asked), batch):
        rows = asked[start : start + batch]
        scores = score(seeds.select(rows))
        if scores.shape != (len(rows), n_tracks):
            raise ValueError(f"scores must be {(len(rows), n_tracks)}, got {scores.shape}")
        predictions[rows], kept_scores[rows] = top_k(scores, exclude.select(rows), k)
    return predictions, kept_scores


def hit_matrix(predictions: Ids, truth: Ragged, n_tracks: int | None = None) -> Flags:
    """Which recommendations were held out.

    Args:
        predictions: int ``[playlists, k]``, best first, padded at the end with -1.
        truth: the held-out tracks of the same playlists.
        n_tracks: when given, ids must be below it.

    Returns:
        bool ``[playlists, k]``.

    Raises:
        ValueError: a wrong shape or type, an id out of range, a track twice in a list, or padding
            before a track.
    """
    if predictions.ndim != 2 or len(predictions) != len(truth):
        raise ValueError(
            f"predictions must be [playlists, k] for the {len(truth)} playlists of the truth "
            f"({len(truth)}, k), got {predictions.shape}"
        )
    if not np.issubdtype(predictions.dtype, np.integer):
        raise ValueError(f"predictions must be track ids (int), got {predictions.dtype}")
    if predictions.size == 0:
        return np.zeros(predictions.shape, bool)
    top = int(predictions.max())
    if predictions.min() < NOTHING or (n_tracks is not None and top >= n_tracks):
        raise ValueError(
            f"predictions run from {predictions.min()} to {top}; ids must be -1 (nothing) or "
            f"in 0..{'' if n_tracks is None else n_tracks - 1}"
        )
    missing = predictions == NOTHING
    if (missing[:, :-1] & ~missing[:, 1:]).any():
        row = int(np.flatnonzero((missing[:, :-1] & ~missing[:, 1:]).any(axis=1))[0])
        raise ValueError(f"the list of playlist {row} has a track after padding")
    in_order = np.sort(predictions, axis=1)
    same = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] != NOTHING)
    if same.any():
        row, column = np.argwhere(same)[0]
        raise ValueError(f"track {in_order[row, column]} is twice in the list of playlist {row}")
    if len(truth.values) == 0:
        return np.zeros(predictions.shape, bool)
    base = max(top, int(truth.values.max())) + 1
    wanted = np.sort(truth.rows * base + truth.values)
    asked = np.arange(len(predictions))[:, None] * base + predictions
    place = np.minimum(np.searchsorted(wanted, asked), len(wanted) - 1)
    return (wanted[place] == asked) & ~missing


def per_playlist_metrics(
    predictions: Ids, truth: Ragged, ks: Sequence[int], n_tracks: int | None = None
) -> dict[str, Floats]:
    """Metrics of each playlist, NaN where nothing is held out.

    With H held out, hits h_r (0 or 1) at rank r = 1..k:

    - recall@k = sum h / min(k, H); precision@k = sum h / k; hit_rate@k = 1 if sum h > 0 else 0
    - ndcg@k = sum h_r / log2(r + 1), divided by the same sum over the ranks 1..min(k, H)
      (Jarvelin & Kekalainen 2002, binary gain)
    - mrr@k = 1 / rank of the first hit, 0 without one

    Returns:
        ``{"recall@10": float64 [playlists], ...}``

    Raises:
        ValueError: see ``hit_matrix``; or a k beyond the length of the lists.
    """
    hits = hit_matrix(predictions, truth, n_tracks)
    if max(ks) > predictions.shape[1] or min(ks) < 1:
        raise ValueError(f"ks {tuple(ks)} need lists that long, got {predictions.shape}")
    held_out = truth.lengths
    asked = held_out > 0
    discounts = 1 / np.log2(np.arange(2, predictions.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    metrics: dict[str, Floats] = {}
    for k in ks:
        at_k = hits[:, :k]
        n_hits = at_k.sum(axis=1)
        possible = np.minimum(k, np.maximum(held_out, 1))
        first = np.where(n_hits > 0, at_k.argmax(axis=1), 0)
        values = {
            "recall": n_hits / possible,
            "precision": n_hits / k,
            "ndcg": at_k @ discounts[:k] / ideal[possible],
            "mrr": (n_hits > 0) / (first + 1),
            "hit_rate": (n_hits > 0).astype(float),
        }
        for name, value in values.items():
            metrics[f"{name}@{k}"] = np.where(asked, value, np.nan)
    return metrics


def ranking_metrics(
    predictions: Ids, truth: Ragged, ks: Sequence[int], n_tracks: int | None = None
) -> dict[str, float]:
    """Means of ``per_playlist_metrics`` over the playlists with something held out.

    Raises:
        ValueError: see ``per_playlist_metrics``; or no playlist has anything held out.
    """
    if len(truth.values) == 0:
        raise ValueError("no playlist has anything held out, so there is nothing to measure")
    values = per_playlist_metrics(predictions, truth, ks, n_tracks)
    return {name: float(np.nanmean(value)) for name, value in values.items()}


def save_predictions(path: Path, predictions: Ids, scores: Scores) -> None:
    """Write top-k lists: playlist, rank (from 0), track, score; padding is left out.

    Args:
        predictions: int32 ``[playlists, k]``, padded with -1.
        scores: float32 ``[playlists, k]``.
    """
    if predictions.shape != scores.shape:
        raise ValueError(f"predictions {predictions.shape} and scores {scores.shape} must agree")
    playlist, rank = np.nonzero(predictions != NOTHING)
    columns = [
        playlist.astype(np.int32),
        rank.astype(np.int32),
        predictions[playlist, rank].astype(np.int32),
        scores[playlist, rank].astype(np.float32),
    ]
    schema = SCHEMA.with_metadata({"k": str(predictions.shape[1])})
    table = pa.Table.from_arrays([pa.array(c) for c in columns], schema=schema)
    with replaced_file(path) as partial:
        pq.write_table(table, partial)


def load_predictions(
    path: Path, n_playlists: int, n_tracks: int
) -> tuple[NDArray[np.int32], Scores]:
    """Read what ``save_predictions`` wrote, or anyone's file with the same columns.

    Returns:
        Tracks int32 ``[n_playlists, k]`` padded with -1, and scores float32 padded with -inf.

    Raises:
        InputError: a missing or unreadable file or column, an id out of range, or ranks of a
            playlist that don't count up from 0 without gaps.
    """
    table = read_columns(path, SCHEMA)
    playlist, rank, track, score = (table[name].to_numpy() for name in SCHEMA.names)
    check_ids(path, "playlist", playlist, n_playlists)
    check_ids(path, "track", track, n_tracks)
    order = np.lexsort((rank, playlist))
    counts = np.bincount(playlist, minlength=n_playlists)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    wrong = np.flatnonzero(rank[order] != np.arange(len(order)) - first[playlist[order]])
    if len(wrong):
        raise InputError(
            f"{path}: the ranks of playlist {playlist[order][wrong[0]]} must be 0, 1, 2, ... "
            "each once"
        )
    longest = int(counts.max(initial=0))
    k = max(longest, int((table.schema.metadata or {}).get(b"k", longest)))
    predictions = np.full((n_playlists, k), NOTHING, np.int32)
    scores = np.full((n_playlists, k), -np.inf, np.float32)
    predictions[playlist, rank] = track
    scores[playlist, rank] = score
    return predictions, scores
