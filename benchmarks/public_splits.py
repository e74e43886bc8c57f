"""Score ours and the baselines on two public splits, beside what others published on them.

    python benchmarks/public_splits.py --data DIR
    python benchmarks/public_splits.py --data DIR --sets gowalla --scorers itemknn ials --out f.json

DIR has ``gowalla/interactions.parquet`` and ``lastfm/interactions.parquet`` with the columns row,
item and split (train or test). All items are ranked, those of the row's train part left out.

A scorer named ``*-published`` has the settings that its published figure was measured with and has
to come within 2 % of it: that tests the harness, and the exit code is 1 when one doesn't. The
others see 85 % of train, choose their settings by recall@20 on the remaining 15 %, are fitted to
both, and rank test once. EASE on Gowalla inverts a 29,858-sided matrix for each setting: minutes
each, and 8 GiB.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from public_ours import recommender
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from scipy import sparse

from spotify_engine.baselines.bpr import BPR
from spotify_engine.baselines.ease import EASE, EASEConfig
from spotify_engine.baselines.ials import IALS
from spotify_engine.baselines.itemknn import ItemKNN, ItemKNNConfig
from spotify_engine.baselines.popularity import Popularity
from spotify_engine.baselines.scorer import Scorer, playlist_matrix
from spotify_engine.command import STOPPED, job
from spotify_engine.errors import InputError
from spotify_engine.evaluation.ranking import hit_matrix, ranking_metrics
from spotify_engine.evaluation.splits import read_columns
from spotify_engine.playlists.measure.leaderboard import (
    EvaluationConfig,
    ScoreFunction,
    evaluate_scorer,
)
from spotify_engine.ragged import Ragged

K = 20
VAL_SHARE = 0.15
TOLERANCE = 0.02
EASE_MEMORY_GIB = 8.0  # Gowalla needs 6.6
SCHEMA = pa.schema([("row", pa.int64()), ("item", pa.int64()), ("split", pa.string())])

Method = Callable[[Ragged, Ragged, int], Scorer]
"""(train, val, n_items) -> fitted scorer. train and val are disjoint parts of the same rows' train
items; it may learn from both, and is then asked to score rows by both. It never sees test."""


@dataclass(frozen=True)
class PublicSet:
    """One data set.

    Attributes:
        name: of its folder.
        recall: which recall its table prints; ``recall`` divides hits by all held-out items,
            ``recall_capped`` by min(20, held-out items), as ``ranking_metrics`` does.
        published: scorer -> (recall@20, ndcg@20), on exactly this split.
    """

    name: str
    recall: str
    published: Mapping[str, tuple[float, float]]


SETS = (
    PublicSet(
        "gowalla",
        "recall",
        {  # The BARS benchmark's table for the split of LightGCN, and its logs.
            "popularity": (0.0416, 0.0317),
            "itemknn-published": (0.1570, 0.1214),
            "ease-published": (0.1765, 0.1467),
        },
    ),
    PublicSet(
        "lastfm",
        "recall_capped",
        {  # Measured once with these settings by those who made the split.
            "popularity": (0.0365, 0.0210),
            "itemknn-published": (0.2617, 0.2064),
            "ease-published": (0.2569, 0.2024),
        },
    ),
)


@dataclass
class Result:
    """A scorer's figures on one test part, beside the published ones where there are any."""

    scorer: str
    settings: dict[str, Any]
    metrics: dict[str, float]
    published: dict[str, float] = field(default_factory=dict)
    fit_seconds: float = 0.0
    rank_seconds: float = 0.0

    @property
    def ratios(self) -> dict[str, float]:
        """Ours / published."""
        return {name: self.metrics[name] / value for name, value in self.published.items()}


class AveragingItemKNN(ItemKNN):
    """ItemKNN as in BARS's table: the mean of the neighbours' deviations from their own means.

    score(t) = m_t + sum_s sim(t, s) (x_s - m_s) / sum_s sim(t, s), over t's neighbours s; x_s is 1
    for seeds, else 0, and m the share of rows that contain the item. Without the division, items
    that many others resemble would score higher.
    """

    def fit(self, train: Ragged, n_tracks: int) -> Self:
        super().fit(train, n_tracks)
        totals = np.asarray(self.similarity.sum(axis=0)).ravel()
        scale = sparse.diags_array((1 / np.where(totals > 0, totals, 1)).astype(np.float32))
        self.similarity = sparse.csr_array(self.similarity @ scale)
        means = (np.bincount(train.values, minlength=n_tracks) / len(train)).astype(np.float32)
        self.offset = means - means @ self.similarity
        return self

    def score(self, seeds: Ragged) -> np.ndarray:
        scores: np.ndarray = super().score(seeds) + self.offset
        return scores


