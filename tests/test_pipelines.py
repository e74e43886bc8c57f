"""By which figures a version or run is known."""

from __future__ import annotations

import pytest

from spotify_engine.dotted import flatten
from spotify_engine.pipelines import main_figures


def row(recall: float) -> dict[str, object]:
    """As a session leaderboard reports one scorer."""
    figures = {"mrr@10": 0.0, "ndcg@10": recall / 2, "recall@10": recall}
    kinds = {"casual": figures, "power": figures}
    return {"by_user_type": kinds, "held_out": figures, "next_song": figures, "fit_seconds": 1.0}


PART = {"mrr@10": 0.1, "ndcg@10": 0.2, "recall@10": 0.3, "recall@100": 0.4, "warm_recall@10": 0.5}


@pytest.mark.parametrize(
    ("pipeline", "metrics", "main"),
    [
        ("playlists", {"val": PART, "test": PART}, ["test.recall@10", "test.ndcg@10"]),
        ("playlists", {"val": PART, "test": {"recall@10": 1}}, ["test.recall@10"]),
        ("playlists", {"val": PART}, []),
        ("playlists", {"recall@10": 0.1}, ["recall@10"]),
        (
            "sessions",
            {"basic-gat": row(0.3), "enhanced-gat": row(0.2), "session-aware": row(0.1)},
            ["session-aware.next_song.recall@10", "session-aware.next_song.ndcg@10"],
        ),
        (
            "sessions",
            {"basic-gat": row(0.3), "enhanced-gat": row(0.2)},
            ["enhanced-gat.next_song.recall@10", "enhanced-gat.next_song.ndcg@10"],
        ),
        (
            "sessions",
            {"basic-gat": row(0.3)},
            ["basic-gat.next_song.recall@10", "basic-gat.next_song.ndcg@10"],
        ),
        ("sessions", {"markov": row(0.3), "oracle": row(0.5)}, []),
        ("sessions", {}, []),
    ],
)
def test_the_main_figures(pipeline: str, metrics: dict[str, object], main: list[str]) -> None:
    assert main_figures(pipeline, flatten(metrics)) == main
