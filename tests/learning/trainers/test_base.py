import math

import pytest
import torch
from torch import nn

from spotify_engine.errors import InputError
from spotify_engine.learning.trainers.base import (
    STATE_FILE,
    BaseTrainer,
    EarlyStopping,
    Worker,
    load_state,
)


class Scripted(BaseTrainer):
    """Validation follows a script; an epoch moves the only weight by one gradient step."""

    def __init__(self, values, patience=2, epochs=None, width=1):
        super().__init__(epochs or len(values), patience, "score")
        self.model = nn.Linear(width, 1, bias=False)
        nn.init.ones_(self.model.weight)
        self.optimizers = [torch.optim.AdamW(self.model.parameters(), 0.1)]
        self.values = values

    def train_epoch(self, epoch):
        self.optimizers[0].zero_grad()
        self.model(torch.ones(1, self.model.in_features) * (epoch + 1)).square().sum().backward()
        self.optimizers[0].step()
        return {"loss": float(epoch)}

    def validate(self):
        return {"score": self.values[self.next_epoch - 1]}


def fit(trainer):
    reports = []
    trainer.fit(reports.append)
    return reports


def test_runs_all_epochs_and_says_which_was_best():
    reports = fit(Scripted([0.1, 0.3, 0.2, 0.4]))
    assert [r.epoch for r in reports] == [0, 1, 2, 3]
    assert [r.best for r in reports] == [True, True, False, True]
    assert [r.metrics["score"] for r in reports] == [0.1, 0.3, 0.2, 0.4]
    assert reports[2].metrics["loss"] == 2
    assert {"epoch", "train_seconds", "validation_seconds"} <= reports[0].metrics.keys()


def test_a_start_worth_something_is_reported_first_and_may_stay_the_best():
    trainer = Scripted([0.3, 0.2, 0.9], patience=2)
    trainer.values = [0.3, 0.2, 0.9, 0.5]  # the last one is asked for before the first epoch
    trainer.measures_start = True
    reports = fit(trainer)
    assert [(r.epoch, r.best) for r in reports] == [(-1, True), (0, False), (1, False)]
    assert [m["epoch"] for m in trainer.history] == [0, 1], "an epoch is a pass over the data"


@pytest.mark.parametrize(
    ("values", "patience", "ran"),
    [
        ([0.5, 0.4, 0.4, 0.9], 2, 3),
        ([0.5, 0.5, 0.5], 1, 2),  # equal is not better
        ([0.1, 0.2, 0.15, 0.3, 0.1, 0.1, 0.9], 2, 6),
        ([math.nan, math.nan, math.nan, math.nan], 3, 3),
    ],
)
def test_stops_after_patience_epochs_without_a_better_one(values, patience, ran):
    trainer = Scripted(values, patience)
    assert len(fit(trainer)) == ran
    assert trainer.finished
    assert fit(trainer) == [], "a finished run does not go on"


def test_early_stopping_counts_from_the_best_epoch():
    stopping = EarlyStopping(2)
    assert stopping.update(0, 0.5)
    assert not stopping.update(1, 0.4)
    assert not stopping.exhausted(1)
    assert stopping.exhausted(2)


def test_resumed_equals_undisturbed(tmp_path):
    values = [0.1, 0.2, 0.15, 0.3, 0.2]
    whole = Scripted(values)
    fit(whole)
    first = Scripted(values)
    first.fit(lambda report: report.save(tmp_path) if report.epoch == 1 else None)
    again = Scripted(values)
    again.restore(tmp_path)
    assert again.next_epoch == 2
    reports = fit(again)
    assert [r.best for r in reports] == [False, True, False]
    assert torch.equal(again.model.weight, whole.model.weight)
    assert [m["score"] for m in again.history] == values
    assert (again.stopping.best, again.stopping.best_epoch) == (0.3, 3)


def test_checkpoint_of_another_model(tmp_path):
    Scripted([0.1]).save(tmp_path)
    with pytest.raises(InputError, match=r"checkpoint of another model \(size mismatch"):
        Scripted([0.1], width=2).restore(tmp_path)


def test_missing_or_damaged_checkpoint(tmp_path):
    with pytest.raises(InputError, match="no checkpoint here"):
        load_state(tmp_path)
    Scripted([0.1]).save(tmp_path)
    whole = (tmp_path / STATE_FILE).read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"not a checkpoint"):
        (tmp_path / STATE_FILE).write_bytes(content)
        with pytest.raises(InputError, match=r"state\.pt: damaged checkpoint"):
            load_state(tmp_path)


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_checkpoints_never_run_code(tmp_path, capsys):
    torch.save({"model": Bomb()}, tmp_path / STATE_FILE)
    with pytest.raises(InputError, match="damaged"):
        load_state(tmp_path)
    assert "unpickled" not in capsys.readouterr().out


def test_worker_alone_is_rank_zero_of_one():
    assert Worker.current() == Worker(0, 1)