def ease_of_fitted_rows(ease: EASE, rows: np.ndarray) -> np.ndarray:
    """``ease.score`` of rows it was fitted to, without that method's product with the dense K.

    With X the fitted rows, r the regularisation and K = (X X' + r I)^-1: X X' K = I - r K, so
    X P = K X, and the scores X - X P / diag(P) need no more than the rows of K.

    Args:
        rows: int ``[n]``.

    Returns:
        float32 ``[n, items]``.
    """
    own = ease.matrix[rows].toarray()
    scores: np.ndarray = own - (ease.kernel[rows] @ ease.matrix) / ease.precision_diagonal
    return scores


def rank(scorer: Scorer, seeds: Ragged, truth: Ragged, n_items: int) -> np.ndarray:
    """The 20 best items of each row with something held out, its seeds left out."""
    score: Scorer | ScoreFunction = scorer
    asked = seeds
    if (
        isinstance(scorer, EASE)
        and scorer.weights is None
        and (playlist_matrix(seeds, n_items) != scorer.matrix).nnz == 0
    ):
        asked = Ragged(np.arange(len(seeds) + 1), np.arange(len(seeds)))  # a row's own number

        def score(rows: Ragged) -> np.ndarray:
            return ease_of_fitted_rows(scorer, rows.values)

    return evaluate_scorer(score, asked, seeds, truth, n_items, K)[0]


def metrics_of(predictions: np.ndarray, truth: Ragged) -> dict[str, float]:
    """recall (hits / held out), recall_capped (hits / min(20, held out)), ndcg, all at 20.

    NDCG is that of LightGCN's code, and of ``ranking_metrics``: the ideal has min(20, held out)
    hits. Means over the rows with something held out.
    """
    asked = truth.lengths > 0
    hits = hit_matrix(predictions, truth).sum(axis=1)
    usual = ranking_metrics(predictions, truth, [K])
    return {
        "recall": float(np.mean(hits[asked] / truth.lengths[asked])),
        "recall_capped": usual[f"recall@{K}"],
        "ndcg": usual[f"ndcg@{K}"],
    }


def join(first: Ragged, second: Ragged) -> Ragged:
    """Each row's items of both parts."""
    rows = np.concatenate([first.rows, second.rows])
    values = np.concatenate([first.values, second.values])
    return Ragged.from_pairs(rows, values, len(first))


def as_given(make: Callable[[], Scorer]) -> Method:
    """Fitted to train and val with the settings that ``make`` gives it."""

    def fit(train: Ragged, val: Ragged, n_items: int) -> Scorer:
        return make().fit(join(train, val), n_items)

    return fit


def tuned(grid: Sequence[Callable[[], Scorer]]) -> Method:
    """Fitted to train and val with those settings of the grid that rank val best."""

    def fit(train: Ragged, val: Ragged, n_items: int) -> Scorer:
        recalls = [
            metrics_of(rank(make().fit(train, n_items), train, val, n_items), val)["recall"]
            for make in grid
        ]
        return grid[int(np.argmax(recalls))]().fit(join(train, val), n_items)

    return fit


def ours(train: Ragged, val: Ragged, n_items: int) -> Scorer:
    """The shipped recommender, everything chosen on val."""
    return recommender(train, val, join(train, val), n_items)


def scorers_for(data: PublicSet) -> dict[str, Method]:
    """Name -> method, in the order they are run."""
    grids = EvaluationConfig()
    gowalla = data.name == "gowalla"
    published_knn = ItemKNNConfig(neighbours=100, shrink=0)
    return {
        "popularity": as_given(Popularity),
        "itemknn-published": as_given(
            partial(AveragingItemKNN, published_knn) if gowalla else partial(ItemKNN)
        ),
        "itemknn": tuned([partial(ItemKNN, each) for each in itemknn_grid()]),
        "itemknn-averaging": tuned([partial(AveragingItemKNN, each) for each in itemknn_grid()]),
        "bpr": tuned([partial(BPR, each) for each in grids.bpr]),
        "ials": tuned([partial(IALS, each) for each in grids.ials]),
        "ease-published": as_given(
            partial(EASE, EASEConfig(regularisation=80 if gowalla else 200), EASE_MEMORY_GIB)
        ),
        "ease": tuned([partial(EASE, each, EASE_MEMORY_GIB) for each in grids.ease]),
        "playlist-gat": ours,
    }


