"""The baselines of a playlist run: Ray tasks beside our own ranking, each kept once it is done."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import ray
import torch

from spotify_engine.dotted import Tree
from spotify_engine.evaluation.fingerprint import fingerprint
from spotify_engine.evaluation.splits import load_split
from spotify_engine.playlists.measure.leaderboard import (
    BaselineName,
    EvaluationConfig,
    Row,
    baseline_rows,
)
from spotify_engine.playlists.schema import TABLES
from spotify_engine.runtime.cluster import refusals_as_raised
from spotify_engine.runtime.pipelines.measuring import track_facts
from spotify_engine.store.atomic import write_text
from spotify_engine.strict_json import to_json
from spotify_engine.watching import Watch, unwatched

log = logging.getLogger(__name__)
FEW_ROWS = 100_000  # of split.parquet
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

    def start(self) -> None:
        """Submit a task for each baseline that isn't kept; they run while others work.

        Of little data none is submitted: its process would take longer to start than all of them.
        """
        if pq.read_metadata(self.folder / "split.parquet").num_rows < FEW_ROWS:
            return
        for name in ORDER:
            if name in self.config.baselines and self._kept(name) is None:
                options = {"memory": int(self.config.ease_memory_gib * 2**30)}
                task = _measure.options(**self._possible(options if name == "ease" else {}))
                self._tasks[task.remote(name, str(self.folder), self.config)] = name

    def rows(self, watch: Watch) -> list[Row]:
        """Wait for all, in the order of the configuration.

        Args:
            watch: is told of each that is done.

        Raises:
            InputError: a task refused the run's files.
        """
        with refusals_as_raised():
            waiting, total = list(self._tasks), len(self._tasks)
            for _ in watch(range(total), "baselines measured", total):
                [done], waiting = ray.wait(waiting, num_returns=1)
                self._keep(self._tasks[done], ray.get(done))
        self._tasks = {}
        missing = [name for name in self.config.baselines if self._kept(name) is None]
        for _ in self.fitted_here(missing, watch):
            pass
        found = [self._kept(name) for name in self.config.baselines]
        return [row for row in found if row is not None]

    def fitted_here(self, names: Sequence[str], watch: Watch) -> Iterator[Row]:
        """Fit and measure some in this process, and keep them.

        Args:
            watch: is told of each that is fitted.
        """
        wanted = [each for each in ORDER if each in names]
        for each in wanted:
            found = _measured(each, self.folder, self.config, watch)
            self._keep(each, found)
            yield _row(found)

    def _possible(self, options: dict[str, int]) -> dict[str, int]:
        """A request for memory that no node can ever meet would wait for ever."""
        largest = max((node["Resources"].get("memory", 0) for node in ray.nodes()), default=0)
        return {name: int(min(value, largest)) for name, value in options.items()}

    def _file(self, name: BaselineName) -> Path:
        return self.folder / "baselines" / f"{name}.json"

    def _depends_on(self, name: BaselineName) -> Tree:
        """What a baseline's figures follow from."""
        others = {"baselines", *ORDER} - {name}
        return {
            "evaluation": self.config.model_dump(mode="json", exclude=others),
            "split": fingerprint(self.folder / "split.parquet"),
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

    def _keep(self, name: BaselineName, found: Tree) -> None:
        self._file(name).parent.mkdir(exist_ok=True)
        write_text(self._file(name), to_json({"of": self._depends_on(name), **found}))


@ray.remote(num_cpus=1)
def _measure(name: BaselineName, folder: str, config: EvaluationConfig) -> Tree:
    """One baseline's row, as it is kept."""
    torch.set_num_threads(1)
    return _measured(name, Path(folder), config, unwatched)


def _measured(name: BaselineName, run: Path, config: EvaluationConfig, watch: Watch) -> Tree:
    tables = {each: pq.read_table(run / "tables" / f"{each}.parquet") for each in TABLES}
    split = load_split(run / "split.parquet", len(tables["tracks"]), len(tables["playlists"]))
    only = config.model_copy(update={"baselines": (name,)})
    [row] = baseline_rows(split, track_facts(tables), only, watch)
    return {"row": row.report(), "breakdown": row.breakdown}


def _row(kept: Tree) -> Row:
    return Row(**kept["row"], breakdown=kept["breakdown"])
