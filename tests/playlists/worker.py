"""One of several workers of test_workers.py: a process of its own that trains in each scene."""

import sys
from pathlib import Path

import torch
from torch import distributed as dist

from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.network import GraphShape
from spotify_engine.playlists.training import PlaylistTrainer


def train(scene):
    """(weights, history, which reports were the best) of a training of its own."""
    data, train, val, model, training = scene
    torch.manual_seed(0)
    gat = PlaylistGAT(GraphShape.of(data), model)
    trainer = PlaylistTrainer(gat, data, train, val, training)
    best = []
    trainer.fit(lambda report: best.append(report.best))
    return gat.state_dict(), trainer.history, best


def main(rank, size, folder):
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
    scenes = torch.load(folder / "scenes.pt", weights_only=False)
    found = {name: train(scene) for name, scene in scenes.items()}
    torch.save(found, folder / f"found{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
