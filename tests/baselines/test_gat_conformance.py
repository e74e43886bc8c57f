"""The model does what every scorer must do."""

import numpy as np
import pyarrow as pa
import torch

from spotify_engine.baselines.scorer import Scorer
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.graph import GraphConfig, build_graph
from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
from spotify_engine.playlists.model.start import StartConfig, find_start
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.playlists.schema import TABLES
from spotify_engine.playlists.training import PlaylistTrainer, TrainingConfig

MODEL = PlaylistGATConfig(
    embedding_dim=8, layers=(8, 8), heads=(2, 2), dropout=0.0, seed_dropout=0.0
)
START = StartConfig(regularisation=(0.03,), unobserved=(5.0,))
TRAINING = TrainingConfig(
    epochs=8,
    min_steps_per_epoch=40,
    batch_size=60,
    negatives=24,
    fanouts=(3, 3),
)


class TrainedGAT:
    """Playlists alone: no audio, artists or genres."""

    name = PlaylistRecommender.name

    def fit(self, train, n_tracks):
        tables = {name: schema.empty_table() for name, schema in TABLES.items()}
        track = np.arange(n_tracks)
        names = [str(i) for i in track]
        columns = {
            "track": track,
            "id": names,
            "name": names,
            "artist": track,
            "artist_name": names,
        }
        tables["tracks"] = pa.table(
            [
                pa.array(columns[field.name], field.type)
                if field.name in columns
                else pa.nulls(n_tracks, field.type)
                for field in TABLES["tracks"]
            ],
            schema=TABLES["tracks"],
        )
        tables["artists"] = pa.table(
            {"artist": pa.array(track, pa.int32()), "name": names, "n_tracks": track}
        )
        data, scale = build_graph(tables, train, GraphConfig())
        torch.manual_seed(0)
        model = PlaylistGAT(GraphShape.of(data), MODEL)
        # A last train track a playlist stands in for a validation part.
        val = train.filter(np.arange(len(train.values)) == train.offsets[1:][train.rows] - 1)
        start, _ = find_start(data, train, val, MODEL, START)
        start.apply(model)
        PlaylistTrainer(model, data, train, val, TRAINING).fit(lambda report: None)
        self.trained = PlaylistRecommender.from_training(model, data, tables, scale, train)
        return self

    def score(self, seeds):
        return self.trained.score(seeds)


def test_gat_conforms(conformance_check):
    assert isinstance(TrainedGAT(), Scorer)
    conformance_check(TrainedGAT)
