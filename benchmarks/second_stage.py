"""What each part of the second stage is worth, how far attention is from even, and what it costs.

    python jobs/train_kaggle.py --mode balanced --out runs/balanced
    python benchmarks/second_stage.py --run runs/balanced --seeds 2

Fits the head of a finished run again without one feature or the order at a time, on
validation alone: learned from most playlists, measured on the others, the mean over several draws
of which they are.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from spotify_engine.config import load_config, read_yaml
from spotify_engine.evaluation.splits import Split
from spotify_engine.playlists.second_stage.counts import count_pairs
from spotify_engine.playlists.second_stage.features import TrackFeatures
from spotify_engine.playlists.second_stage.fit import SecondStageConfig, fit_second_stage
from spotify_engine.playlists.second_stage.stage import SecondStage
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.runtime.pipelines.playlists import PlaylistPipeline
from spotify_engine.runtime.pipelines.run import Run

BANDS = (3, 6, 12, 25, 50, 1000)  # of seeds


def without_feature(column: int) -> AbstractContextManager[object]:
    """Edges as they would be if a feature said nothing."""
    edges = TrackFeatures.edges

    def fewer(self: TrackFeatures, seeds: np.ndarray, found: np.ndarray) -> np.ndarray:
        made = edges(self, seeds, found)
        made[:, :, column] = 0
        return made

    return patch.object(TrackFeatures, "edges", fewer)


def entropies(stage: SecondStage, split: Split, most: int = 300) -> list[tuple[str, int, float]]:
    """By number of seeds: (band, playlists, entropy of attention as a share of an even one's)."""
    found: list[tuple[str, int, float]] = []
    lengths = split.train.lengths
    for low, high in itertools.pairwise(BANDS):
        rows = np.flatnonzero((lengths >= low) & (lengths < high))[:most]
        shares = []
        for row in rows.tolist():
            seeds = split.train[row].astype(np.int64)
            places = stage.tracks.pairs.of(seeds[-3:])[1]
            chosen = np.setdiff1d(stage.tracks.pairs.indices[places], seeds).astype(np.int64)[:20]
            if len(chosen):
                weights = stage.shares(seeds, chosen).attention
                entropy = -(weights * np.log(np.maximum(weights, 1e-12))).sum(0)
                shares.append(float(entropy.mean() / np.log(len(seeds))))
        if shares:
            found.append((f"{low}-{high - 1}", len(shares), float(np.mean(shares))))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="directory of a finished run")
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 80)
    torch.set_num_threads(1)
    job = load_config(KaggleJob, [("run", read_yaml(given.run / "config.yaml"))], [])
    pipeline = PlaylistPipeline(Run(given.run, job))
    split, first = pipeline.data_split, pipeline.mixed
    ordered = split.ordered
    began = time.perf_counter()
    pairs = count_pairs(split.train, split.n_tracks, ordered, job.second_stage.neighbours)
    counted = time.perf_counter() - began
    tracks = first.track_features(pairs)

    def measured(
        changed: Callable[[], AbstractContextManager[object]], split: Split
    ) -> list[float]:
        figures = []
        for seed in range(given.seeds):
            config = job.second_stage.model_copy(update={"seed": seed})
            with changed():
                _, found = fit_second_stage(first.score, tracks, split, config)
            assert found["first_stage"] is not None
            last = found["epochs"][-1]
            figures.append([*found["first_stage"].values(), *last.values()])
        return [float(each) for each in np.mean(figures, axis=0)]

    table = Table(title="Validation, after the last epoch", box=SIMPLE_HEAD)
    for column in ("second stage", "recall@10", "NDCG@10"):
        table.add_column(column, justify="left" if column == "second stage" else "right")
    whole = measured(nullcontext, split)
    table.add_row("none (first stage)", f"{whole[0]:.4f}", f"{whole[1]:.4f}")
    table.add_row("whole", f"{whole[2]:.4f}", f"{whole[3]:.4f}")
    for column, name in enumerate(tracks.names):
        found = measured(lambda column=column: without_feature(column), split)
        table.add_row(f"without {name}", f"{found[2]:.4f}", f"{found[3]:.4f}")
    if ordered:
        unordered = Split(split.train, split.val, split.test, split.n_tracks, "random", None)
        found = measured(nullcontext, unordered)
        table.add_row("without position", f"{found[2]:.4f}", f"{found[3]:.4f}")
    console.print(table)

    began = time.perf_counter()
    stage, _ = fit_second_stage(first.score, tracks, split, SecondStageConfig())
    fitted = time.perf_counter() - began
    console.print(
        f"Pairs counted in {counted:.1f} s ({len(pairs.indices):,}), fitted in {fitted:.1f} s"
    )
    if stage is not None:
        spread = Table(title="Entropy of attention, 1 is even", box=SIMPLE_HEAD)
        for column in ("seeds", "playlists", "share of even"):
            spread.add_column(column, justify="right")
        for band, playlists, share in entropies(stage, split):
            spread.add_row(band, f"{playlists}", f"{share:.3f}")
        console.print(spread)
    return 0


if __name__ == "__main__":
    sys.exit(main())
