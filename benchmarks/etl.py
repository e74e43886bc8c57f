"""Time our ETL beside the same join in DuckDB, and check its counts against a plain reader.

    python benchmarks/etl.py --scale 1 --runs 3
    python benchmarks/etl.py --playlists spotify_dataset.csv --features tracks_features.csv

Each side runs in a process of its own on the same files, the two by turns. Memory is the largest
sum of proportional set sizes (PSS) over all processes of a side, Ray's daemons among them.
The counts come a third time from a single-threaded reader that shares no code with ours but what
makes two names one, a name at a time; the exit code is 1 when they differ from ours. DuckDB's are
reported, not required: it only lowers and trims names. The CPU time, starts and
imports included, is less disturbed by what else the machine does than the seconds are.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
from etl_sides import COUNTS, SIDES, Result
from rich.console import Console
from rich.table import Table

MARK = "ETL_BENCHMARK_SIDE"
_SAMPLE_SECONDS = 0.2


class TreeUsage:
    """Peak memory and CPU time of all processes that carry a mark in their environment.

    The mark is inherited, so daemons that were detached from their parent are found as well.
    """

    def __init__(self, mark: str) -> None:
        self._entry = f"{MARK}={mark}".encode()
        self._marked: dict[tuple[int, float], bool] = {}
        self._cpu: dict[tuple[int, float], float] = {}
        self.peak = 0
        self.processes = 0

    def sample(self) -> None:
        total, alive = 0, 0
        for process in psutil.process_iter():
            try:
                identity = (process.pid, process.create_time())
                # A fork has its parent's environment until it executes another program.
                if not self._marked.get(identity):
                    environment = Path(f"/proc/{process.pid}/environ").read_bytes()
                    self._marked[identity] = self._entry in environment.split(b"\0")
                if self._marked[identity]:
                    total += process.memory_full_info().pss
                    used = process.cpu_times()
                    self._cpu[identity] = used.user + used.system
                    alive += 1
            except (psutil.Error, OSError):
                continue
        self.peak, self.processes = max(self.peak, total), max(self.processes, alive)

    @property
    def cpu_seconds(self) -> float:
        """Of all processes so far; what one did after its last sample is missing."""
        return sum(self._cpu.values())


def measure(side: str, playlists: str, features: str) -> Result:
    """Run one side in its own process; its result, with its memory and CPU time added."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="etl-benchmark-") as folder:
        command = [sys.executable, __file__, "--side", side, "--out", folder]
        command += ["--playlists", playlists, "--features", features]
        usage = TreeUsage(mark)
        began = time.perf_counter()
        with (Path(folder) / "log").open("w+b") as log:
            child = subprocess.Popen(
                command, env={**os.environ, MARK: mark}, stdout=log, stderr=subprocess.STDOUT
            )
            while child.poll() is None:
                usage.sample()
                time.sleep(_SAMPLE_SECONDS)
            log.seek(0)
            text = log.read().decode(errors="replace")
        if child.returncode:
            raise SystemExit(f"{side} failed with code {child.returncode}:\n{text[-4000:]}")
        result: Result = json.loads((Path(folder) / "result.json").read_text())
    wall = time.perf_counter() - began
    return {
        **result,
        "wall_s": wall,
        "peak_bytes": usage.peak,
        "processes": usage.processes,
        "cpu_s": usage.cpu_seconds,
    }


def run_side(given: argparse.Namespace) -> None:
    tables = given.out / "tables"
    tables.mkdir()
    result = SIDES[given.side](given.playlists, given.features, tables)
    (given.out / "result.json").write_text(json.dumps(result))


def default_files(scale: float) -> tuple[str, str]:
    from spotify_engine.playlists.synthetic import (
        FEATURES_FILE,
        PLAYLISTS_FILE,
        SampleConfig,
        write_sample,
    )

    folder = Path(tempfile.gettempdir()) / f"spotify-engine-sample-{scale:g}"
    if not folder.exists():
        write_sample(folder, SampleConfig.scaled(scale))
    return str(folder / PLAYLISTS_FILE), str(folder / FEATURES_FILE)


def print_report(console: Console, runs: dict[str, list[Result]], reference: Result) -> None:
    def middle(side: str, field: str) -> float:
        return statistics.median(run[field] for run in runs[side])

    table = Table(
        "side", "seconds", "ratio", "best run", "start s", "cpu s", "peak GiB", "processes", *COUNTS
    )
    rows = {"ours": runs["ours"], "duckdb": runs["duckdb"], "one thread, arrow": [reference]}
    for side, results in rows.items():
        seconds = statistics.median(run["seconds"] for run in results)
        table.add_row(
            side,
            f"{seconds:.1f}",
            f"{seconds / middle('duckdb', 'seconds'):.2f}",
            f"{min(run['seconds'] for run in results):.1f}",
            f"{statistics.median(run['start_s'] for run in results):.1f}",
            f"{statistics.median(run['cpu_s'] for run in results):.1f}",
            f"{max(run['peak_bytes'] for run in results) / 2**30:.2f}",
            str(max(run["processes"] for run in results)),
            *(f"{results[0][count]:,}" for count in COUNTS),
        )
    console.print(table)
    console.print(
        f"playlists file: {reference['bytes']:,} bytes, {reference['rows']:,} rows and "
        f"{reference['malformed']:,} malformed; floors: {reference['read_s']:.2f} s to read the "
        f"bytes, {reference['parse_s']:.1f} s to parse them on one thread"
    )


def check_counts(console: Console, runs: dict[str, list[Result]], reference: Result) -> bool:
    """Whether all our runs counted what the reference did; says how DuckDB differs."""
    equal = all(run[count] == reference[count] for run in runs["ours"] for count in COUNTS)
    console.print(f"counts of ours and of the independent reader: {'equal' if equal else 'DIFFER'}")
    differences = {count: runs["duckdb"][0][count] - reference[count] for count in COUNTS}
    if any(differences.values()):
        console.print(
            "DuckDB takes one kind of escape (here the backslash): a doubled quote stays doubled, "
            "so the name doesn't match, and a stray quote takes some rows below with it. "
            f"Its counts less the independent reader's: {differences}"
        )
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--playlists", help="default: a generated sample of --scale")
    parser.add_argument("--features")
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if bool(given.playlists) != bool(given.features):
        parser.error("--playlists and --features go together")
    if given.side:
        run_side(given)
        return 0
    files = (given.playlists, given.features) if given.playlists else default_files(given.scale)
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    reference = measure("reference", *files)  # also warms the page cache for both sides
    runs: dict[str, list[Result]] = {"ours": [], "duckdb": []}
    for number in range(given.runs):
        for side in ("ours", "duckdb") if number % 2 == 0 else ("duckdb", "ours"):
            runs[side].append(measure(side, *files))
            latest, load = runs[side][-1], os.getloadavg()[0]
            console.print(
                f"run {number + 1} {side}: {latest['seconds']:.1f} s, "
                f"{latest['cpu_s']:.1f} s of CPU, peak {latest['peak_bytes'] / 2**30:.2f} GiB, "
                f"load {load:.1f}"
            )
    print_report(console, runs, reference)
    equal = check_counts(console, runs, reference)
    if given.json:
        given.json.write_text(json.dumps({"reference": reference, "runs": runs}, indent=1))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
