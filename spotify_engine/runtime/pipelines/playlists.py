"""The playlist job, stage by stage: tables, split, genres, graph, training, bundle, report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from spotify_engine.console import console, say
from spotify_engine.dotted import Tree
from spotify_engine.errors import InputError
from spotify_engine.evaluation.fingerprint import fingerprint
from spotify_engine.evaluation.ranking import save_predictions
from spotify_engine.evaluation.splits import Split, make_split, save_split
from spotify_engine.graphs import Summary, summary
from spotify_engine.learning.trainers.served import ServedReport, served_of
from spotify_engine.pipelines import MONITOR
from spotify_engine.playlists.model.graph import build_graph, load_graph, save_graph
from spotify_engine.playlists.model.start import chosen_of, find_start
from spotify_engine.playlists.recommend.item_item_choice import choose_item_item
from spotify_engine.playlists.recommend.titles import TitleTrials, choose_titles
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.playlists.report.challenge import plot_breakdown
from spotify_engine.playlists.report.figures import plot_report
from spotify_engine.playlists.second_stage.counts import count_pairs
from spotify_engine.playlists.second_stage.fit import Fitted, fit_second_stage
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.playlists.tables.genre_vocabulary import load_vocabulary
from spotify_engine.playlists.tables.genres import mine_artist_genres, read_artist_genres
from spotify_engine.playlists.training_inputs import PlaylistTraining
from spotify_engine.ragged import Ragged
from spotify_engine.runtime.data.playlists import PlaylistCounts, prepare_tables
from spotify_engine.runtime.pipelines.baselines import Baselines
from spotify_engine.runtime.pipelines.measuring import (
    Findings,
    Parts,
    findings_in_words,
    measure_run,
)
from spotify_engine.runtime.pipelines.pipeline import TrainingPipeline, tell_counts, tell_graph
from spotify_engine.runtime.pipelines.playlist_files import PlaylistFiles
from spotify_engine.runtime.pipelines.run import Results
from spotify_engine.runtime.train.training import EPOCHS, train
from spotify_engine.stages import Part, Stage
from spotify_engine.store.atomic import replaced_file, replaced_folder
from spotify_engine.watching import telling


class HeldOut(TypedDict):
    """How tracks were held out, and how many are in each part."""

    strategy: str
    order: dict[str, float] | None
    train: int
    val: int
    test: int


Genres = dict[str, str | int]
"""Where genres come from, and how many; of a file, which of its rows were of use."""


class Begun(TypedDict):
    """What was tried to begin from: settings and recall, the chosen ones' too."""

    chosen: dict[str, float]
    tried: list[dict[str, float]]


class Mixed(TypedDict):
    """The item-item terms that were tried."""

    used: bool
    chosen: dict[str, float] | None
    tried: list[dict[str, float]]


class Titles(TitleTrials):
    """How titles were compared, and are from here on."""

    chosen: dict[str, float] | None


class Rescored(Fitted):
    """The second stage's shape, None where it isn't used, and the features of its edges."""

    shape: dict[str, int] | None
    features: list[str]


class Evaluated(Findings):
    """And by which the file of lists is known."""

    fingerprints: dict[str, str]


