"""What Ray Tune costs a trial: its wall time in a search beside the same training without Tune.

    python benchmarks/tuning.py --pipeline sessions --set training.session.epochs=3
    python benchmarks/tuning.py --pipeline playlists --playlists CSV --features CSV

One trial at a time, each from the same prepared data; the values differ in the seed of training
alone. Both sides run on Ray Train in one Ray session. A trial's time is from the end of the one
before to its own end, so that the start and the stop of its process are in it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from spotify_engine.config import JobConfig
from spotify_engine.runtime.cluster import ray_session
from spotify_engine.runtime.pipelines.playlist_inputs import playlist_config
from spotify_engine.runtime.pipelines.sessions import session_config
from spotify_engine.runtime.tune.search import Search
from spotify_engine.tuning.space import SearchConfig
from spotify_engine.tuning.trials import load_trials


def main() -> int:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "jobs"))
    import tune as job

    flags = job.parser()
    for action in flags._actions:
        action.required = action.required and action.dest != "space"
    flags.add_argument("--trials", type=int, default=5)
    given = flags.parse_args()
    base = configured(given)
    key = "training.seed" if given.pipeline == "playlists" else f"training.{model_of(base)}.seed"
    seeds = list(range(1, given.trials + 1))
    config = SearchConfig(method="grid", concurrent=1, space={key: seeds})
    with tempfile.TemporaryDirectory() as folder, ray_session(base.cluster, show_workers=False):
        search = Search(Path(folder) / "search", given.pipeline, config, base)
        search.run()
        trials = load_trials(search.out)
        ends = [each.ended or 0.0 for each in trials]
        # The first one, the default's, begins with the search.
        tuned = [b - a for a, b in pairwise(ends)]
        bare = []
        for seed in seeds:
            started = perf_counter()
            search.trials.open({key: seed}, 1000 + seed).learn()
            bare.append(perf_counter() - started)
    learned = [each.seconds or 0.0 for each in trials[1:]]
    show({"without Tune": bare, "trial of a search": tuned, "epochs alone": learned})
    return 0


def configured(given: argparse.Namespace) -> JobConfig:
    if given.pipeline == "playlists":
        given.mode = given.mode or "mini"
        return playlist_config(given)
    given.model = given.model or ["session"]
    return session_config(given)


def model_of(base: Any) -> str:
    return str(base.models[0])


def show(sides: dict[str, list[float]]) -> None:
    table = Table("", "median s", "least s", "most s", "to the first")
    first = statistics.median(next(iter(sides.values())))
    for name, seconds in sides.items():
        middle = statistics.median(seconds)
        figures = (f"{each:.1f}" for each in (middle, min(seconds), max(seconds)))
        table.add_row(name, *figures, f"{middle / first:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(main())
