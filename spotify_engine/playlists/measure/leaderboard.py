"""Every scorer on the same split, by the same functions: lists, metrics, seconds, a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from rich.table import Table

from spotify_engine.arrays import Ids
from spotify_engine.baselines.bpr import BPR, BPRConfig
from spotify_engine.baselines.ease import EASE, EASEConfig
from spotify_engine.baselines.ials import IALS, IALSConfig
from spotify_engine.baselines.itemknn import ItemKNN, ItemKNNConfig
from spotify_engine.baselines.popularity import Popularity
from spotify_engine.baselines.scorer import Scorer, TooLarge
from spotify_engine.errors import InputError
from spotify_engine.evaluation.beyond_accuracy import TrackFacts, beyond_accuracy_metrics
from spotify_engine.evaluation.leaderboard import (
    Candidate,
    Column,
    choose,
    found_in_words,
    leaderboard_table,
)
from spotify_engine.evaluation.ranking import ScoreFunction, evaluate_scorer, ranking_metrics
from spotify_engine.evaluation.splits import Split
from spotify_engine.playlists.measure.challenge import (
    Breakdown,
    BreakdownConfig,
    challenge_breakdown,
)
from spotify_engine.ragged import Ragged
from spotify_engine.watching import Watch, unwatched

BaselineName = Literal["popularity", "bpr", "itemknn", "ials", "ease"]
BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)
HEADINGS = {  # of metrics shown at selection_k, short enough for a terminal of 100 columns
    "ndcg": "ndcg",
    "warm_recall": "warm rec.",
    "completion_rate": "compl.",
    "genre_consistency": "genre",
    "artist_diversity": "artist",
    "coverage": "cover",
    "novelty": "bits",
}


class EvaluationConfig(BaseModel):
    """What is measured, and against which baselines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ks: tuple[int, ...] = Field(default=(5, 10, 20), min_length=1)
    """List lengths at which metrics are taken."""
    top_k: int = Field(default=20, ge=1)
    """Length of the lists that are kept; at least the largest of ``ks``."""
    selection_k: int = Field(default=10, ge=1)
    """Baselines are tuned, and the leaderboard is sorted, by recall at this one of ``ks``."""
    baselines: tuple[BaselineName, ...] = ("popularity", "bpr", "itemknn", "ials", "ease")
    """In the order they are run."""
    tune_baselines: bool = True
    """Choose each baseline's settings on val among its grid; else take the first of the grid."""
    bpr: tuple[BPRConfig, ...] = Field(
        default=tuple(BPRConfig(regularisation=r) for r in (0.01, 0.02, 0.003)), min_length=1
    )
    """Grid of BPR factors."""
    itemknn: tuple[ItemKNNConfig, ...] = Field(
        default=tuple(
            ItemKNNConfig(neighbours=neighbours, shrink=shrink)
            for neighbours, shrink in ((200, 10), (50, 10), (20, 0))
        ),
        min_length=1,
    )
    """Grid of ItemKNN."""
    ials: tuple[IALSConfig, ...] = Field(
        default=tuple(
            IALSConfig(regularisation=regularisation, unobserved_weight=weight)
            # Regularisation grows with weight x tracks: the last two are for large catalogues.
            for regularisation, weight in (
                (0.01, 0.03),
                (0.03, 0.03),
                (0.01, 0.01),
                (0.003, 0.1),
                (0.003, 0.005),
                (0.003, 0.001),
            )
        ),
        min_length=1,
    )
    """Grid of iALS."""
    ease: tuple[EASEConfig, ...] = Field(
        default=tuple(EASEConfig(regularisation=r) for r in (200, 15, 50, 500)), min_length=1
    )
    """Grid of EASE."""
    ease_memory_gib: float = Field(default=4.0, gt=0)
    """EASE is skipped, and the leaderboard says so, when its fit needs more."""
    max_playlists: int | None = Field(default=None, ge=1)
    """Measure on this many playlists, drawn once for all scorers; None: on all."""
    seed: int = Field(default=0, ge=0)
    """Of that draw."""
    breakdown: BreakdownConfig | None = BreakdownConfig()
    """Groups that are measured apart, beside the leaderboard; None: none."""

    @model_validator(mode="after")
    def _lists_are_long_enough(self) -> EvaluationConfig:
        if min(self.ks) < 1 or max(self.ks) > self.top_k:
            raise ValueError(f"ks {self.ks} must be in 1..top_k ({self.top_k})")
        if self.selection_k not in self.ks:
            raise ValueError(f"selection_k {self.selection_k} must be one of ks {self.ks}")
        return self


