"""A run's report as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spotify_engine.pipelines import MONITOR

OURS, OTHERS = "#1f77b4", "#b0b7bf"


def plot_report(report: Mapping[str, Any], name: str, path: Path) -> None:
    """Draw how training went, and where the model stands among the baselines, as PNG.

    Args:
        report: with ``epochs`` (metrics of each), ``metrics`` and ``baselines``.
        name: of the model on the leaderboard.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    training, board = figure.subplots(1, 2)

    epochs = report["epochs"]
    numbers = [int(each["epoch"]) + 1 for each in epochs]
    training.plot(numbers, [each[MONITOR] for each in epochs], "o-", color=OURS)
    training.set_xlabel("epoch")
    training.set_ylabel("validation recall@10", color=OURS)
    training.set_ylim(bottom=0)
    training.set_xticks(numbers)
    best = max(epochs, key=lambda each: each[MONITOR])
    training.annotate(
        "kept",
        (best["epoch"] + 1, best[MONITOR]),
        xytext=(0, -18),
        textcoords="offset points",
        ha="center",
        color=OURS,
    )
    loss = training.twinx()
    loss.plot(numbers, [each["loss"] for each in epochs], "s--", color="#888888", markersize=4)
    loss.set_ylabel("training loss", color="#888888")
    training.set_title("Training")

    scores = {name: report["metrics"]["test"]["recall@10"]}
    for baseline, row in report["baselines"].items():
        if "recall@10" in row["test"]:
            scores[baseline] = row["test"]["recall@10"]
    ranked = sorted(scores.items(), key=lambda item: item[1])
    names, values = zip(*ranked, strict=True)
    bars = board.barh(names, values, color=[OURS if each == name else OTHERS for each in names])
    board.bar_label(bars, fmt="%.4f", padding=4)
    board.set_xlim(0, max(values) * 1.18 or 1)
    board.spines[["top", "right"]].set_visible(False)
    board.set_xlabel("test recall@10")
    board.set_title("Same split, same function for all")
    figure.savefig(path, dpi=120)