class PlaylistPipeline(PlaylistFiles, TrainingPipeline[KaggleJob]):
    """The stages of playlists; those that are done are read back instead."""

    name = "playlists"

    @classmethod
    def stages_of(cls, config: KaggleJob) -> Sequence[Stage[PlaylistPipeline]]:
        """All stages; every configuration asks for the same."""
        return STAGES

    @property
    def inputs(self) -> Iterable[str | None]:
        """Paths of the data."""
        return self.config.inputs.model_dump().values()

    @property
    def metrics(self) -> Parts:
        """Our metrics on validation and test."""
        metrics: Parts = self.run.stages["evaluate"]["result"]["metrics"]
        return metrics

    @cached_property  # a checkpoint holds every embedding
    def served(self) -> ServedReport:
        """Which epoch the bundle holds, and whether training helped."""
        history = self.run.stages["train"]["result"]
        return served_of(self.run.checkpoints / "best", history).report()

    def epoch_files(self) -> dict[Path, str]:
        """The one file of training's epochs."""
        return {self.run.checkpoints / EPOCHS: ""}

    def require_validation(self) -> None:
        """Nothing is refused here: without playlists to hold tracks out of, there is no split."""

    def read(self) -> PlaylistCounts:
        """Both CSV files to ``tables/``."""
        inputs, tables = self.config.inputs, self.run.tables
        return prepare_tables(inputs.playlists, inputs.features, tables, self.config.data)

    def hold_out(self) -> HeldOut:
        """``split.parquet``: decided here, and nowhere else."""
        pairs = self.table("playlist_tracks")
        playlists = Ragged.from_pairs(
            pairs["playlist"].to_numpy(), pairs["track"].to_numpy(), self.n_playlists
        )
        names = self.table("tracks")["name"].to_pylist()
        split = make_split(playlists, len(names), self.config.holdout, names)
        self._require_holdout(split)
        save_split(split, self.run.split)
        return {
            "strategy": split.strategy,
            "order": asdict(split.order) if split.order else None,
            "train": len(split.train.values),
            "val": len(split.val.values),
            "test": len(split.test.values),
        }

    def _require_holdout(self, split: Split) -> None:
        config = self.config.holdout
        if not len(split.test.values):
            longest = int(split.train.lengths.max(initial=0))
            raise InputError(
                f"holdout.n={config.n}: no playlist is long enough to hold tracks out (the longest "
                f"has {longest}, {config.n + 2} are needed); lower holdout.n or add playlists"
            )
        if (split.train.lengths < 2).all():
            raise InputError("every playlist has a single training track; add longer playlists")

    def find_genres(self) -> Genres:
        """``tables/genres`` and ``artist_genres``, from the file or from training titles."""
        if self.config.inputs.genres:
            found = read_artist_genres(
                self.config.inputs.genres,
                self.table("artists"),
                self.config.genres,
                self.config.data.max_reject_ratio,
            )
            genres, artist_genres = found.genres, found.artist_genres
            # Those of an earlier time, in a run that was taken over, make room.
            rejects = self.table("rejects")
            others = rejects.filter(pc.not_equal(rejects["source"], self.config.inputs.genres))
            self.write_table("rejects", pa.concat_tables([others, found.rejects]))
            counts: Genres = {"source": "file", **found.counts}
        else:
            genres, artist_genres = mine_artist_genres(
                self.table("playlists")["name"].to_pylist(),
                self.data_split.train,
                self.table("tracks")["artist"].to_numpy(),
                len(self.table("artists")),
                self.config.genres,
                load_vocabulary(),
            )
            counts = {"source": "titles of the training part"}
        self.write_table("genres", genres)
        self.write_table("artist_genres", artist_genres)
        with_genres = len(np.unique(artist_genres["artist"].to_numpy()))
        return {**counts, "genres": len(genres), "artists_with_genres": with_genres}

    def build(self) -> Summary:
        """``graph/``: features and edges as arrays that workers map."""
        data, scale = build_graph(self.tables, self.data_split.train, self.config.graph)
        with replaced_folder(self.run.graph) as partial:
            save_graph(data, scale, partial)
        return summary(data)

    def begin(self) -> Begun:
        """``start/``: what the model's parameters begin as, chosen on validation."""
        data, _ = load_graph(self.run.graph)
        split, config = self.data_split, self.config
        with console.status("Factorising the graph to start from"):
            start, tried = find_start(
                data, split.train, split.val, config.model, config.start, telling(say)
            )
        start.save(self.run.start)
        return {"chosen": chosen_of(tried), "tried": tried}

    def train(self) -> list[dict[str, float]]:
        """``checkpoints/best`` and ``checkpoints/last``."""
        return train(
            PlaylistTraining(self.training_inputs, self.config.model, self.config.training),
            self.run.checkpoints,
            self.config.cluster,
            self.callbacks,
        )

    def mix(self) -> Mixed:
        """``item_item.npz``: the item-item term, its strength chosen on validation."""
        split, config = self.data_split, self.config.item_item
        with console.status("Fitting the item-item term"):
            items, tried = choose_item_item(
                self.gat.score, split.train, split.val, split.n_tracks, config
            )
        if items is not None:
            with replaced_file(self.run.item_item) as partial:
                sparse.save_npz(partial, items, compressed=False)
        chosen = max(tried, key=lambda each: each[MONITOR]) if tried else None
        return {"used": items is not None, "chosen": chosen, "tried": tried}

    def rescore(self) -> Rescored:
        """``second_stage/``: what scores the first stage's candidates anew, if that is better."""
        split, config = self.data_split, self.config.second_stage
        with console.status("Counting pairs of tracks"):
            pairs = count_pairs(split.train, split.n_tracks, split.ordered, config.neighbours)
        with console.status("Fitting the second stage"):
            stage, found = fit_second_stage(
                self.mixed.score, self.mixed.track_features(pairs), split, config, telling(say)
            )
        if stage is None:
            return {"shape": None, "features": [], **found}
        with replaced_folder(self.run.second_stage) as partial:
            for name, array in stage.arrays().items():
                np.save(partial / f"{name}.npy", array, allow_pickle=False)
        return {
            "shape": stage.shape._asdict(), "features": list(stage.tracks.names), **found,
        }  # fmt: skip

    def compare_titles(self) -> Titles:
        """Choose on validation how titles are compared."""
        split = self.data_split
        with console.status("Comparing titles"):
            titles, found = choose_titles(
                self.titles,
                split.train,
                split.val,
                self.gat.playlist_vectors(split.train),
                self.gat.encoded,
                self.config.titles,
            )
        return {"chosen": vars(titles.settings) if titles else None, **found}

    def evaluate(self) -> Evaluated:
        """``predictions.parquet``, and the figures of the report; prints the leaderboard."""
        seconds = self.run.seconds["train"]
        baselines = Baselines(self.run.out, self.config.evaluation)
        baselines.start()
        ours, found = measure_run(
            self.config,
            self.recommender,
            self.data_split,
            self.facts,
            self.titles,
            seconds,
            lambda: baselines.rows(telling(say)),
        )
        assert ours.predictions is not None
        assert ours.scores is not None
        save_predictions(self.run.predictions, ours.predictions, ours.scores)
        return {**found, "fingerprints": {"predictions": fingerprint(self.run.predictions)}}

    def report(self, results: Results) -> Tree:
        """What ``report.json`` says of playlists."""
        return {
            "mode": self.config.mode,
            "data": {
                **results["prepare"],
                "split": results["split"],
                "genres": results["genres"],
                "graph": results["graph"],
                "fingerprint": results["bundle"]["data_fingerprint"],
            },
            "start": results["start"],
            "epochs": results["train"],
            "served": self.served,
            "item_item": results["item_item"],
            "titles": results["titles"],
            "second_stage": results["second_stage"],
            **results["evaluate"],
            "in_words": findings_in_words(results["evaluate"], self.config.evaluation),
        }

    def draw(self, report: Tree) -> None:
        """``report.png``, and ``breakdown.png`` where there are groups."""
        plot_report(report, PlaylistRecommender.name, self.run.picture)
        if report["breakdown"]:
            plot_breakdown(report["breakdown"], self.run.breakdown_picture)


