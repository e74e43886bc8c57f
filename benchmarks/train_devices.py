"""Milliseconds of a training step by device and precision, and which part is sampling.

    python jobs/train_kaggle.py --mode full --out runs/full
    python benchmarks/train_devices.py --run runs/full --steps 60

Takes graph, split, start and settings of a finished run; without Ray. ``alone`` samples and
computes in turn; ``ahead`` is what training does: the next step is sampled while one is computed.
``validation`` is the recall@10 after one whole epoch, where ``--epoch`` asks for it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from itertools import islice
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from spotify_engine.config import load_config, read_yaml
from spotify_engine.pipelines import MONITOR
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.playlists.training import PlaylistTrainer, Sampled
from spotify_engine.playlists.training_inputs import TrainingInputs


def variants() -> list[tuple[str, str]]:
    """(device, torch's precision of float32 products) on this machine."""
    found = [("cpu", "highest")]
    if torch.cuda.is_available():
        found += [("cuda", "highest"), ("cuda", "high")]
    return found


def wait(device: str) -> None:
    """Until a device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def alone(trainer: PlaylistTrainer, steps: int, device: str) -> tuple[float, float]:
    """Milliseconds a step (of sampling, of computing), one after the other."""
    sampling = computing = 0.0
    trainer.model.train()
    for step in islice(trainer.steps(0), steps):
        begun = time.perf_counter()
        sampled: Sampled = trainer.sample(step)
        wait(device)
        between = time.perf_counter()
        for optimizer in trainer.optimizers:
            optimizer.zero_grad()
        trainer.loss(sampled).backward()
        for optimizer in trainer.optimizers:
            optimizer.step()
        wait(device)
        sampling += between - begun
        computing += time.perf_counter() - between
    return 1e3 * sampling / steps, 1e3 * computing / steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="directory of a finished run")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--epoch", action="store_true", help="also validation after an epoch")
    given = parser.parse_args()
    run = given.run
    job = load_config(KaggleJob, [("run", read_yaml(run / "config.yaml"))], [])
    inputs = TrainingInputs(run / "graph", run / "split.parquet", run / "start")
    console = Console(width=None if sys.stdout.isatty() else 110)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    table = Table(title=f"{os.cpu_count()} cores, {name}; ms a step", box=SIMPLE_HEAD)
    for column in ("device", "products", "sampling", "computing", "ahead", "epoch s", "validation"):
        table.add_column(column, justify="right")
    for device, precision in variants():
        trainer = inputs.open(job.model, job.training)
        trainer.to(torch.device(device))
        torch.set_float32_matmul_precision(precision)
        alone(trainer, 5, device)  # memory is there from now on
        sampling, computing = alone(trainer, given.steps, device)
        trainer.progress = lambda steps: islice(steps, given.steps)
        begun = time.perf_counter()
        trainer.train_epoch(0)
        wait(device)
        ahead = 1e3 * (time.perf_counter() - begun) / given.steps
        seconds = recall = float("nan")
        if given.epoch and device == "cuda":
            trainer = inputs.open(job.model, job.training)
            trainer.to(torch.device(device))
            begun = time.perf_counter()
            trainer.train_epoch(0)
            seconds = time.perf_counter() - begun
            recall = trainer.validate()[MONITOR]
        table.add_row(
            device, precision, f"{sampling:.1f}", f"{computing:.1f}", f"{ahead:.1f}",
            f"{seconds:.1f}", f"{recall:.4f}",
        )  # fmt: skip
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
