import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spotify_engine.learning.exchange import sum_gradients

SCRIPT = Path(__file__).with_name("exchange_worker.py")
_spec = importlib.util.spec_from_file_location("exchange_worker", SCRIPT)
worker = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(worker)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two real processes had after each scene, by rank."""
    folder = tmp_path_factory.mktemp("exchange")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), folder],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=90)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"found{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("scene", range(len(worker.SCENES)))
def test_summed_gradients_are_those_of_the_whole_batch(found, scene):
    ours, theirs = worker.SCENES[scene]
    model = worker.build()
    if ours + theirs:
        worker.backward(model, ours + theirs)
    for rank in range(2):
        for name, expected in worker.gradients(model).items():
            summed = found[rank][scene][name]
            if name.startswith("frozen"):
                assert summed is None
            elif expected is None:
                assert (summed == 0).all(), "nobody had work"
            else:
                torch.testing.assert_close(summed, expected)


@pytest.mark.parametrize("scene", range(len(worker.SCENES)))
def test_embeddings_travel_as_the_rows_touched(found, scene):
    ours, theirs = worker.SCENES[scene]
    for rank in range(2):
        assert found[rank][scene]["is_sparse"]
        assert found[rank][scene]["rows"] == len({*ours, *theirs})
        # Of each table: how many rows, their ids, their values; the longer list sets the size.
        longest = max(len({*ours}), len({*theirs}))
        rows = (1 + longest * (1 + worker.WIDTH)) + (1 + longest * (1 + 1))
        layer = 4 * worker.WIDTH + 4
        assert found[rank][scene]["sent"] == {"all_gather": rows, "all_reduce": layer}


def test_all_workers_stop_after_the_same_epoch(found):
    for rank in range(2):
        assert found[rank][-1]["best"] == [True, True, False, False]


def test_one_worker_alone_is_left_as_it_is():
    model = worker.build()
    worker.backward(model, [1, 2])
    before = worker.gradients(model)
    sum_gradients(model)
    for name, gradient in worker.gradients(model).items():
        assert (gradient is None) == (before[name] is None)
        assert gradient is None or torch.equal(gradient, before[name])