@dataclass(frozen=True)
class Row:
    """One scorer on the leaderboard.

    Attributes:
        settings: those used; the ones chosen on val where there was a choice.
        val, test: ``measure``'s figures; empty when it was skipped.
        fit_seconds: of the settings used.
        score_seconds: of ranking test.
        tuning_seconds: of fitting and ranking val for the whole grid.
        note: why it was skipped, or what was chosen among how many.
        predictions, scores: the test lists, ``[playlists, top_k]``; None when it was skipped.
        breakdown: test figures by group; None when it was skipped or not asked for.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    val: dict[str, float | None] = field(default_factory=dict)
    test: dict[str, float | None] = field(default_factory=dict)
    fit_seconds: float | None = None
    score_seconds: float | None = None
    tuning_seconds: float | None = None
    note: str = ""
    predictions: np.ndarray | None = None
    scores: np.ndarray | None = None
    breakdown: Breakdown | None = None

    def report(self) -> dict[str, Any]:
        """Everything but lists and groups, ready for JSON."""
        apart = ("predictions", "scores", "breakdown")
        return {key: value for key, value in vars(self).items() if key not in apart}


def measured_part(part: Ragged, config: EvaluationConfig) -> Ragged:
    """The val or test part with ``max_playlists`` applied: the others hold nothing out.

    The draw depends on ``config`` and on which playlists hold something out, so it is the same for
    every scorer.

    Raises:
        InputError: no playlist holds anything out.
    """
    asked = np.flatnonzero(part.lengths)
    if len(asked) == 0:
        raise InputError(
            "no playlist is long enough to hold a track out; lower holdout.n or give more playlists"
        )
    if config.max_playlists is None or len(asked) <= config.max_playlists:
        return part
    rng = np.random.default_rng(config.seed)
    drawn = np.zeros(len(part), bool)
    drawn[rng.choice(asked, config.max_playlists, replace=False)] = True
    return part.filter(drawn[part.rows])


def only_lists(part: Ragged, lists: Ids | None) -> Ragged:
    """A part without what the other playlists hold out; None: all of it."""
    if lists is None:
        return part
    chosen = np.zeros(len(part), bool)
    chosen[lists] = True
    return part.filter(chosen[part.rows])


def measure(
    predictions: np.ndarray,
    truth: Ragged,
    train: Ragged,
    catalogue: TrackFacts,
    ks: Sequence[int],
) -> dict[str, float | None]:
    """All figures of a set of lists, recomputable from the split and the lists alone.

    Args:
        predictions: int ``[playlists, k]``, padded with -1.
        truth: held-out tracks, after ``measured_part``.
        train: train tracks; what genre consistency and novelty compare with.

    Returns:
        ``ranking_metrics`` and ``beyond_accuracy_metrics``; ``playlists``, the number measured;
        ``warm_share``, the share of held-out tracks that are in some training playlist, and
        ``warm_recall@k``, recall among those alone (None if there are none): a model that knows
        tracks by id only can't find the others.

    Raises:
        ValueError: wrong predictions, see ``hit_matrix``.
    """
    n_tracks = len(catalogue.first_artist)
    heard = np.bincount(train.values, minlength=n_tracks) > 0
    warm = truth.filter(heard[truth.values])
    warm_metrics = ranking_metrics(predictions, warm, ks) if len(warm.values) else {}
    return {
        "playlists": int((truth.lengths > 0).sum()),
        **ranking_metrics(predictions, truth, ks, n_tracks),
        "warm_share": len(warm.values) / len(truth.values),
        **{f"warm_recall@{k}": warm_metrics.get(f"recall@{k}") for k in ks},
        **beyond_accuracy_metrics(predictions, truth, train, catalogue, ks),
    }


def score_row(
    name: str,
    scorer: Scorer | ScoreFunction,
    split: Split,
    catalogue: TrackFacts,
    config: EvaluationConfig,
    settings: dict[str, Any] | None = None,
    fit_seconds: float | None = None,
    note: str = "",
    val_lists: Ids | None = None,
) -> Row:
    """Measure a fitted scorer on val and test.

    Seeds are all tracks that are known by then, in their order, and they are not ranked: the train
    tracks for val, train and val tracks for test.

    Args:
        val_lists: the playlists that val is measured on; None: all of them.
    """
    val_truth = measured_part(only_lists(split.val, val_lists), config)
    test_truth = measured_part(split.test, config)
    known = split.known_before_test
    size, k = split.n_tracks, config.top_k
    val, _ = evaluate_scorer(scorer, split.train, split.train, val_truth, size, k)
    started = time.perf_counter()
    predictions, scores = evaluate_scorer(scorer, known, known, test_truth, size, k)
    seconds = time.perf_counter() - started
    return Row(
        name=name,
        settings=settings or {},
        val=measure(val, val_truth, split.train, catalogue, config.ks),
        test=measure(predictions, test_truth, split.train, catalogue, config.ks),
        fit_seconds=fit_seconds,
        score_seconds=seconds,
        note=note,
        predictions=predictions,
        scores=scores,
        breakdown=None
        if config.breakdown is None
        else challenge_breakdown(scorer, split, catalogue.first_artist, config.breakdown),
    )


def baseline_rows(
    split: Split, catalogue: TrackFacts, config: EvaluationConfig, watch: Watch = unwatched
) -> list[Row]:
    """Fit, tune and measure each of ``config.baselines``.

    Fitting sees train alone; settings are chosen by recall@selection_k on val; only the chosen ones
    are ever ranked on test. One fitted scorer is in memory at a time.

    Args:
        watch: is told of each that is fitted.
    """
    return [_baseline_row(name, split, catalogue, config, watch) for name in config.baselines]


def leaderboard_in_words(
    test: Mapping[str, Mapping[str, float | None]], config: EvaluationConfig
) -> str:
    """What the leaderboard says of its first row: ours, beside the best baseline of the others.

    Args:
        test: test figures by scorer: ours, those of parts of it, then the baselines, as ``config``
            names them.
    """
    key = f"recall@{config.selection_k}"
    recalls = {name: figures.get(key) for name, figures in test.items()}
    ours = next(iter(test))
    return found_in_words(ours, recalls, config.baselines, "held-out tracks", config.selection_k)


def render_leaderboard(rows: Sequence[Row], config: EvaluationConfig, wide: bool = False) -> Table:
    """Test figures, the best recall@selection_k on top, skipped scorers last; notes below.

    Args:
        wide: with all of them, and seconds; else those that fit 80 characters.
    """
    k = config.selection_k
    narrow = {f"{name}@{k}" for name in ("recall", "ndcg", "artist_diversity", "coverage")}
    headings = {f"recall@{each}": f"recall @{each}" for each in config.ks}
    headings |= {f"{name}@{k}": f"{head} @{k}" for name, head in HEADINGS.items()}
    columns = [
        Column(head, partial(_test_figure, name), narrow=name in narrow)
        for name, head in headings.items()
        if any(row.test.get(name) for row in rows)
    ]
    columns += [
        Column("fit s", lambda row: row.fit_seconds, ".1f"),
        Column("rank s", lambda row: row.score_seconds, ".1f"),
    ]
    return leaderboard_table(
        "Test part: same split, same functions for all",
        [(row.name, row) for row in rows],
        columns,
        lambda row: row.test.get(f"recall@{k}"),
        wide,
        {row.name: row.note for row in rows},
    )


def _test_figure(name: str, row: Row) -> float | None:
    return row.test.get(name)


def _baseline_row(
    name: BaselineName,
    split: Split,
    catalogue: TrackFacts,
    config: EvaluationConfig,
    watch: Watch,
) -> Row:
    def quality(scorer: Scorer) -> float:
        return _val_recall(scorer, split, config)

    try:
        chosen = choose(name, _grid(name, split, config), quality, watch)
    except TooLarge as error:
        return Row(name, note=f"skipped: {error}")
    row = score_row(
        name, chosen.scorer, split, catalogue, config, chosen.settings, chosen.fit_seconds,
        chosen.note,
    )  # fmt: skip
    return replace(row, tuning_seconds=chosen.tuning_seconds)


def _grid(name: BaselineName, split: Split, config: EvaluationConfig) -> list[Candidate[Scorer]]:
    """The settings of a baseline to choose from; the first alone without tuning."""
    made: list[tuple[Callable[[], Scorer], BaseModel | None]]
    match name:
        case "popularity":
            made = [(Popularity, None)]
        case "bpr":
            made = [(partial(BPR, each), each) for each in config.bpr]
        case "itemknn":
            made = [(partial(ItemKNN, each), each) for each in config.itemknn]
        case "ials":
            made = [(partial(IALS, each), each) for each in config.ials]
        case "ease":
            limit = config.ease_memory_gib
            made = [(partial(EASE, each, limit), each) for each in config.ease]

    def candidate(make: Callable[[], Scorer], settings: BaseModel | None) -> Candidate[Scorer]:
        return Candidate(
            lambda: make().fit(split.train, split.n_tracks),
            {} if settings is None else settings.model_dump(),
        )

    grid = [candidate(*each) for each in made]
    return grid if config.tune_baselines else grid[:1]


def _val_recall(scorer: Scorer, split: Split, config: EvaluationConfig) -> float:
    truth = measured_part(split.val, config)
    k = config.selection_k
    predictions, _ = evaluate_scorer(scorer, split.train, split.train, truth, split.n_tracks, k)
    return ranking_metrics(predictions, truth, [k])[f"recall@{k}"]
