"""The playlist job, stage by stage: tables, split, genres, graph, training, bundle, report."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Column, Table
from scipy import sparse

from spotify_engine import __version__
from spotify_engine.config import KaggleJob
from spotify_engine.dotted import flatten
from spotify_engine.errors import InputError
from spotify_engine.evaluation.challenge_report import plot_breakdown
from spotify_engine.evaluation.figures import plot_report
from spotify_engine.evaluation.leaderboard import Catalogue
from spotify_engine.evaluation.ranking import save_predictions
from spotify_engine.evaluation.splits import Split, load_split, make_split, save_split
from spotify_engine.graphs import render_summary, summary
from spotify_engine.playlists.genre_vocabulary import load_vocabulary
from spotify_engine.playlists.genres import mine_artist_genres, read_artist_genres
from spotify_engine.playlists.graph import (
    build_graph,
    load_graph,
    save_graph,
)
from spotify_engine.playlists.hybrid import choose_item_item
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.playlists.schema import TABLES
from spotify_engine.playlists.start import find_start
from spotify_engine.playlists.titles import TitleModel, TitleSettings, choose_titles
from spotify_engine.ragged import Ragged
from spotify_engine.runtime.etl import prepare_tables
from spotify_engine.runtime.measuring import measure_run, track_catalogue
from spotify_engine.runtime.recording import record_report, recorded
from spotify_engine.runtime.run import Run, console
from spotify_engine.runtime.train import (
    EPOCHS,
    PlaylistTraining,
    TrainingInputs,
    load_best,
    train,
)
from spotify_engine.store.files import write_text


class PlaylistPipeline:
    """Runs the stages of one run directory; those that are done are read back instead."""

    def __init__(self, run: Run[KaggleJob]) -> None:
        self.run, self.config = run, run.config

    def prepare(self) -> dict[str, Any]:
        """Both CSV files to ``tables/``."""
        inputs = self.config.inputs
        counts: dict[str, Any] = self.run.stage(
            "prepare",
            lambda: prepare_tables(
                inputs.playlists, inputs.features, self.run.tables, self.config.data
            ),
        )
        console.print(render_counts(counts))
        return counts

    def hold_out(self) -> dict[str, Any]:
        """``split.parquet``: decided here, and nowhere else."""

        def work() -> dict[str, Any]:
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

        found: dict[str, Any] = self.run.stage("split", work)
        order = found["order"]
        console.print(
            f"Holdout: {found['strategy']} (neighbours in alphabetical order: "
            f"{order['share']:.0%}, by chance {order['expected']:.0%})"
        )
        return found

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

    def find_genres(self) -> dict[str, Any]:
        """``tables/genres`` and ``artist_genres``, from the file or from training titles."""

        def work() -> dict[str, Any]:
            if self.config.inputs.genres:
                found = read_artist_genres(
                    self.config.inputs.genres, self.table("artists"), self.config.genres
                )
                genres, artist_genres = found.genres, found.artist_genres
                rejects = pa.concat_tables([self.table("rejects"), found.rejects])
                self.write_table("rejects", rejects)
                counts: dict[str, Any] = {"source": "file", **found.counts}
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

        counts: dict[str, Any] = self.run.stage("genres", work)
        return counts

    def build(self) -> dict[str, Any]:
        """``graph/``: features and edges as arrays that workers map."""

        def work() -> dict[str, Any]:
            data, scale = build_graph(self.tables, self.data_split.train, self.config.graph)
            save_graph(data, scale, self.run.graph)
            return summary(data)

        counts: dict[str, Any] = self.run.stage("graph", work)
        console.print(render_summary(counts))
        return counts

    def begin(self) -> dict[str, Any]:
        """``start/``: what the model's parameters begin as, chosen on validation."""

        def work() -> dict[str, Any]:
            data, _ = load_graph(self.run.graph)
            split, config = self.data_split, self.config
            with console.status("Factorising the graph to start from"):
                start, tried = find_start(data, split.train, split.val, config.model, config.start)
            start.save(self.run.start)
            chosen = max(tried, key=lambda each: each["val_recall@10"])
            return {"chosen": chosen, "tried": tried}

        found: dict[str, Any] = self.run.stage("start", work)
        return found

    def train(self) -> list[dict[str, float]]:
        """``checkpoints/best`` and ``checkpoints/last``."""
        history: list[dict[str, float]] = self.run.stage(
            "train",
            lambda: train(
                PlaylistTraining(self.training_inputs, self.config.model, self.config.training),
                self.run.checkpoints,
                self.config.cluster,
            ),
        )
        return history

    def mix(self) -> dict[str, Any]:
        """``item_item.npz``: the item-item term, its strength chosen on validation."""

        def work() -> dict[str, Any]:
            split, config = self.data_split, self.config.item_item
            with console.status("Fitting the item-item term"):
                items, tried = choose_item_item(
                    self.gat.score, split.train, split.val, split.n_tracks, config
                )
            if items is not None:
                partial = self.run.item_item.with_suffix(".partial.npz")
                sparse.save_npz(partial, items, compressed=False)
                partial.replace(self.run.item_item)
            chosen = max(tried, key=lambda each: each["val_recall@10"]) if tried else None
            return {"used": items is not None, "chosen": chosen, "tried": tried}

        found: dict[str, Any] = self.run.stage("item_item", work)
        return found

    def compare_titles(self) -> dict[str, Any]:
        """How titles are compared, chosen on validation."""

        def work() -> dict[str, Any]:
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

        found: dict[str, Any] = self.run.stage("titles", work)
        return found

    def evaluate(self) -> dict[str, Any]:
        """``predictions.parquet``, ``bundle/`` and ``report.json``; prints the leaderboard."""

        def work() -> dict[str, Any]:
            seconds = self.run.seconds["train"]
            ours, found = measure_run(
                self.config,
                self.recommender,
                self.gat,
                self.data_split,
                self.catalogue,
                self.titles,
                seconds,
            )
            assert ours.predictions is not None
            assert ours.scores is not None
            save_predictions(self.run.predictions, ours.predictions, ours.scores)
            return found

        found: dict[str, Any] = self.run.stage("evaluate", work)
        return found

    def publish(self) -> None:
        """``bundle/``: the trained version, enough to serve."""

        def work() -> dict[str, Any]:
            found = self.run.stages["evaluate"]["result"]
            manifest = {
                "release": __version__,
                "config": self.config.model_dump(mode="json"),
                "data_fingerprint": self.fingerprint,
                "metrics": found["metrics"],
            }
            self.recommender.save(self.run.bundle, manifest)
            return {"data_fingerprint": self.fingerprint}

        # Killed between a bundle's two renames, a run is left without any.
        self.run.redo_without("bundle", self.run.bundle)
        self.run.stage("bundle", work)

    def report(self) -> dict[str, Any]:
        """``report.json``: everything the stages found; ``report.png``: the gist of it."""
        results = {name: stage["result"] for name, stage in self.run.stages.items()}
        content = {
            "release": __version__,
            "mode": self.config.mode,
            "config": self.config.model_dump(mode="json"),
            "data": {
                **results["prepare"],
                "split": results["split"],
                "genres": results["genres"],
                "graph": results["graph"],
                "fingerprint": results["bundle"]["data_fingerprint"],
            },
            "seconds": self.run.seconds,
            "start": results["start"],
            "epochs": results["train"],
            "item_item": results["item_item"],
            "titles": results["titles"],
            **results["evaluate"],
        }
        write_text(self.run.report, json.dumps(content, indent=2))
        plot_report(content, PlaylistRecommender.name, self.run.picture)
        if content["breakdown"]:
            plot_breakdown(content["breakdown"], self.run.breakdown_picture)
        return content

    @cached_property
    def recommender(self) -> PlaylistRecommender:
        """The best checkpoint with its item-item term and titles, if it has them."""
        found, train = self.gat, self.data_split.train
        if self.run.stages["item_item"]["result"]["used"]:
            found = found.with_items(sparse.load_npz(self.run.item_item))
        if chosen := self.run.stages["titles"]["result"]["chosen"]:
            vectors = found.playlist_vectors(train)
            settings = TitleSettings(**chosen)
            found = found.with_titles(TitleModel.fit(self.titles, train, vectors, settings))
        return found

    @cached_property
    def gat(self) -> PlaylistRecommender:
        """The best checkpoint alone, encoded over the whole graph once."""
        data, scale = load_graph(self.run.graph)
        model = load_best(self.training_inputs, self.run.checkpoints, self.config.model)
        return PlaylistRecommender.from_training(
            model, data, self.tables, scale, self.data_split.train
        )

    @property
    def training_inputs(self) -> TrainingInputs:
        return TrainingInputs(
            self.run.graph.resolve(), self.run.split.resolve(), self.run.start.resolve()
        )

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        return {name: self.table(name) for name in TABLES}

    @cached_property
    def data_split(self) -> Split:
        return load_split(self.run.split, len(self.table("tracks")), self.n_playlists)

    @cached_property
    def titles(self) -> list[str]:
        """Of the playlists; empty for one without a name."""
        return [title or "" for title in self.table("playlists")["name"].to_pylist()]

    @cached_property
    def catalogue(self) -> Catalogue:
        return track_catalogue(self.tables)

    @property
    def n_playlists(self) -> int:
        return len(self.table("playlists"))

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 over tables and split: equal data, equal fingerprint."""
        digest = hashlib.sha256()
        for path in [*sorted(self.run.tables.glob("*.parquet")), self.run.split]:
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def table(self, name: str) -> pa.Table:
        return pq.read_table(self.run.tables / f"{name}.parquet")

    def write_table(self, name: str, table: pa.Table) -> None:
        path = self.run.tables / f"{name}.parquet"
        partial = path.with_suffix(".partial")
        pq.write_table(table, partial, compression="zstd")
        partial.replace(path)


def run_all(run: Run[KaggleJob]) -> dict[str, Any]:
    """All stages in order; returns the report."""
    pipeline = PlaylistPipeline(run)
    pipeline.prepare()
    with recorded(run, "playlists") as record:
        record.follow(run.checkpoints / EPOCHS)
        pipeline.hold_out()
        pipeline.find_genres()
        pipeline.build()
        pipeline.begin()
        pipeline.train()
        pipeline.mix()
        pipeline.compare_titles()
        pipeline.evaluate()
        pipeline.publish()
        report = pipeline.report()
        record_report(run, record, report)
    return report


def render_counts(counts: dict[str, Any]) -> Table:
    """What preparing the tables read, left out and kept."""
    table = Table("what", Column("count", justify="right"), title="Data")
    for name, value in flatten(counts).items():
        # What did not occur is in the report; here it would bury what did.
        if value and not name.startswith("seconds."):
            text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
            table.add_row(name.replace("_", " ").replace(".", ", "), text)
    return table
