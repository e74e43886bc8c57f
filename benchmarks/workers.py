"""Train with one and with several workers: playlists a second, and the recall that comes of it.

    python jobs/train_kaggle.py --mode quick --sample --out runs/quick
    python benchmarks/workers.py --run runs/quick --seeds 0 1 2

Takes graph, split, start and settings of a finished run. Every worker is a process with one thread
on this machine; they exchange gradients by gloo over loopback, as Ray Train's workers do, so that
the seconds are those of training alone, without Ray's start and stop and without validation. The
global batch is the same for all numbers of workers. Prints the ratios to the first of --workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import distributed as dist

from spotify_engine.config import load_config, read_yaml
from spotify_engine.pipelines import MONITOR
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.playlists.training_inputs import TrainingInputs

Result = dict[str, Any]


def work(given: argparse.Namespace) -> None:
    """One worker of one training; rank 0 writes what it came to."""
    torch.set_num_threads(1)
    rank, size = given.rank, given.size
    if size > 1:
        store = f"file://{given.out / 'store'}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
    run = given.run.resolve()
    job = load_config(KaggleJob, [("run", read_yaml(run / "config.yaml"))], given.settings)
    training = job.training.model_copy(update={"seed": given.seed})
    inputs = TrainingInputs(run / "graph", run / "split.parquet", run / "start")
    trainer = inputs.open(job.model, training)
    trainer.fit(lambda report: None)
    if rank == 0:
        history = trainer.history
        seconds = [epoch["train_seconds"] for epoch in history]
        visited = len(trainer.trainable) * trainer.passes_per_epoch
        content = {
            "playlists_s": visited * len(history) / sum(seconds),
            "best_epoch_playlists_s": visited / min(seconds),
            "epochs": len(history),
            "recall": trainer.stopping.best,
            "last_recall": history[-1][MONITOR],
        }
        (given.out / "result.json").write_text(json.dumps(content))
    if size > 1:
        dist.destroy_process_group()


def measure(given: argparse.Namespace, size: int, seed: int) -> Result:
    """One training by ``size`` processes."""
    with tempfile.TemporaryDirectory(prefix="workers-benchmark-") as folder:
        command = [sys.executable, __file__, f"--run={given.run}", f"--out={folder}"]
        command += [f"--set={setting}" for setting in given.settings]
        command += [f"--size={size}", f"--seed={seed}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        workers = [
            subprocess.Popen([*command, f"--rank={rank}"], env=environment) for rank in range(size)
        ]
        try:
            if any(worker.wait() for worker in workers):
                raise SystemExit(f"training with {size} workers failed")
        finally:
            for worker in workers:
                worker.kill()
        result: Result = json.loads((Path(folder) / "result.json").read_text())
    return {"workers": size, "seed": seed, **result}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="a finished run directory")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--json", type=Path, help="write all figures here")
    for hidden in ("--rank", "--size", "--seed"):
        parser.add_argument(hidden, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rank is not None:
        work(given)
        return 0
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    results: list[Result] = []
    for seed in given.seeds:
        for size in given.workers:
            results.append(measure(given, size, seed))
            console.print(results[-1])
    table = Table(
        "workers", "playlists/s", "ratio", "in the best epoch", "ratio", MONITOR, "ratio",
        "widest difference of a seed",
    )  # fmt: skip
    first = [r for r in results if r["workers"] == given.workers[0]]
    for size in given.workers:
        ours = [r for r in results if r["workers"] == size]
        row = [str(size)]
        for name, digits in (("playlists_s", 0), ("best_epoch_playlists_s", 0), ("recall", 4)):
            mean, base = (statistics.mean(r[name] for r in part) for part in (ours, first))
            row += [f"{mean:.{digits}f}", f"{mean / base:.3f}"]
        apart = max(abs(a["recall"] / b["recall"] - 1) for a, b in zip(ours, first, strict=True))
        table.add_row(*row, f"{apart:.2%}")
    console.print(table)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
