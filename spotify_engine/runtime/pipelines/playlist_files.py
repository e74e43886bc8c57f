"""Reading back the files of a playlist run."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from spotify_engine.evaluation.beyond_accuracy import TrackFacts
from spotify_engine.evaluation.splits import Split, load_split
from spotify_engine.learning.trainers.base import load_state
from spotify_engine.pipelines import MONITOR
from spotify_engine.playlists.measure.leaderboard import score_row
from spotify_engine.playlists.model.graph import load_graph
from spotify_engine.playlists.recommend.titles import TitleModel, TitleSettings
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.playlists.schema import TABLES
from spotify_engine.playlists.second_stage.counts import PairCounts
from spotify_engine.playlists.second_stage.stage import HeadShape, SecondStage
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.playlists.training_inputs import TrainingInputs, load_best
from spotify_engine.runtime.pipelines.measuring import track_facts
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.store.atomic import replaced_file


class PlaylistFiles:
    """Tables, split and trained model of a run directory, as far as its stages are done."""

    run: Run[KaggleJob]
    config: KaggleJob

    @cached_property
    def recommender(self) -> PlaylistRecommender:
        """The best checkpoint with item-item term, second stage and titles, if it has them."""
        found, train = self.rescored, self.data_split.train
        if chosen := self.run.stages["titles"]["result"]["chosen"]:
            vectors = found.playlist_vectors(train)
            settings = TitleSettings(**chosen)
            found = found.with_titles(TitleModel.fit(self.titles, train, vectors, settings))
        return found

    @cached_property
    def rescored(self) -> PlaylistRecommender:
        """The first stage with its second one, if it has one."""
        if (shape := self.run.stages["second_stage"]["result"]["shape"]) is None:
            return self.mixed
        arrays = {
            path.stem: np.load(path, mmap_mode="r", allow_pickle=False)
            for path in self.run.second_stage.glob("*.npy")
        }
        tracks = self.mixed.track_features(PairCounts.of_arrays(arrays))
        second = SecondStage.of_arrays(arrays, HeadShape(**shape), tracks)
        return self.mixed.with_second_stage(second)

    @cached_property
    def mixed(self) -> PlaylistRecommender:
        """The best checkpoint with its item-item term, if it has one."""
        if self.run.stages["item_item"]["result"]["used"]:
            return self.gat.with_items(sparse.csr_array(sparse.load_npz(self.run.item_item)))
        return self.gat

    @cached_property
    def gat(self) -> PlaylistRecommender:
        """The best checkpoint alone, encoded over the whole graph once."""
        data, scale = load_graph(self.run.graph)
        model = load_best(self.training_inputs, self.run.checkpoints, self.config.model)
        return PlaylistRecommender.from_training(
            model, data, self.tables, scale, self.data_split.train
        )

    @property
    def quality(self) -> float:
        """Recall@10 of the first stage on validation, with the item-item term as it was chosen.

        The second stage learns from most of that part.
        """
        if chosen := self.run.stages["item_item"]["result"]["chosen"]:
            return float(chosen[MONITOR])
        return float(load_state(self.run.checkpoints / "best")["best"][0])

    def test_recall(self) -> float:
        """Recall@10 on test, as the report has it, without all else that a report measures."""
        settings = self.config.evaluation.model_copy(update={"breakdown": None})
        row = score_row(
            PlaylistRecommender.name, self.rescored.score, self.data_split, self.facts, settings
        )
        recall = row.test["recall@10"]
        assert recall is not None
        return recall

    @property
    def training_inputs(self) -> TrainingInputs:
        """The files that training reads, by absolute paths."""
        return TrainingInputs(
            self.run.graph.resolve(), self.run.split.resolve(), self.run.start.resolve()
        )

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """All tables by name."""
        return {name: self.table(name) for name in TABLES}

    @cached_property
    def data_split(self) -> Split:
        """The split, from its file."""
        return load_split(self.run.split, len(self.table("tracks")), self.n_playlists)

    @cached_property
    def titles(self) -> list[str]:
        """Of the playlists; empty for one without a name."""
        return [title or "" for title in self.table("playlists")["name"].to_pylist()]

    @cached_property
    def facts(self) -> TrackFacts:
        """The facts of tracks that measuring needs."""
        return track_facts(self.tables)

    @property
    def n_playlists(self) -> int:
        """How many playlists there are."""
        return len(self.table("playlists"))

    def table(self, name: str) -> pa.Table:
        """One table, from its file."""
        return pq.read_table(self.run.tables / f"{name}.parquet")

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write one table in one step: killed meanwhile, the old one stays."""
        with replaced_file(self.run.tables / f"{name}.parquet") as partial:
            pq.write_table(table, partial, compression="zstd")
