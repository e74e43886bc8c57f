"""The shipped recommender on rows and items alone: no audio, artists, genres or titles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from scipy import sparse
from torch_geometric.data import HeteroData

from spotify_engine.baselines.scorer import Scorer
from spotify_engine.learning.item_item import ItemItemConfig, add_item_item_scores
from spotify_engine.learning.trainers.base import EpochReport
from spotify_engine.playlists.model.encoding import (
    EncodedTracks,
    encode_tracks,
    fold_in,
    score_tracks,
)
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.graph import playlist_features
from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
from spotify_engine.playlists.model.start import StartConfig, chosen_of, find_start
from spotify_engine.playlists.recommend.item_item_choice import choose_item_item
from spotify_engine.playlists.schema import CONTAINS, IN, PLAYLIST, TRACK
from spotify_engine.playlists.training import PlaylistTrainer, TrainingConfig
from spotify_engine.ragged import Ragged

MODEL = PlaylistGATConfig()
TRAINING = TrainingConfig(epochs=16, min_steps_per_epoch=50, batch_size=256)


class Chosen(BaseModel):
    """What validation chose, and where it stood there."""

    regularisation: float
    unobserved: float
    popularity: float
    epochs: int
    ridge: float
    weight: float


class PublishedRecommender(Scorer):
    """PlaylistGAT and, where ``items`` are given, the item-item term."""

    name = "playlist-gat"

    def __init__(
        self, model: PlaylistGAT, encoded: EncodedTracks, items: sparse.csr_array | None
    ) -> None:
        self.model, self.encoded, self.items = model, encoded, items
        self.config: BaseModel = model.config

    def fit(self, train: Ragged, n_tracks: int) -> PublishedRecommender:
        raise TypeError("made fitted, by recommender()")

    def score(self, seeds: Ragged) -> np.ndarray:
        p, _ = fold_in(self.model, self.encoded.folds, seeds, playlist_features(seeds, None))
        scores = score_tracks(p, self.encoded)
        if self.items is not None:
            add_item_item_scores(scores, self.items, seeds)
        return scores


def recommender(train: Ragged, val: Ragged, both: Ragged, n_items: int) -> Scorer:
    """Choose start, epochs and item-item term on val, then learn from both parts the same way."""
    whole = StartConfig()
    first, tried = find_start(_graph(train, n_items), train, val, MODEL, whole)
    best = chosen_of(tried)
    reports: list[EpochReport] = []
    model, states = _begin(_graph(train, n_items), first), {}
    trainer = PlaylistTrainer(model, _graph(train, n_items), train, val, TRAINING)

    def keep_best(report: EpochReport) -> None:
        reports.append(report)
        print(f"    epoch {report.epoch + 1}: {report.metrics}", flush=True)
        if report.best:
            states.update({k: v.clone() for k, v in model.state_dict().items()})

    trainer.fit(keep_best)
    epochs = trainer.stopping.best_epoch + 1
    model.load_state_dict(states)
    alone = PublishedRecommender(model, encode_tracks(model, trainer.data), None)
    _, mixes = choose_item_item(alone.score, train, val, n_items, ItemItemConfig())
    mix = max(mixes, key=lambda each: each["val_recall@10"])
    chosen = Chosen(
        **{name: best[name] for name in ("regularisation", "unobserved", "popularity")},
        epochs=epochs, ridge=mix["regularisation"], weight=mix["weight"],
    )  # fmt: skip
    print(f"    on val {best['val_recall@10']:.4f} at the start, {mix['val_recall@10']:.4f} mixed")

    data = _graph(both, n_items)
    settings: dict[str, Any] = {
        "regularisation": (chosen.regularisation,),
        "unobserved": (chosen.unobserved,),
        "popularity": (chosen.popularity,),
    }
    start, _ = find_start(data, both, val, MODEL, StartConfig(**settings))
    model = _begin(data, start)
    again = PlaylistTrainer(model, data, both, val, TRAINING)
    for epoch in range(chosen.epochs):
        again.train_epoch(epoch)
    fitted = PublishedRecommender(model, encode_tracks(model, data), None)
    only = ItemItemConfig(regularisation=(chosen.ridge,), weights=(chosen.weight,))
    fitted.items, _ = choose_item_item(fitted.score, both, val, n_items, only)
    fitted.config = chosen
    return fitted


def _begin(data: HeteroData, start: Any) -> PlaylistGAT:
    torch.manual_seed(0)
    model = PlaylistGAT(GraphShape.of(data), MODEL)
    start.apply(model)
    return model


def _graph(lists: Ragged, n_items: int) -> HeteroData:
    data = HeteroData()
    data[PLAYLIST].x = torch.from_numpy(playlist_features(lists, None))
    data[TRACK].x = torch.zeros(n_items, 0)
    data[PLAYLIST].num_nodes, data[TRACK].num_nodes = len(lists), n_items
    edges = torch.from_numpy(np.stack([lists.rows, lists.values]).astype(np.int64))
    data[CONTAINS].edge_index, data[IN].edge_index = edges, edges.flip(0).contiguous()
    return data
