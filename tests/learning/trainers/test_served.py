"""Which epoch is served, and whether training helped, as a report and a page say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from spotify_engine.learning.trainers.served import ServedEpoch, served_of
from spotify_engine.pipelines import MONITOR


@pytest.fixture
def checkpoint(tmp_path: Path) -> Any:
    def save(best: float, epoch: int, start: float | None) -> Path:
        torch.save({"best": [best, epoch], "start": start}, tmp_path / "state.pt")
        return tmp_path

    return save


def history(*values: float) -> list[dict[str, float]]:
    return [{"epoch": float(i), MONITOR: value} for i, value in enumerate(values)]


def test_training_that_made_it_worse_is_said_and_the_start_is_served(checkpoint: Any) -> None:
    served = served_of(checkpoint(0.24, -1, 0.24), history(0.2, 0.19))
    assert served == ServedEpoch(0, 2, 0.24, 0.24, 0.2)
    assert served.helped is False
    assert served.in_words == (
        "Served: the model as it began, before training (recall@10 on validation 0.2400); none of "
        "the 2 trained epochs was better (their best 0.2000)."
    )


def test_training_that_helped_names_the_epoch_counting_from_one(checkpoint: Any) -> None:
    served = served_of(checkpoint(0.3, 1, 0.24), history(0.2, 0.3, 0.29))
    assert (served.epoch, served.epochs, served.helped) == (2, 3, True)
    assert "epoch 2 of 3 (recall@10 on validation 0.3000; as it began 0.2400)" in served.in_words


def test_a_start_that_was_not_measured_is_not_claimed_to_be_beaten(checkpoint: Any) -> None:
    served = served_of(checkpoint(0.3, 0, None), history(0.3))
    assert served.helped is None
    assert "as it began" not in served.in_words


def test_where_nothing_was_validated_the_last_epoch_is_served(checkpoint: Any) -> None:
    learned = [{"epoch": float(i), "train_recall@10": 0.9 - 0.1 * i} for i in range(2)]
    served = served_of(checkpoint(0.9, 0, None), learned)
    assert (served.epoch, served.validation) == (2, None)
    assert served.in_words == "Served: epoch 2 of 2; nothing was validated."