def itemknn_grid() -> list[ItemKNNConfig]:
    """The leaderboard's grid, and more shrinkage: Gowalla's counts are small."""
    wider = [
        ItemKNNConfig(neighbours=neighbours, shrink=shrink)
        for shrink in (10, 30, 100, 300)
        for neighbours in (100, 200, 500)
    ]
    return list(dict.fromkeys([*EvaluationConfig().itemknn, *wider]))


def read_set(folder: Path) -> tuple[Ragged, Ragged, int]:
    """Train and test items of each row, and the number of items.

    Raises:
        InputError: the file is missing or unreadable, or has an empty part or a negative id.
    """
    path = folder / "interactions.parquet"
    table = read_columns(path, SCHEMA)
    row, item = table["row"].to_numpy(), table["item"].to_numpy()
    part = table["split"].to_numpy(zero_copy_only=False)
    for name in ("train", "test"):
        if not (part == name).any():
            raise InputError(f"{path}: no row has split {name!r}; it needs train and test")
    if min(row.min(), item.min()) < 0:
        raise InputError(f"{path}: rows and items must count up from 0; there is a negative one")
    train, test = (
        Ragged.from_pairs(
            row[part == name], item[part == name].astype(np.int32), int(row.max()) + 1
        )
        for name in ("train", "test")
    )
    return train, test, int(item.max()) + 1


def run_set(
    data: PublicSet, folder: Path, names: Sequence[str] | None, seed: int, console: Console
) -> list[Result]:
    """Fit and measure the named scorers (None: all) on one data set, one in memory at a time."""
    known, test, n_items = read_set(folder)
    drawn = np.random.default_rng(seed).random(len(known.values)) < VAL_SHARE
    train, val = known.filter(~drawn), known.filter(drawn)
    console.print(f"{data.name}: {len(known):,} rows, {n_items:,} items (ids from 0)")
    results = []
    for name, method in scorers_for(data).items():
        if names is not None and name not in names:
            continue
        started = time.perf_counter()
        scorer = method(train, val, n_items)
        fitted = time.perf_counter()
        metrics = metrics_of(rank(scorer, known, test, n_items), test)
        finished = time.perf_counter()
        config = getattr(scorer, "config", None)
        settings = config.model_dump() if config is not None else {}
        del scorer
        published = dict(zip((data.recall, "ndcg"), data.published.get(name, ()), strict=False))
        results.append(
            Result(name, settings, metrics, published, fitted - started, finished - fitted)
        )
        console.print(
            f"  {name}: {data.recall} {metrics[data.recall]:.4f} in {finished - started:.0f} s"
        )
    return results


def render(data: PublicSet, results: Sequence[Result]) -> Table:
    """Measured beside published, and their ratio."""
    table = Table(title=f"{data.name}, test part", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("scorer", no_wrap=True)
    for name in (f"recall@{K}", f"ndcg@{K}"):
        for head in (name, "published", "ratio"):
            table.add_column(head, justify="right")
    table.add_column("fit s", justify="right")
    table.add_column("settings")
    for result in results:
        cells = []
        for name in (data.recall, "ndcg"):
            cells.append(f"{result.metrics[name]:.4f}")
            known = name in result.published
            cells.append(f"{result.published[name]:.4f}" if known else "")
            cells.append(f"{result.ratios[name]:.3f}" if known else "")
        settings = ", ".join(f"{key} {value:g}" for key, value in result.settings.items())
        table.add_row(result.scorer, *cells, f"{result.fit_seconds:.0f}", settings)
    return table


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=[each.name for each in SETS])
    parser.add_argument("--scorers", nargs="+", choices=list(scorers_for(SETS[0])))
    parser.add_argument("--seed", type=int, default=0, help="of the validation part")
    parser.add_argument("--out", type=Path, help="write all figures here as JSON")
    given = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 150)
    chosen = [each for each in SETS if given.sets is None or each.name in given.sets]
    report: dict[str, list[dict[str, Any]]] = {}
    reached = True
    for data in chosen:
        results = run_set(data, given.data / data.name, given.scorers, given.seed, console)
        console.print(render(data, results))
        report[data.name] = [asdict(each) | {"ratios": each.ratios} for each in results]
        for each in results:
            missed = [name for name, ratio in each.ratios.items() if abs(ratio - 1) > TOLERANCE]
            if missed:
                reached = False
                console.print(f"{each.scorer} is more than 2 % off in {', '.join(missed)}")
        if given.out:
            given.out.write_text(json.dumps(report, indent=1))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