def _tell_served(pipeline: PlaylistPipeline, history: list[dict[str, float]]) -> None:
    say(pipeline.served["in_words"])


def _tell_rescored(pipeline: PlaylistPipeline, found: Rescored) -> None:
    alone = found["first_stage"]
    if not found["used"] or alone is None:
        say(f"Second stage: not used; {found['why']}")
        return
    best = max(found["epochs"], key=lambda each: sum(each.values()))
    figures = " and ".join(
        f"{name} {best[key]:.4f} after {alone[key]:.4f}"
        for key, name in ((MONITOR, "recall@10"), ("val_ndcg@10", "NDCG@10"))
    )
    say(f"Second stage: {figures}, on {found['chosen_by']:,} playlists that it was chosen by")


def _tell_split(pipeline: PlaylistPipeline, found: HeldOut) -> None:
    order = found["order"]
    assert order is not None  # names were given
    say(
        f"Holdout: {found['strategy']} (neighbours in alphabetical order: "
        f"{order['share']:.0%}, by chance {order['expected']:.0%})"
    )


def _tell_genres(pipeline: PlaylistPipeline, counts: Genres) -> None:
    found = f"{counts['genres']:,}, of {counts['artists_with_genres']:,} artists"
    if counts["source"] == "file":
        found += (
            f"; of the file's {counts['rows']:,} rows {counts['rejected']:,} can't be used and "
            f"{counts['unknown_artist_rows']:,} name artists that no playlist has"
        )
    console.print(f"Genres: {found}", highlight=False)


TABLES_AND_SPLIT = ("prepare", "split")
STAGES: tuple[Stage[PlaylistPipeline], ...] = (
    Stage(
        "prepare", Part.DATA, PlaylistPipeline.read,
        keys=("inputs", "data"), writes=("tables",), tell=tell_counts,
    ),
    Stage(
        "split", Part.DATA, PlaylistPipeline.hold_out,
        reads=("prepare",), keys=("holdout",), writes=("split.parquet",), tell=_tell_split,
    ),
    Stage(
        "genres", Part.GROUND, PlaylistPipeline.find_genres,
        reads=TABLES_AND_SPLIT, keys=("genres",),
        writes=("tables/genres.parquet", "tables/artist_genres.parquet", "tables/rejects.parquet"),
        tell=_tell_genres,
    ),
    Stage(
        "graph", Part.GROUND, PlaylistPipeline.build,
        reads=(*TABLES_AND_SPLIT, "genres"), keys=("graph",), writes=("graph",), tell=tell_graph,
    ),
    Stage(
        "start", Part.GROUND, PlaylistPipeline.begin,
        reads=("split", "graph"), keys=("start", "model.embedding_dim", "model.temperature"),
        writes=("start",),
    ),
    Stage(
        "train", Part.LEARNING, PlaylistPipeline.train,
        reads=("split", "graph", "start"), keys=("model", "training"), writes=("checkpoints/best",),
        tell=_tell_served,
    ),
    Stage(
        "item_item", Part.LEARNING, PlaylistPipeline.mix,
        reads=("split", "train"), keys=("item_item",),
    ),
    Stage(
        "second_stage", Part.LEARNING, PlaylistPipeline.rescore,
        reads=("split", "train", "item_item"), keys=("second_stage",), tell=_tell_rescored,
    ),
    Stage(
        "titles", Part.RESULT, PlaylistPipeline.compare_titles,
        reads=(*TABLES_AND_SPLIT, "train"), keys=("titles",),
    ),
    Stage(
        "evaluate", Part.RESULT, PlaylistPipeline.evaluate,
        reads=(*TABLES_AND_SPLIT, "train", "item_item", "second_stage", "titles"),
        keys=("evaluation", "cold_start"), writes=("predictions.parquet",),
    ),
    Stage(
        "bundle", Part.RESULT, PlaylistPipeline.publish,
        reads=("train", "item_item", "second_stage", "titles", "evaluate"), writes=("bundle",),
    ),
)  # fmt: skip
