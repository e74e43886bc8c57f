"""All that is measured of a trained run: leaderboard, groups, cold start, faithfulness."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa

from spotify_engine.arrays import Ids
from spotify_engine.console import console, say
from spotify_engine.evaluation.beyond_accuracy import genres_of_tracks
from spotify_engine.evaluation.faithfulness import deletion_test, described
from spotify_engine.evaluation.ranking import Figures
from spotify_engine.evaluation.splits import Split
from spotify_engine.learning.parameters import parameter_counts
from spotify_engine.playlists.measure.challenge import Breakdown
from spotify_engine.playlists.measure.cold_start import (
    ColdStartRow,
    measure_cold_start,
    render_cold_start,
)
from spotify_engine.playlists.measure.leaderboard import (
    EvaluationConfig,
    Row,
    TrackFacts,
    leaderboard_in_words,
    render_leaderboard,
    score_row,
)
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.playlists.report.challenge import render_breakdown
from spotify_engine.playlists.second_stage.fit import SecondStageConfig, lists_to_choose_by
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.watching import Watch, telling


class Parts(TypedDict):
    """A scorer's figures by part."""

    val: Figures
    test: Figures


class Findings(TypedDict):
    """What ``report.json`` says of a trained model and of the baselines."""

    metrics: Parts
    without_item_item: dict[str, Any] | None
    without_second_stage: dict[str, Any] | None
    baselines: dict[str, dict[str, Any]]
    breakdown: dict[str, Breakdown]
    cold_start: list[ColdStartRow]
    faithfulness: Figures
    parameters: dict[str, int]


def measure_run(
    config: KaggleJob,
    recommender: PlaylistRecommender,
    split: Split,
    facts: TrackFacts,
    titles: Sequence[str],
    train_seconds: float,
    baselines_of: Callable[[], list[Row]],
) -> tuple[Row, Findings]:
    """Measure a recommender, and print the tables of it and of the baselines.

    Args:
        titles: ``[playlists]``.
        baselines_of: waits for the baselines' figures on the same split.

    Returns:
        (our line of the leaderboard; what ``report.json`` says)
    """
    settings = config.evaluation
    ours = score_row(
        recommender.name, recommender.score, split, facts, settings, fit_seconds=train_seconds,
        val_lists=val_lists(recommender, split, config.second_stage),
    )  # fmt: skip
    parts = {
        key: score_row(name, part.score, split, facts, settings)
        for key, (name, part) in parts_of(recommender).items()
    }
    with console.status("Completing playlists of which little is known"):
        cold_start = measure_cold_start(
            recommender, titles, split, config.cold_start, votes_needed(config)
        )
    faithful = faithfulness(recommender, split, settings.seed, telling(say))
    with console.status("Waiting for the baselines on the same split"):
        baselines = baselines_of()
    rows = [ours, *parts.values(), *baselines]
    console.print(render_leaderboard(rows, settings))
    say(leaderboard_in_words({row.name: row.test for row in rows}, settings))
    breakdown = {row.name: row.breakdown for row in rows if row.breakdown}
    if breakdown:
        console.print(render_breakdown(breakdown))
    console.print(render_cold_start(cold_start))
    console.print(described(recommender.name, faithful), highlight=False)
    return ours, {
        "metrics": {"val": ours.val, "test": ours.test},
        "without_item_item": _reported(parts, "without_item_item"),
        "without_second_stage": _reported(parts, "without_second_stage"),
        "baselines": {row.name: row.report() for row in baselines},
        "breakdown": breakdown,
        "cold_start": cold_start,
        "faithfulness": faithful,
        "parameters": parameter_counts(recommender.model),
    }


def parts_of(recommender: PlaylistRecommender) -> dict[str, tuple[str, PlaylistRecommender]]:
    """What is measured beside a recommender: it without some part, by the report's key.

    Returns:
        (its name on the leaderboard, the recommender) each
    """
    found, name = {}, recommender.name
    if recommender.items is not None:
        found["without_item_item"] = (f"{name} alone", recommender.with_items(None))
    if recommender.second is not None:
        first = recommender.with_second_stage(None)
        found["without_second_stage"] = (f"{name} first stage", first)
    return found


def val_lists(
    recommender: PlaylistRecommender, split: Split, config: SecondStageConfig
) -> Ids | None:
    """The playlists that a recommender's validation figures are of; None: all of them.

    A second stage has learned from the validation part of the others.
    """
    return None if recommender.second is None else lists_to_choose_by(split, config)[1]


def _reported(parts: Mapping[str, Row], key: str) -> dict[str, Any] | None:
    return parts[key].report() if key in parts else None


def findings_in_words(found: Findings, config: EvaluationConfig) -> str:
    """The leaderboard's sentence, of what a report says."""
    ours = {PlaylistRecommender.name: found["metrics"]["test"]}
    others = {name: row["test"] for name, row in found["baselines"].items()}
    return leaderboard_in_words(ours | others, config)


def faithfulness(
    recommender: PlaylistRecommender, split: Split, seed: int, watch: Watch
) -> Figures:
    """The change of scores once their explanations are taken away, see ``deletion_test``."""
    ids = recommender.ids

    def explain(seeds: np.ndarray, track: int) -> np.ndarray:
        return recommender.explain([ids[i] for i in seeds], [ids[track]])[0].seeds

    rng = np.random.default_rng(seed)
    return deletion_test(
        recommender.score, recommender.score_one, explain, split.train, rng, watch=watch
    )


def votes_needed(config: KaggleJob) -> int | None:
    """As ``measure_cold_start`` takes it."""
    return None if config.inputs.genres else config.genres.min_votes


def track_facts(tables: dict[str, pa.Table]) -> TrackFacts:
    """First artists and genres of tracks, as the beyond-accuracy metrics need them."""
    first_artist = tables["tracks"]["artist"].to_numpy()
    links = tables["artist_genres"]
    if not len(links):
        return TrackFacts(first_artist)
    artist, genre, weight = (links[name].to_numpy() for name in ("artist", "genre", "weight"))
    n_genres = len(tables["genres"])
    return TrackFacts(first_artist, genres_of_tracks(first_artist, artist, genre, weight, n_genres))
