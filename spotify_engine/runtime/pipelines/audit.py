"""Recomputing every figure of a run's report from its files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from time import time
from typing import Any

import pyarrow.parquet as pq
from rich.table import Table

from spotify_engine.config import load_config, read_yaml
from spotify_engine.dotted import Flat, Tree, flatten
from spotify_engine.errors import InputError
from spotify_engine.evaluation.fingerprint import fingerprint
from spotify_engine.evaluation.ranking import Figures, evaluate_scorer, load_predictions
from spotify_engine.evaluation.splits import load_split
from spotify_engine.learning.parameters import parameter_counts
from spotify_engine.playlists.measure.challenge import Breakdown, challenge_breakdown
from spotify_engine.playlists.measure.cold_start import ColdStartRow, measure_cold_start
from spotify_engine.playlists.measure.leaderboard import (
    Row,
    baseline_rows,
    leaderboard_in_words,
    measure,
    measured_part,
    only_lists,
    render_leaderboard,
    score_row,
)
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.playlists.schema import TABLES
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.runtime.pipelines.measuring import (
    faithfulness,
    parts_of,
    track_facts,
    val_lists,
    votes_needed,
)
from spotify_engine.runtime.pipelines.recording import record_audit
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.runtime.pipelines.sessions import SessionPipeline
from spotify_engine.sessions.settings import SyntheticJob
from spotify_engine.watching import Watch, unwatched

# Sums of floats may differ in their last digits between machines and thread counts.
TOLERANCE = 1e-6
# What a report tells of how it came about: by dotted key, as ``fnmatch`` patterns.
TOLD = (
    "release", "config.*", "data.*", "seconds.*", "epochs", "epochs.*", "served.*", "in_words",
)  # fmt: skip
SESSIONS_LEFT_OUT = (*TOLD, "leaderboard.*.fit_seconds", "leaderboard.*.rank_seconds")
CHOSEN = "leaderboard.*.settings.*"
PLAYLISTS_LEFT_OUT = (
    *TOLD, "mode", "start", "start.*", "item_item", "item_item.*", "titles", "titles.*",
    "second_stage.*",
    "*.fit_seconds", "*.score_seconds", "*.tuning_seconds", "*.note",
)  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """Recomputed figures beside the reported ones.

    Attributes:
        table: the leaderboard.
        differences: "name: recomputed X, reported Y".
        compared: how many figures were compared.
        left_out: what of the report was not, patterns of dotted keys.
        figures: those that were, recomputed, by dotted keys.
        said: the leaderboard in one sentence.
    """

    table: Table
    differences: list[str]
    compared: int
    left_out: Sequence[str]
    figures: Flat
    said: str

    @property
    def names(self) -> frozenset[str]:
        """Dotted keys of all that was recomputed."""
        return frozenset(self.figures)


def audit_run(
    run: Path, again: Sequence[str] | None, wide: bool = False, watch: Watch = unwatched
) -> Audit:
    """Recompute a finished run's figures, those of its baselines too if asked for.

    Args:
        again: names of the baselines that are fitted again; None: all of the report's.
        wide: a leaderboard of all figures, wider than 80 characters.
        watch: is told of what takes long.

    Raises:
        InputError: a file of the run is missing or damaged.
    """
    began = time()
    report, config = open_finished(run)
    if isinstance(config, SyntheticJob):
        return _audit_sessions(run, config, report, again is None, began, wide, watch)
    return _audit_playlists(run, config, report, again, began, wide, watch)


def open_finished(run: Path) -> tuple[Tree, KaggleJob | SyntheticJob]:
    """Read the report and the configuration of a finished run, of either pipeline.

    Raises:
        InputError: it isn't finished, or its configuration can't be read.
    """
    if not (run / "report.json").exists():
        raise InputError(f"{run}: no report.json; give the directory of a finished run")
    report: Tree = json.loads((run / "report.json").read_text(encoding="utf-8"))
    values = read_yaml(run / "config.yaml")
    layers = [("config.yaml", values)]
    if "generator" in values:
        return report, load_config(SyntheticJob, layers, [])
    return report, load_config(KaggleJob, layers, [])


def _audit_playlists(
    run: Path,
    config: KaggleJob,
    report: Tree,
    again: Sequence[str] | None,
    began: float,
    wide: bool,
    watch: Watch,
) -> Audit:
    """Every figure: of test from ``predictions.parquet``, the others from the bundle.

    Baselines are fitted again.
    """
    settings = config.evaluation
    tables = {name: pq.read_table(run / "tables" / f"{name}.parquet") for name in TABLES}
    n_playlists, n_tracks = len(tables["playlists"]), len(tables["tracks"])
    split = load_split(run / "split.parquet", n_tracks, n_playlists)
    facts = track_facts(tables)

    predictions, _ = load_predictions(run / "predictions.parquet", n_playlists, n_tracks)
    truth = measured_part(split.test, settings)
    test = measure(predictions, truth, split.train, facts, settings.ks)
    recommender = PlaylistRecommender.load(run / "bundle")
    lists = val_lists(recommender, split, config.second_stage)
    val_truth = measured_part(only_lists(split.val, lists), settings)
    ranked, _ = evaluate_scorer(
        recommender.score, split.train, split.train, val_truth, n_tracks, settings.top_k
    )
    val = measure(ranked, val_truth, split.train, facts, settings.ks)
    breakdown = None
    if settings.breakdown is not None:
        breakdown = challenge_breakdown(
            recommender.score, split, facts.first_artist, settings.breakdown
        )
    ours = Row(recommender.name, val=val, test=test, breakdown=breakdown)
    parts = {
        key: score_row(name, part.score, split, facts, settings)
        for key, (name, part) in parts_of(recommender).items()
    }
    asked = [name for name in settings.baselines if again is None or name in again]
    only = settings.model_copy(update={"baselines": tuple(asked)})
    others = baseline_rows(split, facts, only, watch)
    # Those that aren't fitted again are shown as the report has them.
    kept = {
        name: Row(**row, breakdown=report["breakdown"].get(name))
        for name, row in report["baselines"].items()
        if name not in asked
    }

    titles = [title or "" for title in tables["playlists"]["name"].to_pylist()]
    cold_start = measure_cold_start(
        recommender, titles, split, config.cold_start, votes_needed(config)
    )
    rows = [ours, *parts.values(), *others]
    found = {
        "metrics": {"val": val, "test": test},
        "without_item_item": None,
        "without_second_stage": None,
        **{key: row.report() for key, row in parts.items()},
        "baselines": {row.name: row.report() for row in others},
        "breakdown": {row.name: _figures(row.breakdown) for row in rows if row.breakdown},
        "cold_start": _by_case(cold_start),
        "faithfulness": faithfulness(recommender, split, settings.seed, watch),
        "parameters": parameter_counts(recommender.model),
        "fingerprints": {"predictions": fingerprint(run / "predictions.parquet")},
    }
    there = report | {
        "breakdown": {name: _figures(each) for name, each in report["breakdown"].items()},
        "cold_start": _by_case(report["cold_start"]),
    }
    left_out: tuple[str, ...] = PLAYLISTS_LEFT_OUT
    if "fingerprints" not in report:
        left_out = (*left_out, "fingerprints.*")  # of an earlier release
    for name in kept:
        left_out = (*left_out, f"baselines.{name}.*", f"breakdown.{name}.*")
    named, reported = _named(found, left_out), _named(there, left_out)
    differences = _differences(
        "",
        {_said_of_playlists(name, ours.name): value for name, value in named.items()},
        {_said_of_playlists(name, ours.name): value for name, value in reported.items()},
    )
    record_audit(run, "playlists", config, {"val": val, "test": test}, len(differences), began)
    rows += kept.values()
    table = render_leaderboard(rows, settings, wide)
    said = leaderboard_in_words({row.name: row.test for row in rows}, settings)
    return Audit(table, differences, len(named), left_out, named, said)


def _said_of_playlists(name: str, ours: str) -> str:
    """A dotted key as "scorer part figure"."""
    for section, scorer in (
        ("metrics.", f"{ours}."), ("without_item_item.", f"{ours} alone."),
        ("without_second_stage.", f"{ours} first stage."), ("baselines.", ""),
        ("breakdown.", ""), ("cold_start.", "cold start."),
    ):  # fmt: skip
        if name.startswith(section):
            return " ".join((scorer + name.removeprefix(section)).split(".", 2))
    return name


def _audit_sessions(
    run: Path,
    config: SyntheticJob,
    report: Tree,
    baselines: bool,
    began: float,
    wide: bool,
    watch: Watch,
) -> Audit:
    """Every figure: of the leaderboard from the files of lists, the others from the checkpoints.

    The baselines' settings, which validation chose, need them fitted again.
    """
    if "leaderboard" not in report:
        raise InputError(f"{run}: trained by the simple trainer, which measures nothing")
    if "fingerprints" not in report:
        raise InputError(
            f"{run}: release {report.get('release')} saved the last model's lists alone; "
            "evaluate it with that release, or train again with this one"
        )
    pipeline = SessionPipeline(Run(run, config))
    board = pipeline.saved_board()
    missing = report["leaderboard"].keys() ^ {row.name for row in board.rows}
    if missing:
        raise InputError(
            f"{run / 'rankings.parquet'}: its scorers are not those of report.json; they differ "
            f"in {', '.join(sorted(missing))}"
        )
    left_out: tuple[str, ...] = (*SESSIONS_LEFT_OUT, CHOSEN)
    found = _named(pipeline.findings(board), left_out)
    differences = _compare(found, _named(report, left_out))
    if baselines:
        left_out = SESSIONS_LEFT_OUT
        again = pipeline.board()
        again.add_baselines(watch)
        pipeline.add_oracle(again)
        refitted = {"leaderboard": {row.name: row.report() for row in again.rows}}
        # Only the whole board knows the oracle's share of each.
        named = _named(refitted, (*left_out, "*.share_of_oracle"))
        there = _named(report, left_out)
        asked = {name: there[name] for name in there if name in named or fnmatch(name, CHOSEN)}
        differences += _compare(named, asked, "fitted again:")
        found |= named
    [ours] = (row for row in board.rows if row.name == pipeline.last)
    # As the run itself is recorded, so that the two compare.
    recorded = {ours.name: {"next_song": ours.next_song}}
    record_audit(run, "sessions", config, recorded, len(differences), began)
    said = board.in_words(pipeline.last)
    return Audit(board.render(wide), differences, len(found), left_out, found, said)


def _named(tree: Mapping[str, object], left_out: Sequence[str]) -> Flat:
    """Its figures by dotted key."""
    return {
        name: value
        for name, value in flatten(tree).items()
        if value != {} and not any(fnmatch(name, pattern) for pattern in left_out)
    }


def _compare(found: Flat, reported: Flat, how: str = "") -> list[str]:
    """Differences, said as "scorer part figure"."""
    there = {_said(name): value for name, value in reported.items()}
    return _differences(how, {_said(name): value for name, value in found.items()}, there)


def _said(name: str) -> str:
    return " ".join(name.removeprefix("leaderboard.").split(".", 2))


def _figures(breakdown: Breakdown | None) -> Flat:
    """A breakdown's figures by part, group and name."""
    return {
        f"{part} {row['group']} {name}": value
        for part, rows in (breakdown or {}).items()
        for row in rows
        for name, value in row.items()
        if name != "group"
    }


def _by_case(found: Sequence[ColdStartRow]) -> Figures:
    return {
        f"{row['case']}: {name} {figure}": value
        for row in found
        for name, figures in (("ours", row["ours"]), ("popularity", row["popularity"]))
        for figure, value in (figures or {}).items()
    }


def _differences(where: str, found: Flat, reported: Flat) -> list[str]:
    lines = []
    for name in found.keys() | reported.keys():
        ours, theirs = _number(found.get(name)), _number(reported.get(name))
        same = ours == theirs or (
            isinstance(ours, float)
            and isinstance(theirs, float)
            and math.isclose(ours, theirs, abs_tol=TOLERANCE)
        )
        if not same:
            lines.append(f"{where} {name}: recomputed {ours}, reported {theirs}".lstrip())
    return sorted(lines)


def _number(value: Any) -> Any:
    """Every number as a float, and none where there is no number to tell."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return None if math.isnan(value) else float(value)
