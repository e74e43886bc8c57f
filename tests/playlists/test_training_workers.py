"""Several workers, as real processes, learn what one worker alone does."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spotify_engine.ragged import Ragged

SCRIPT = Path(__file__).with_name("worker.py")
_spec = importlib.util.spec_from_file_location("trainer_worker", SCRIPT)
worker = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(worker)

# All that is drawn at random but dropout: neighbours, tracks seen without their embedding, masks,
# negatives. Batches of 13, 13, 13 and 1: in the last one somebody has nothing to do.
DRAWN = {"fanouts": (2, 2, 2), "forget": 0.2, "forget_rare": 1.0, "negatives": 8}
UNEVEN = DRAWN | {"batch_size": 13, "min_steps_per_epoch": 4, "epochs": 2}
SCENES = {
    "softmax": ({}, UNEVEN),
    "bpr": ({}, UNEVEN | {"loss": "bpr"}),
    "one layer": ({"layers": (8,), "heads": (2,)}, UNEVEN | {"fanouts": (2,)}),
    "one playlist": ({}, UNEVEN),
    "no playlist": ({}, UNEVEN),
    "dropout": ({"dropout": 0.2, "seed_dropout": 0.5}, UNEVEN),
}
KEPT = {"one playlist": 1, "no playlist": 0}
SIZE = 2


@pytest.fixture(scope="module")
def scenes(world, make_trainer):
    def inputs(name):
        model, training = SCENES[name]
        ours = world
        if name in KEPT:
            # The other playlists have a single track left: nothing to predict.
            lists = [row[: 7 if i < KEPT[name] else 1] for i, row in enumerate(world.train)]
            ours = replace(world, train=Ragged.from_lists(lists))
        made = make_trainer(ours, model=model, **training)
        return made.data, made.train, made.val, made.model.config, made.config

    return {name: inputs(name) for name in SCENES}


@pytest.fixture(scope="module")
def found(scenes, tmp_path_factory):
    """What each worker had in the end, by rank."""
    folder = tmp_path_factory.mktemp("workers")
    torch.save(scenes, folder / "scenes.pt")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), str(SIZE), folder],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(SIZE)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"found{rank}.pt", weights_only=False) for rank in range(SIZE)]


@pytest.mark.parametrize("name", SCENES)
def test_workers_hold_the_same_weights_and_agree_on_the_best(found, name):
    first, *others = (each[name] for each in found)
    for other in others:
        assert other[2] == first[2]
        for parameter, weight in first[0].items():
            assert torch.equal(other[0][parameter], weight), parameter


@pytest.mark.parametrize("name", [name for name in SCENES if name != "dropout"])
def test_several_workers_learn_what_one_does(found, scenes, name):
    weights, history, best = worker.train(scenes[name])
    ours, our_history, our_best = found[0][name]
    for parameter, weight in weights.items():
        # A query adds the same to all logits of a node, which attention does not feel until one
        # changes its sign: its gradient is mostly rounding, which Adam makes as large as any.
        if not parameter.endswith("query.weight"):
            torch.testing.assert_close(
                ours[parameter], weight, rtol=1e-3, atol=1e-5, msg=lambda m, p=parameter: p + m
            )
    assert our_best == best
    for epoch, expected in zip(our_history, history, strict=True):
        for metric in ("loss", "val_recall@10", "val_loss"):
            # As close as the weights: how far such queries go differs between processors, too.
            assert epoch[metric] == pytest.approx(expected[metric], rel=1e-3), metric
