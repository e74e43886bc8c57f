"""A small trainer, for tests of what it does in a step and over epochs."""

import pytest
import torch

from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
from spotify_engine.playlists.training import PlaylistTrainer, TrainingConfig

MODEL = {
    "embedding_dim": 8,
    "layers": (8, 8, 8),
    "heads": (2, 2, 2),
    "dropout": 0.0,
    "seed_dropout": 0.0,
}
TRAINING = {
    "epochs": 3,
    "batch_size": 16,
    "negatives": 20,
    "fanouts": (-1, -1, -1),
    "warmup_steps": 2,
    "learning_rate": 0.003,
    "embedding_learning_rate": 0.01,
    "forget_rare": 0.0,
    "min_steps_per_epoch": 1,
}


@pytest.fixture(scope="session")
def make_trainer():
    """Makes a seeded trainer of a world; settings lie over small ones that sample everything."""

    def make(world, worker=None, graph=None, model=None, data=None, **training):
        if data is None:
            data, _ = world.graph(**(graph or {}))
        torch.manual_seed(0)
        gat = PlaylistGAT(GraphShape.of(data), PlaylistGATConfig(**(MODEL | (model or {}))))
        config = TrainingConfig(**(TRAINING | training))
        return PlaylistTrainer(gat, data, world.train, world.val, config, worker)

    return make
