"""Recomputing a run's figures from its split and predictions alone."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich.table import Table

from spotify_engine.config import KaggleJob, load_config, read_yaml
from spotify_engine.dotted import flatten
from spotify_engine.errors import InputError
from spotify_engine.evaluation.challenge import Breakdown, challenge_breakdown
from spotify_engine.evaluation.leaderboard import (
    Row,
    baseline_rows,
    measure,
    measured_part,
    render_leaderboard,
)
from spotify_engine.evaluation.ranking import NOTHING, evaluate_scorer, load_predictions
from spotify_engine.evaluation.splits import load_split
from spotify_engine.playlists.cold_start import measure_cold_start
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.playlists.schema import TABLES
from spotify_engine.runtime.measuring import track_catalogue, votes_needed
from spotify_engine.runtime.recording import record_audit
from spotify_engine.runtime.run import Run
from spotify_engine.runtime.sessions import NAMES, SessionPipeline
from spotify_engine.sessions.leaderboard import K
from spotify_engine.sessions.settings import SyntheticJob

# Sums of floats may differ in their last digits between machines and thread counts.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Audit:
    """Recomputed figures beside the reported ones.

    Attributes:
        table: the leaderboard; ours alone unless the baselines were asked for.
        differences: "name: recomputed X, reported Y".
        compared: figures that were compared.
    """

    table: Table
    differences: list[str]
    compared: int


def audit_run(run: Path, baselines: bool) -> Audit:
    """Recompute a finished run's figures, those of its baselines too if asked for.

    Raises:
        InputError: a file of the run is missing or damaged.
    """
    if not (run / "report.json").exists():
        raise InputError(f"{run}: no report.json; give the directory of a finished run")
    report = json.loads((run / "report.json").read_text())
    values = read_yaml(run / "config.yaml")
    layers = [("config.yaml", values)]
    if "generator" in values:
        return _audit_sessions(run, load_config(SyntheticJob, layers, []), report, baselines)
    return _audit_playlists(run, load_config(KaggleJob, layers, []), report, baselines)


def _audit_playlists(
    run: Path, config: KaggleJob, report: dict[str, Any], baselines: bool
) -> Audit:
    """Test figures from ``predictions.parquet``, the others from the bundle."""
    settings = config.evaluation
    tables = {name: pq.read_table(run / "tables" / f"{name}.parquet") for name in TABLES}
    n_playlists, n_tracks = len(tables["playlists"]), len(tables["tracks"])
    split = load_split(run / "split.parquet", n_tracks, n_playlists)
    catalogue = track_catalogue(tables)

    predictions, _ = load_predictions(run / "predictions.parquet", n_playlists, n_tracks)
    truth = measured_part(split.test, settings)
    test = measure(predictions, truth, split.train, catalogue, settings.ks)
    recommender = PlaylistRecommender.load(run / "bundle")
    val_truth = measured_part(split.val, settings)
    ranked, _ = evaluate_scorer(
        recommender.score, split.train, split.train, val_truth, n_tracks, settings.top_k
    )
    val = measure(ranked, val_truth, split.train, catalogue, settings.ks)
    breakdown = None
    if settings.breakdown is not None:
        breakdown = challenge_breakdown(
            recommender.score, split, catalogue.first_artist, settings.breakdown
        )
    ours = Row(recommender.name, val=val, test=test, breakdown=breakdown)
    rows = [ours, *(baseline_rows(split, catalogue, settings) if baselines else [])]

    reported = {ours.name: report["metrics"], **report["baselines"]}
    differences: list[str] = []
    compared = 0
    for row in rows:
        for part in ("val", "test"):
            figures = getattr(row, part)
            compared += len(figures)
            differences += _differences(f"{row.name} {part}", figures, reported[row.name][part])
        groups = _figures(row.breakdown)
        compared += len(groups)
        there = _figures(report["breakdown"].get(row.name))
        differences += _differences(f"{row.name} test", groups, there)
    titles = [title or "" for title in tables["playlists"]["name"].to_pylist()]
    cold_start = _by_case(
        measure_cold_start(recommender, titles, split, config.cold_start, votes_needed(config))
    )
    compared += len(cold_start)
    differences += _differences("cold start", cold_start, _by_case(report["cold_start"]))
    record_audit(run, "playlists", config, {"val": val, "test": test}, len(differences))
    return Audit(render_leaderboard(rows, settings), differences, compared)


def _audit_sessions(
    run: Path, config: SyntheticJob, report: dict[str, Any], baselines: bool
) -> Audit:
    """Next-song figures of the last model from ``predictions.parquet``."""
    if "leaderboard" not in report:
        raise InputError(f"{run}: trained by the simple trainer, which measures nothing")
    pipeline = SessionPipeline(Run(run, config))
    board = pipeline.board()
    name = NAMES[config.models[-1]]
    predictions = run / "predictions.parquet"
    lists, scores = _session_predictions(predictions, board.test.rows)
    try:
        ours = board.measure(name, lists, scores)
    except ValueError as error:
        raise InputError(f"{predictions}: {error}") from error
    if baselines:
        board.add_baselines()
    pipeline.add_oracle(board)
    differences: list[str] = []
    compared = 0
    for row in board.rows:
        found, reported = row.report(), report["leaderboard"][row.name]
        # Held-out songs of users are ranked by a model's vectors, not in the saved lists.
        parts = ["next_song", "by_user_type", *(["held_out"] if row is not ours else [])]
        for part in parts:
            figures = flatten(found[part] or {})
            compared += len(figures)
            there = flatten(reported[part] or {})
            differences += _differences(f"{row.name} {part}", figures, there)
    record_audit(run, "sessions", config, {"test": ours.next_song}, len(differences))
    return Audit(board.render(), differences, compared)


def _session_predictions(path: Path, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(songs int32, scores float32) ``[events, k]`` of these rows of the events table.

    Raises:
        InputError: it holds lists of other events, or a list whose ranks are not 0, 1, 2 ...
    """
    table = pq.read_table(path)
    event, rank, song, score = (
        table[name].to_numpy() for name in ("event", "rank", "song", "score")
    )
    place = np.searchsorted(events, event)
    if not np.array_equal(np.unique(event), events):
        raise InputError(f"{path}: its events are not the {len(events):,} test plays of the run")
    if len(np.unique(place * K + rank)) != len(rank) or rank.min() < 0 or rank.max() >= K:
        raise InputError(f"{path}: ranks of an event must be different numbers below {K}")
    lists = np.full((len(events), K), NOTHING, np.int32)
    scores = np.full((len(events), K), -np.inf, np.float32)
    lists[place, rank], scores[place, rank] = song, score
    return lists, scores


def _figures(breakdown: Breakdown | None) -> dict[str, Any]:
    """A breakdown's figures by part, group and name."""
    return {
        f"{part} {row['group']} {name}": value
        for part, rows in (breakdown or {}).items()
        for row in rows
        for name, value in row.items()
        if name != "group"
    }


def _by_case(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        f"{row['case']}: {name} {figure}": value
        for row in found
        for name in ("ours", "popularity")
        for figure, value in (row[name] or {}).items()
    }


def _differences(where: str, found: dict[str, Any], reported: dict[str, Any]) -> list[str]:
    lines = []
    for name in found.keys() | reported.keys():
        ours, theirs = found.get(name), reported.get(name)
        same = ours == theirs or (
            ours is not None
            and theirs is not None
            and math.isclose(ours, theirs, abs_tol=TOLERANCE)
        )
        if not same:
            lines.append(f"{where} {name}: recomputed {ours}, reported {theirs}")
    return sorted(lines)
