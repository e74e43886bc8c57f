"""Everything that decides what a run of playlists does."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, model_validator

from spotify_engine.config import JobConfig
from spotify_engine.evaluation.splits import HoldoutConfig
from spotify_engine.learning.item_item import ItemItemConfig
from spotify_engine.playlists.measure.cold_start import ColdStartConfig
from spotify_engine.playlists.measure.leaderboard import EvaluationConfig
from spotify_engine.playlists.model.graph import GraphConfig
from spotify_engine.playlists.model.network import PlaylistGATConfig
from spotify_engine.playlists.model.start import StartConfig
from spotify_engine.playlists.recommend.titles import TitleConfig
from spotify_engine.playlists.second_stage.fit import SecondStageConfig
from spotify_engine.playlists.tables.build import DataConfig
from spotify_engine.playlists.tables.genres import GenreConfig
from spotify_engine.playlists.training import TrainingConfig


class InputsConfig(BaseModel):
    """The data: paths, or URIs that the cluster's nodes can read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    playlists: str = "data/kaggle/spotify_dataset.csv"
    features: str | None = "data/kaggle/tracks_features.csv"
    """None: learn without audio features; needs data.unmatched=keep."""
    genres: str | None = None
    """Optional artist, genre[, count] file; without it genres are mined from playlist titles."""


class KaggleJob(JobConfig):
    """Everything that decides what ``train_kaggle.py`` does."""

    mode: str
    inputs: InputsConfig = InputsConfig()
    data: DataConfig = DataConfig()
    holdout: HoldoutConfig = HoldoutConfig()
    genres: GenreConfig = GenreConfig()
    graph: GraphConfig = GraphConfig()
    model: PlaylistGATConfig = PlaylistGATConfig()
    start: StartConfig = StartConfig()
    training: TrainingConfig = TrainingConfig()
    item_item: ItemItemConfig = ItemItemConfig()
    titles: TitleConfig = TitleConfig()
    second_stage: SecondStageConfig = SecondStageConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    cold_start: ColdStartConfig = ColdStartConfig()

    @model_validator(mode="after")
    def _a_hop_for_each_layer(self) -> KaggleJob:
        hops, layers = len(self.training.fanouts), len(self.model.layers)
        if hops != layers:
            raise ValueError(
                f"training.fanouts has {hops} hops for the {layers} layers of model.layers; "
                "give one number for each layer"
            )
        return self
