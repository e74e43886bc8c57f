"""A session run's report as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spotify_engine.pipelines import MONITOR, SESSION_MODELS

OURS, OTHERS, BEST = "#1f77b4", "#b0b7bf", "#2ca02c"


def plot_session_report(report: Mapping[str, Any], path: Path) -> None:
    """Draw how each model's training went, and the leaderboard if there is one, as PNG."""
    board = report.get("leaderboard", {})
    figure = Figure(figsize=(12 if board else 6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if board else 1, squeeze=False)[0]
    for name, epochs in report["epochs"].items():
        key = MONITOR if MONITOR in epochs[0] else "train_recall@10"
        numbers = [int(each["epoch"]) + 1 for each in epochs]
        axes[0].plot(numbers, [each[key] for each in epochs], "o-", markersize=4, label=name)
        axes[0].set_ylabel(key.replace("val_", "validation ").replace("train_", "training "))
    axes[0].set_xlabel("epoch")
    axes[0].set_ylim(bottom=0)
    axes[0].legend()
    axes[0].set_title("Training (GATs: new songs of users; session: next song)", fontsize=10)
    if board:
        ranked = sorted((row["next_song"]["recall@10"], name) for name, row in board.items())
        values, names = zip(*ranked, strict=True)
        ours = SESSION_MODELS.values()
        colors = [OURS if n in ours else BEST if n == "oracle" else OTHERS for n in names]
        bars = axes[1].barh(names, values, color=colors)
        axes[1].bar_label(bars, fmt="%.3f", padding=4)
        axes[1].set_xlim(0, max(values) * 1.15 or 1)
        axes[1].spines[["top", "right"]].set_visible(False)
        axes[1].set_xlabel("next-song recall@10, same test plays for all")
        axes[1].set_title("Leaderboard")
    figure.savefig(path, dpi=120)
