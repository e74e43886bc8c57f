"""Time the session generator and the session ETL, and measure their memory.

    python benchmarks/sessions.py --users 1000                  # the default size, one process
    python benchmarks/sessions.py --users 27500 --workers 2     # about 10M plays

Each step runs in a process of its own. Memory is the largest sum of proportional set sizes (PSS)
over all processes of a step, Ray's daemons and shared memory among them. The ETL's peer is a plain
single-process pandas job that reads the same file, sorts it, cuts it into sessions and aggregates
it; its counts must be the same, or the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from etl import MARK, TreeUsage
from rich.console import Console
from rich.table import Table

_SAMPLE_SECONDS = 0.2


def step(name: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run one step in its own process: seconds, peak memory, CPU seconds and its result."""
    mark = uuid.uuid4().hex
    command = [sys.executable, __file__, "--step", name, "--folder", str(folder)]
    command += ["--users", str(given.users), "--workers", str(given.workers)]
    usage, began = TreeUsage(mark), time.perf_counter()
    with (folder / f"{name}.log").open("w+b") as log:
        child = subprocess.Popen(
            command, env={**os.environ, MARK: mark}, stdout=log, stderr=subprocess.STDOUT
        )
        while child.poll() is None:
            usage.sample()
            time.sleep(_SAMPLE_SECONDS)
        log.seek(0)
        text = log.read().decode(errors="replace")
    if child.returncode:
        raise SystemExit(f"{name} failed with code {child.returncode}:\n{text[-4000:]}")
    result: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    wall = time.perf_counter() - began
    return result | {"wall_s": wall, "peak_bytes": usage.peak, "cpu_s": usage.cpu_seconds}


def run_step(name: str, folder: Path, users: int, workers: int) -> None:
    began = time.perf_counter()
    data = folder / "data"
    if name == "generate":
        from spotify_engine.runtime.data.generate import generate
        from spotify_engine.sessions.synthetic import SyntheticConfig

        result = dict(generate(data, SyntheticConfig(users=users), workers=workers))
    elif name == "etl":
        from spotify_engine.config import ClusterConfig
        from spotify_engine.runtime.cluster import ray_session
        from spotify_engine.runtime.data.sessions import prepare_sessions
        from spotify_engine.sessions.tables.plays import SessionDataConfig

        with ray_session(ClusterConfig(workers=workers)) as started:
            counts = prepare_sessions(str(data), folder / "tables", SessionDataConfig(), workers)
        result = {name: counts[name] for name in ("events", "sessions", "edges")}
        result |= {"start_s": started, "stages": counts["seconds"]}
    else:
        result = _with_pandas(data)
    result["seconds"] = time.perf_counter() - began - result.get("start_s", 0)
    (folder / f"{name}.json").write_text(json.dumps(result))


def _with_pandas(data: Path) -> dict[str, Any]:
    import pandas as pd

    plays = pd.read_csv(data / "raw_sessions.csv")
    tracks = pd.read_csv(data / "tracks.csv")["track_id"]
    plays["timestamp"] = pd.to_datetime(plays["timestamp"])
    good = plays["track_id"].isin(tracks) & (plays["ms_played"] >= 0)
    plays = plays[good & (plays["ms_played"] <= 10 * plays["track_duration_ms"])]
    plays = plays.sort_values(["user_id", "timestamp"], kind="stable")
    new = plays.groupby("user_id")["timestamp"].diff().dt.total_seconds()
    sessions = int((~(new <= 1800)).sum())
    plays["completion"] = (plays["ms_played"] / plays["track_duration_ms"]).clip(upper=1)
    edges = plays.groupby(["user_id", "track_id"])["completion"].agg(["count", "mean"])
    edges["weight"] = 0.7 * edges["mean"] + 0.3 * edges["count"] / edges.groupby("user_id")[
        "count"
    ].transform("max")
    edges.reset_index().to_parquet(data.parent / "pandas-edges.parquet")
    return {"events": len(plays), "sessions": sessions, "edges": len(edges)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-pandas", action="store_true", help="leave out the peer")
    parser.add_argument("--generate-only", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        run_step(given.step, given.folder, given.users, given.workers)
        return 0
    names = ["generate"] if given.generate_only else ["generate", "etl", "pandas"]
    if given.no_pandas:
        names.remove("pandas")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    results = {}
    with tempfile.TemporaryDirectory(prefix="sessions-benchmark-") as folder:
        for name in names:
            results[name] = step(name, Path(folder), given)
    table = Table("step", "seconds", "cpu s", "peak GiB", "events", "sessions", "edges")
    for name, row in results.items():
        counts = (f"{row[c]:,}" if c in row else "" for c in ("events", "sessions", "edges"))
        peak = f"{row['peak_bytes'] / 2**30:.2f}"
        table.add_row(name, f"{row['seconds']:.1f}", f"{row['cpu_s']:.1f}", peak, *counts)
    console.print(table)
    if "etl" in results:
        console.print(f"stages of the ETL: {results['etl']['stages']}")
    if {"etl", "pandas"} <= results.keys():
        same = all(
            results["etl"][c] == results["pandas"][c] for c in ("events", "sessions", "edges")
        )
        console.print(f"counts of the ETL and of pandas: {'equal' if same else 'DIFFER'}")
        return 0 if same else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
