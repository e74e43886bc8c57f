"""A search over a few keys of the playlist job, and trials of it that nobody ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.runtime.tune.searched import scope_of
from spotify_engine.tuning.space import SearchConfig, Space
from spotify_engine.tuning.trials import Trial

MakeSpace = Callable[..., Space]
SPACE = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "training.negatives": {"low": 512, "high": 4096},
    "model.seed_dropout": [0.5, 0.7, 0.8],
    "model.layers": [[256], [128]],
}


@pytest.fixture
def make_space() -> MakeSpace:
    """Makes a space of the playlist job; random search of 20 trials where nothing else is said."""

    def make(space: dict[str, Any] | None = None, **settings: Any) -> Space:
        said = {"method": "random", "trials": 20, "space": space or SPACE} | settings
        if said["method"] == "grid":
            del said["trials"]
        config = SearchConfig.model_validate(said)
        base = KaggleJob(mode="mini")
        return Space(config, base, scope_of("playlists", base))

    return make


@pytest.fixture
def trials() -> list[Trial]:
    """The default, two that ran to their end, a stopped and a failed one."""
    epochs = [{"epoch": 0.0, "val_recall@10": 0.1, "train_seconds": 2.0}]
    values = {"training.learning_rate": 0.001, "training.negatives": 1000,
              "model.seed_dropout": 0.5, "model.layers": [128]}  # fmt: skip
    return [
        Trial(0, {}, "done", 0.150, 20.0, 40.0, 40.0, epochs),
        Trial(1, values, "done", 0.165, 30.0, 50.0, 90.0, epochs),
        Trial(2, {**values, "model.seed_dropout": 0.8}, "done", 0.160, 10.0, 30.0, 95.0, epochs),
        Trial(3, {**values, "training.negatives": 600}, "stopped", 0.170, 5.0, 9.0, 99.0, epochs),
        Trial(4, values, "failed", None, None, 3.0, 101.0, [], "RuntimeError: <boom>"),
    ]
