"""Searching for better settings on Ray Tune: trials, their notes, and what becomes of the best."""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import tune
from ray.tune import RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import ASHAScheduler

from spotify_engine.config import CONFIGS, JobConfig, read_yaml
from spotify_engine.console import console, say
from spotify_engine.dotted import flatten
from spotify_engine.errors import InputError
from spotify_engine.pipelines import MONITOR, Pipeline
from spotify_engine.runtime.data.tasks import WORKER_BYTES
from spotify_engine.runtime.pipelines.playlist_inputs import playlist_config
from spotify_engine.runtime.pipelines.recording import OFF
from spotify_engine.runtime.pipelines.registering import register
from spotify_engine.runtime.pipelines.run import NO_PART_IN_RESULTS
from spotify_engine.runtime.pipelines.session_inputs import session_config
from spotify_engine.runtime.train.devices import with_gpus
from spotify_engine.runtime.train.training import free_workers
from spotify_engine.runtime.tune.hooks import Ended, Suggestions
from spotify_engine.runtime.tune.record import SearchRecord
from spotify_engine.runtime.tune.searched import scope_of
from spotify_engine.runtime.tune.trial import EPOCHS_DONE, Trials, run_trial
from spotify_engine.store.atomic import write_text
from spotify_engine.store.files import writing
from spotify_engine.store.registry import Version
from spotify_engine.tracking.tracker import (
    read_epochs,
    recorded_id,
)
from spotify_engine.tuning.failures import failure
from spotify_engine.tuning.report import REPORT, SearchReport, gain_of, write_report
from spotify_engine.tuning.results import results_table, save_results
from spotify_engine.tuning.space import SearchConfig, Space, Values, read_search
from spotify_engine.tuning.strategies import strategy_of
from spotify_engine.tuning.trials import (
    DEFAULT,
    Trial,
    folder_of,
    load_trial,
    load_trials,
    save_trial,
    winner,
)

