"""The files of a run that a training of PlaylistGAT opens, on whichever machine it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from spotify_engine.dotted import Tree
from spotify_engine.evaluation.splits import load_split
from spotify_engine.learning.trainers.base import load_state
from spotify_engine.pipelines import MONITOR
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.graph import load_graph
from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
from spotify_engine.playlists.model.start import Start
from spotify_engine.playlists.training import PlaylistTrainer, TrainingConfig


@dataclass(frozen=True)
class TrainingInputs:
    """The files that workers open themselves: paths that every machine of the cluster can read."""

    graph: Path
    split: Path
    start: Path

    def open(self, model: PlaylistGATConfig, training: TrainingConfig) -> PlaylistTrainer:
        """A trainer of a new network on these files."""
        data, _ = load_graph(self.graph)
        shape = GraphShape.of(data)
        split = load_split(self.split, shape.nodes["track"], shape.nodes["playlist"])
        torch.manual_seed(training.seed)
        network = PlaylistGAT(shape, model)
        Start.load(self.start).apply(network)
        return PlaylistTrainer(network, data, split.train, split.val, training)


@dataclass(frozen=True)
class PlaylistTraining:
    """Training of PlaylistGAT."""

    inputs: TrainingInputs
    model: PlaylistGATConfig
    training: TrainingConfig
    monitor: str = MONITOR

    @property
    def settings(self) -> Tree:
        """The settings of network and training, as plain values."""
        return {
            "model": self.model.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
        }

    def open(self) -> PlaylistTrainer:
        """The trainer, at its start."""
        return self.inputs.open(self.model, self.training)


def load_best(inputs: TrainingInputs, checkpoints: Path, model: PlaylistGATConfig) -> PlaylistGAT:
    """The model of the best checkpoint."""
    data, _ = load_graph(inputs.graph)
    trained = PlaylistGAT(GraphShape.of(data), model)
    trained.load_state_dict(load_state(checkpoints / "best")["model"])
    return trained
