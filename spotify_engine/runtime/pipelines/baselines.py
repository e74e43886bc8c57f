"""The baselines of a playlist run: Ray tasks beside our own ranking, each kept once it is done."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import ray
import torch

from spotify_engine.dotted import Tree
from spotify_engine.evaluation.fingerprint import fingerprint
from spotify_engine.evaluation.splits import Split, load_split
from spotify_engine.playlists.measure.leaderboard import (
    BASELINES,
    BaselineName,
    EvaluationConfig,
    Row,
    TrackFacts,
    baseline_rows,
)
from spotify_engine.playlists.schema import TABLES
from spotify_engine.runtime.cluster import refusals_as_raised
from spotify_engine.runtime.pipelines.measuring import track_facts
from spotify_engine.store.atomic import write_text
from spotify_engine.strict_json import to_json
from spotify_engine.watching import Watch, unwatched

log = logging.getLogger(__name__)
SPLIT = "split.parquet"
FEW_ROWS = 100_000  # of it
# The longest first, so that the last one to begin is soon done.
ORDER: tuple[BaselineName, ...] = ("ials", "bpr", "ease", "itemknn", "popularity")


class Baselines:
    """Fits and measures baselines on a run's split, unless the run keeps what came of it.

    Args:
        folder: of the run, that every machine of the cluster can read.
    """

    def __init__(self, folder: Path, config: EvaluationConfig) -> None:
        self.folder, self.config = folder.resolve(), config
        self._tasks: dict[ray.ObjectRef[Tree], BaselineName] = {}
        self._split = fingerprint(self.folder / SPLIT)

    def start(self) -> None:
        """Submit a task for each baseline that isn't kept; they run while others work.

        Of little data none is submitted: its process would take longer to start than all of them.
        """
        if pq.read_metadata(self.folder / SPLIT).num_rows < FEW_ROWS:
            return
        for name in ORDER:
            if name in self.config.baselines and self._kept(name) is None:
                options = {"memory": self._memory()} if name == "ease" else {}
                task = _measure.options(**options).remote(name, self.folder, self.config)
                self._tasks[task] = name

    def rows(self, watch: Watch) -> list[Row]:
        """Wait for all, in the order of the configuration.

        Args:
            watch: is told of each that is done.

        Raises:
            InputError: a task refused the run's files.
        """
        found = {name: self._kept(name) for name in self.config.baselines}
        with refusals_as_raised():
            waiting, total = list(self._tasks), len(self._tasks)
            for _ in watch(range(total), "baselines measured", total):
                [done], waiting = ray.wait(waiting, num_returns=1)
                name = self._tasks.pop(done)
                found[name] = self._keep(name, ray.get(done))
        missing = [name for name, row in found.items() if row is None]
        here = {row.name: row for row in self.fitted_here(missing, watch)}
        return [row or here[name] for name, row in found.items()]

    def fitted_here(self, names: Collection[str], watch: Watch) -> Iterator[Row]:
        """Fit and measure some in this process, and keep them.

        Args:
            watch: is told of each that is fitted.
        """
        if not names:
            return
        data = _open(self.folder)
        for name in ORDER:
            if name in names:
                yield self._keep(name, _measured(name, *data, self.config, watch))

    def _memory(self) -> int:
        """Bytes to ask for EASE: a request that no node can ever meet would wait for ever."""
        largest = max((node["Resources"].get("memory", 0) for node in ray.nodes()), default=0)
        return int(min(self.config.ease_memory_gib * 2**30, largest))

    def _file(self, name: BaselineName) -> Path:
        return self.folder / "baselines" / f"{name}.json"

    def _depends_on(self, name: BaselineName) -> Tree:
        """The settings and the split that a baseline's figures follow from."""
        others = {"baselines", *BASELINES} - {name}
        return {
            "evaluation": self.config.model_dump(mode="json", exclude=others),
            "split": self._split,
        }

    def _kept(self, name: BaselineName) -> Row | None:
        try:
            content = json.loads(self._file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            log.debug("%s is not kept: %s", name, error)
            return None
        if content["of"] != json.loads(to_json(self._depends_on(name))):
            return None
        return _row(content)

    def _keep(self, name: BaselineName, found: Tree) -> Row:
        self._file(name).parent.mkdir(exist_ok=True)
        write_text(self._file(name), to_json({"of": self._depends_on(name), **found}))
        return _row(found)


@ray.remote(num_cpus=1)
def _measure(name: BaselineName, folder: Path, config: EvaluationConfig) -> Tree:
    """One baseline's row, as it is kept."""
    torch.set_num_threads(1)
    return _measured(name, *_open(folder), config, unwatched)


def _open(folder: Path) -> tuple[Split, TrackFacts]:
    tables = {each: pq.read_table(folder / "tables" / f"{each}.parquet") for each in TABLES}
    split = load_split(folder / SPLIT, len(tables["tracks"]), len(tables["playlists"]))
    return split, track_facts(tables)


def _measured(
    name: BaselineName, split: Split, facts: TrackFacts, config: EvaluationConfig, watch: Watch
) -> Tree:
    only = config.model_copy(update={"baselines": (name,)})
    [row] = baseline_rows(split, facts, only, watch)
    return {"row": row.report(), "breakdown": row.breakdown}


def _row(kept: Tree) -> Row:
    return Row(**kept["row"], breakdown=kept["breakdown"])