SEARCH_NOTE, CLOCK, RAY_FOLDER = "search.yaml", "clock.json", "ray"
SHOWN = 5  # lines of the table that is printed while trials run
QUIET = {
    # The trials' notes, the recorder and the table are for that.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Its own would only stop Tune, and the job go on with what there is.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Paths that were given are relative to where the job was started.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


class Search:
    """One search and its folder.

    The same again goes on with it: trials that ended stay as they are, those that were running go
    on from their last checkpoints.
    """

    def __init__(
        self, out: Path, pipeline: Pipeline, config: SearchConfig, base: JobConfig
    ) -> None:
        """Open a search's folder.

        Args:
            base: the default configuration; the space's ``base`` is in it.

        Raises:
            InputError: the space can't be searched, or the folder holds something else.
        """
        self.out, self.pipeline, self.config, self.base = out.resolve(), pipeline, config, base
        self.space = Space(config, base, scope_of(pipeline, base))
        self.title = f"{pipeline}, {config.method} search"
        self._open_folder(out)
        self.spent = self._spent_before()
        self._started = time.time()
        self.trials = Trials(self.out, pipeline, _for_trials(base), self._started - self.spent)
        self.strategy = strategy_of(self.space)
        self.pending: list[int] = []
        self.next_number = 0
        self.begun: dict[int, float] = {}
        for trial in load_trials(self.out):
            self.next_number = trial.number + 1
            if trial.state == "running":
                self.pending.append(trial.number)
            else:
                self.strategy.tell(trial)

    def run(self) -> SearchReport:
        """Try, choose, and rank the test part for the winner and the default, once.

        Returns:
            What ``report.json`` says.

        Raises:
            InputError: the cluster is too small for a trial, or no trial ran to its end.
        """
        if (self.out / REPORT).exists():
            say("search: done before", "dim")
            report: SearchReport = json.loads((self.out / REPORT).read_text(encoding="utf-8"))
            return report
        at_once = self._at_once()
        self.trials.prepare({})
        self.record = SearchRecord(self.trials, self.space, self.base.tracking)
        with self.record.closing():
            self._try(at_once)
            report = self._conclude()
            self.record.report(report)
        return report

    def register(self, registry: Path) -> Version:
        """Make the winner a version, whose lineage names search and trial.

        Raises:
            InputError: the registry can't be written.
        """
        best = self._winner()
        origin = {
            "search": str(self.out),
            "trial": best.number,
            "values": best.values,
            "parent_run": recorded_id(self.out),
            "tracked_as": recorded_id(folder_of(self.out, best.number)),
        }
        return register(self.trials.open(*self._place(best)).run, registry, origin)

    def _try(self, at_once: int) -> None:
        os.environ.update(QUIET)
        # It prints the traceback of a failed trial several times; the note has the gist.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        scheduler = None
        if (stopping := self.config.stopping) is not None:
            scheduler = ASHAScheduler(
                time_attr=EPOCHS_DONE, metric=MONITOR, mode="max", max_t=1 << 20,
                grace_period=stopping.after, reduction_factor=stopping.factor,
            )  # fmt: skip
        # The workers that a trial starts ask for the CPUs; were a trial to hold any, as many trials
        # as there are CPUs would wait for their workers for ever.
        resources: dict[str, float] = {"CPU": 0, "memory": WORKER_BYTES}
        tuner = Tuner(
            tune.with_resources(tune.with_parameters(run_trial, trials=self.trials), resources),
            tune_config=TuneConfig(
                search_alg=Suggestions(self.suggest), scheduler=scheduler,
                num_samples=-1, max_concurrent_trials=at_once,
            ),
            run_config=RunConfig(
                name=time.strftime("%Y%m%d-%H%M%S"), storage_path=str(self.out / RAY_FOLDER),
                callbacks=[Ended(self.ended)], verbose=0,
            ),
        )  # fmt: skip
        say(f"{self.title}: {at_once} trial(s) at a time; the default first")
        tuner.fit()

    def suggest(self) -> int | None:
        """The next trial's number, its note written; None when there is none."""
        if self.pending:
            return self._begin(load_trial(self.out, self.pending.pop(0)))
        number = self.next_number
        if number == DEFAULT:
            values: Values | None = {}
        elif self.config.minutes and self._clock() > self.config.minutes * 60:
            return None
        else:
            values = self.strategy.ask(number)
        if values is None:
            return None
        self.next_number += 1
        trial = Trial(number, values)
        save_trial(self.out, trial)
        return self._begin(trial)

    def _begin(self, trial: Trial) -> int:
        self.begun[trial.number] = time.time()
        self.record.begin(trial)
        return trial.number

    def ended(self, number: int, error: BaseException | None) -> None:
        """Note how a trial ended, unless it did so itself, and say how the search stands."""
        trial = load_trial(self.out, number)
        if trial.state == "running":
            trial = trial.with_epochs(read_epochs(self.trials.epochs_file(number)), MONITOR)
            state, text = failure(error) if error else ("stopped", "")
            wall = time.time() - self.begun[number]
            trial = replace(trial, state=state, error=text, wall_seconds=wall, ended=self._clock())
            save_trial(self.out, trial)
            free_workers(self.trials.epochs_file(number).parent)
        self.strategy.tell(trial)
        write_text(self.out / CLOCK, json.dumps({"spent": self._clock()}))
        self.record.end(trial)
        trials = load_trials(self.out)
        save_results(self.space, trials, self.out / "results.parquet")
        reached = "" if trial.quality is None else f", recall@10 {trial.quality:.4f}"
        say(f"{trial.name}: {trial.state}{reached} ({trial.wall_seconds:.0f} s) {trial.error}")
        console.print(results_table(self.space, trials, SHOWN))

    def _conclude(self) -> SearchReport:
        best, default = self._winner(), load_trial(self.out, DEFAULT)
        if default.state != "done" or default.quality is None or best.quality is None:
            raise InputError(
                f"{self.out}: the default did not run to its end ({default.error or default.state})"
                "; there is nothing to compare with: fix it, and give another --out"
            )
        pipeline = self.trials.open(*self._place(best))
        say(f"Winner: {best.name}; ranking the test part")
        pipeline.conclude()
        of_best = pipeline.test_recall()
        of_default = of_best
        if best.number != DEFAULT:
            of_default = self.trials.open(*self._place(default)).test_recall()
        gain = {
            "validation": gain_of(default.quality, best.quality),
            "test": gain_of(of_default, of_best),
        }
        trials = load_trials(self.out)
        report = write_report(
            self.out, self.title, self.space, trials, best,
            pipeline.config, gain, self._clock(),
        )  # fmt: skip
        console.print(results_table(self.space, trials))
        for part, each in gain.items():
            say(
                f"{part} recall@10: default {each['default']:.4f}, winner {each['winner']:.4f} "
                f"({each['gain']:+.1%})"
            )
        return report

    def _winner(self) -> Trial:
        trials = load_trials(self.out)
        best = winner(trials)
        if best is None:
            errors = "; ".join({each.error for each in trials if each.error}) or "none was tried"
            raise InputError(f"{self.out}: no trial ran to its end ({errors})")
        return best

    @staticmethod
    def _place(trial: Trial) -> tuple[Values, int]:
        return trial.values, trial.number

    def _clock(self) -> float:
        """Seconds that the search has gone on, without the time between its sessions."""
        return self.spent + time.time() - self._started

    def _spent_before(self) -> float:
        path = self.out / CLOCK
        return float(json.loads(path.read_text())["spent"]) if path.exists() else 0.0

    def _at_once(self) -> int:
        cluster = with_gpus(self.base.cluster)
        cpus, wanted = (
            ray.cluster_resources().get("CPU", 0),
            cluster.workers * cluster.cpus_per_worker,
        )
        if wanted > cpus:
            raise InputError(
                f"a trial needs {wanted:g} CPUs (cluster.workers x cluster.cpus_per_worker), the "
                f"cluster has {cpus:g}; lower one of them"
            )
        at_once = min(int(cpus // wanted), self.config.concurrent or 1 << 20)
        if cluster.gpus_per_worker:
            at_once = min(at_once, int(ray.cluster_resources()["GPU"] // cluster.workers))
        return at_once

    def _open_folder(self, given: Path) -> None:
        path, content = self.out / SEARCH_NOTE, self._content()
        with writing(given):
            self._check_same(given, content)
            self.out.mkdir(parents=True, exist_ok=True)
            write_text(path, yaml.safe_dump(content, sort_keys=False))

    def _check_same(self, given: Path, content: Mapping[str, object]) -> None:
        path = self.out / SEARCH_NOTE
        if path.exists():
            here, asked = flatten(read_yaml(path)), flatten(content)
            for key in sorted(here.keys() | asked.keys()):
                if here.get(key) != asked.get(key):
                    raise InputError(
                        f"{given}: holds a search with {key}={here.get(key)}, asked for "
                        f"{asked.get(key)}; give another --out, or delete it to start over"
                    )
            return
        if self.out.exists() and any(self.out.iterdir()):
            raise InputError(f"{given}: holds files but no search; give --out an empty folder")

    def _content(self) -> dict[str, object]:
        """The content that must not differ for a search to be continued."""
        base = flatten(self.base.model_dump(mode="json"))
        return {
            "pipeline": self.pipeline,
            "search": self.config.model_dump(mode="json", exclude={"base", "concurrent"}),
            "base": {k: v for k, v in base.items() if not k.startswith(NO_PART_IN_RESULTS)},
        }


def open_search(arguments: argparse.Namespace) -> Search:
    """Check a job's space and configuration, and open the search's folder.

    Raises:
        InputError: an input is missing, the space can't be searched, or the folder holds another.
    """
    config = read_search(_space(arguments.space))
    layers = [(f"{arguments.space}: base", config.base)]
    base: JobConfig
    if arguments.pipeline == "playlists":
        arguments.mode = arguments.mode or "mini"
        base = playlist_config(arguments, layers)
    else:
        base = session_config(arguments, layers)
    out = arguments.out or Path("runs") / f"tune-{arguments.space.stem}"
    return Search(out, arguments.pipeline, config, base)


def _space(given: Path) -> Path:
    """The file, or else the space of that name that comes with the package."""
    named = CONFIGS / "tune" / f"{given}.yaml"
    return named if named.exists() and not given.exists() else given


def _for_trials(base: JobConfig) -> Any:
    """A trial that fails is noted, not tried again; the search is recorded, not each run in it."""
    return base.model_copy(
        update={
            "cluster": base.cluster.model_copy(update={"max_failures": 0}),
            "tracking": OFF,
        }
    )
