"""The playlist job, stage by stage: tables, split, genres, graph, training, bundle, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from ray.train import UserCallback
from scipy import sparse

from spotify_engine import __version__
from spotify_engine.config import KaggleJob
from spotify_engine.console import console, say
from spotify_engine.errors import InputError
from spotify_engine.evaluation.challenge_report import plot_breakdown
from spotify_engine.evaluation.figures import plot_report
from spotify_engine.evaluation.fingerprint import fingerprint
from spotify_engine.evaluation.ranking import save_predictions
from spotify_engine.evaluation.splits import Split, make_split, save_split
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
from spotify_engine.playlists.start import find_start
from spotify_engine.playlists.titles import choose_titles
from spotify_engine.ragged import Ragged
from spotify_engine.runtime.etl import prepare_tables, render_counts
from spotify_engine.runtime.kaggle_files import PlaylistFiles
from spotify_engine.runtime.measuring import measure_run
from spotify_engine.runtime.recording import record_report, recorded
from spotify_engine.runtime.run import Run
from spotify_engine.runtime.train import (
    EPOCHS,
    PlaylistTraining,
    train,
)
from spotify_engine.store.files import write_text
from spotify_engine.store.invented import is_invented
from spotify_engine.strict_json import to_json


class PlaylistPipeline(PlaylistFiles):
    """Runs the stages of one run directory; those that are done are read back instead."""

    def __init__(self, run: Run[KaggleJob], callbacks: Sequence[UserCallback] = ()) -> None:
        """
        Args:
            callbacks: told of each epoch's metrics in training.
        """
        super().__init__(run)
        self.callbacks = callbacks

    def lay_out(self) -> None:
        """From tables to what training begins with."""
        self.hold_out()
        self.find_genres()
        self.build()
        self.begin()

    def learn(self) -> None:
        """To a trained model and its item-item term: all that validation chooses by."""
        self.train()
        self.mix()

    def conclude(self) -> dict[str, Any]:
        """From a trained model to bundle and report: ranks the test part."""
        self.compare_titles()
        self.evaluate()
        self.publish()
        return self.report()

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
        say(
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
                    self.config.inputs.genres,
                    self.table("artists"),
                    self.config.genres,
                    self.config.data.max_reject_ratio,
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
        found = f"{counts['genres']:,}, of {counts['artists_with_genres']:,} artists"
        if counts["source"] == "file":
            found += (
                f"; of the file's {counts['rows']:,} rows {counts['rejected']:,} can't be used and "
                f"{counts['unknown_artist_rows']:,} name artists that no playlist has"
            )
        console.print(f"Genres: {found}", highlight=False)
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
                self.callbacks,
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
            return {**found, "fingerprints": {"predictions": fingerprint(self.run.predictions)}}

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
                "invented": is_invented(self.config.inputs.model_dump().values()),
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
        write_text(self.run.report, to_json(content))
        plot_report(content, PlaylistRecommender.name, self.run.picture)
        if content["breakdown"]:
            plot_breakdown(content["breakdown"], self.run.breakdown_picture)
        return content


def run_all(run: Run[KaggleJob]) -> dict[str, Any]:
    """All stages in order; returns the report."""
    pipeline = PlaylistPipeline(run)
    pipeline.prepare()
    with recorded(run, "playlists") as record:
        record.follow(run.checkpoints / EPOCHS)
        pipeline.lay_out()
        pipeline.learn()
        report = pipeline.conclude()
        record_report(run, record, report)
    return report
