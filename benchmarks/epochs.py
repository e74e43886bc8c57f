"""Seconds of a training epoch by number of playlists, beside the floor of its arithmetic.

    python jobs/train_kaggle.py --mode full --out runs/full
    python benchmarks/epochs.py --run runs/full --playlists 5000 20000 50000

Takes graph, split and settings of a finished run, and the first so many playlists with their edges;
one thread, one pass over them an epoch, without Ray and without validation. Floors of a step: its
matrix products at the speed that one big product reaches here, the scoring product alone, and the
bytes of the touched embedding rows and of their moments, each read and written once, at the speed
of a copy.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric.data import HeteroData

from spotify_engine.config import load_config, read_yaml
from spotify_engine.evaluation.splits import load_split
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.graph import load_graph
from spotify_engine.playlists.model.network import GraphShape
from spotify_engine.playlists.schema import CONTAINS, IN, PLAYLIST, TRACK
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.playlists.training import PlaylistTrainer
from spotify_engine.ragged import Ragged

PASSES = 6  # row, gradient and both moments read; row and moments written: gradient counts once


def trainer_of(run: Path, playlists: int) -> PlaylistTrainer:
    """A trainer on the first so many playlists of a run."""
    job = load_config(KaggleJob, [("run", read_yaml(run / "config.yaml"))], [])
    data, _ = load_graph(run / "graph")
    split = load_split(run / "split.parquet", len(data[TRACK].x), len(data[PLAYLIST].x))
    train = split.train.select(np.arange(playlists))
    part = HeteroData()
    for kind in data.node_types:
        part[kind].x = data[kind].x[:playlists] if kind == PLAYLIST else data[kind].x
        part[kind].num_nodes = len(part[kind].x)
    for edge in data.edge_types:
        part[edge].edge_index = data[edge].edge_index
    edges = torch.from_numpy(np.stack([train.rows, train.values.astype(np.int64)]))
    part[CONTAINS].edge_index, part[IN].edge_index = edges, edges.flip(0).contiguous()
    torch.manual_seed(0)
    model = PlaylistGAT(GraphShape.of(part), job.model)
    settings = job.training.model_copy(update={"min_steps_per_epoch": 1})
    val = Ragged(
        split.val.offsets[: playlists + 1], split.val.values[: split.val.offsets[playlists]]
    )
    return PlaylistTrainer(model, part, train, val, settings)


def best_seconds(work: object, repeats: int = 5) -> float:
    """Of several runs of a function, the fastest: others of the machine only add."""
    assert callable(work)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def machine() -> tuple[float, float]:
    """(floating-point operations a second of a big product, bytes a second of a copy)"""
    a, b = torch.randn(512, 512), torch.randn(512, 8192)
    product = best_seconds(lambda: a @ b)
    source, target = torch.randn(16 << 20), torch.empty(16 << 20)
    copied = best_seconds(lambda: target.copy_(source))
    return 2 * 512 * 512 * 8192 / product, 2 * source.nbytes / copied


def floors(trainer: PlaylistTrainer, speed: float, bandwidth: float) -> dict[str, float]:
    """Least seconds of one step, by what it can't do without."""
    step = next(trainer.steps(0))
    width = trainer.model.config.layers[-1]
    counter = FlopCounterMode(display=False)
    trainer.model.train()
    with counter:
        loss = trainer.loss(trainer.sample(step))
        loss.backward()
    candidates = len(trainer.model.bias.weight.grad.coalesce().indices()[0])
    # Forward, and backward for either side.
    scoring = 3 * 2 * len(step.playlists) * candidates * width
    rows = sum(
        table.weight.grad.coalesce().values().nbytes
        for table in trainer.model.modules()
        if isinstance(table, torch.nn.Embedding) and table.weight.grad is not None
    )
    for parameter in trainer.model.parameters():
        parameter.grad = None
    return {
        "products": counter.get_total_flops() / speed,
        "scoring": scoring / speed,
        "rows": PASSES * rows / bandwidth,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="directory of a finished run")
    parser.add_argument("--playlists", type=int, nargs="+", default=[5_000, 20_000, 50_000])
    parser.add_argument("--profile", action="store_true", help="also where the time goes")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    torch.set_num_threads(1)
    speed, bandwidth = machine()
    console.print(f"One thread: {speed / 1e9:.0f} GFLOP/s, copies {bandwidth / 1e9:.1f} GB/s")
    table = Table(title="One epoch, one thread", box=SIMPLE_HEAD)
    columns = "playlists", "pairs", "steps", "s", "us a pair", "ms a step"
    for name in (*columns, "of products", "of scoring", "of rows", "time / floor"):
        table.add_column(name, justify="right")
    for playlists in given.playlists:
        trainer = trainer_of(given.run, playlists)
        trainer.progress = lambda steps: islice(steps, 3)
        trainer.train_epoch(0)  # memory is there from now on
        trainer.progress = lambda steps: steps
        least = floors(trainer, speed, bandwidth)
        started = time.perf_counter()
        trainer.train_epoch(1)
        seconds = time.perf_counter() - started
        steps, pairs = trainer.steps_per_epoch, len(trainer.train.values)
        floor = steps * (least["products"] + least["rows"])
        table.add_row(
            f"{playlists:,}", f"{pairs:,}", f"{steps}", f"{seconds:.1f}",
            f"{1e6 * seconds / pairs:.0f}", f"{1e3 * seconds / steps:.0f}",
            *(f"{1e3 * least[name]:.0f}" for name in ("products", "scoring", "rows")),
            f"{seconds / floor:.2f}",
        )  # fmt: skip
        if given.profile:
            profile = cProfile.Profile()
            profile.runcall(trainer.train_epoch, 2)
            pstats.Stats(profile).sort_stats("tottime").print_stats(15)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
