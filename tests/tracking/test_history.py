"""What is read back of recorded runs, without a store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from spotify_engine.errors import InputError
from spotify_engine.tracking.history import RecordedRun, check_comparable
from spotify_engine.tracking.store import figure_name, metric_name


def recorded(pipeline: str, kind: str = "train", **metrics: float) -> RecordedRun:
    nothing: dict[str, Any] = dict.fromkeys(("code", "fingerprint", "parent", "error"), "")
    return RecordedRun(
        id="0" * 32, name=f"my-{pipeline}", kind=kind, pipeline=pipeline, status="finished",
        started=datetime.now(UTC), seconds=1.0, settings={}, metrics=metrics, **nothing,
    )  # fmt: skip


AWARE, BASIC = "session-aware.next_song.recall_at_10", "basic-gat.next_song.recall_at_10"


@pytest.mark.parametrize(
    ("pipeline", "kind", "metrics", "shown"),
    [
        ("playlists", "train", {"baselines.ease.recall_at_10": 0.4, "test.recall_at_10": 0.3,
                                "val.recall_at_10": 0.5}, "test.recall_at_10"),
        ("playlists", "train", {"val_recall_at_10": 0.3, "loss": 2.0}, "val_recall_at_10"),
        ("playlists", "evaluate", {"differences": 0.0, "test.recall_at_10": 0.3},
         "test.recall_at_10"),
        ("sessions", "train", {"basic-gat.held_out.recall_at_10": 0.4, BASIC: 0.2, AWARE: 0.3},
         AWARE),
        ("sessions", "evaluate", {BASIC: 0.2, "differences": 0.0}, BASIC),
        ("sessions", "train", {"basic/val_recall_at_10": 0.2, "session/val_recall_at_10": 0.3},
         "session/val_recall_at_10"),
        ("sessions", "train", {"basic/train_recall_at_10": 0.9}, None),
        ("playlists", "search", {"test.winner": 0.3, "val.winner": 0.4}, "test.winner"),
        ("sessions", "trial", {"objective": 0.3, "val_recall_at_10": 0.2}, "objective"),
    ],
)  # fmt: skip
def test_a_run_is_known_by_its_pipelines_figure(
    pipeline: str, kind: str, metrics: dict[str, float], shown: str | None
) -> None:
    figure = recorded(pipeline, kind, **metrics).figure
    assert figure == (None if shown is None else (shown, metrics[shown]))


def test_names_of_figures_go_there_and_back() -> None:
    for name in ("test.recall@10", "session-aware.next_song.ndcg@10", "session/val_recall@10"):
        assert figure_name(metric_name(name)) == name


def test_runs_of_two_pipelines_do_not_compare() -> None:
    check_comparable(recorded("sessions"), recorded("sessions", "evaluate"))
    message = "my-playlists is of playlists, my-sessions of sessions: not comparable"
    with pytest.raises(InputError, match=message):
        check_comparable(recorded("playlists"), recorded("sessions"))
