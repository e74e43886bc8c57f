"""Trials on disk, their order, and what a search leaves."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from spotify_engine.config import load_config
from spotify_engine.errors import InputError
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.tuning.failures import failure
from spotify_engine.tuning.report import gain_of, write_report
from spotify_engine.tuning.results import results_table, settings_yaml, short_names
from spotify_engine.tuning.trials import (
    Trial,
    folder_of,
    load_trials,
    pareto_front,
    ranked,
    save_trial,
    winner,
)


def test_trials_come_back_as_they_were_saved(tmp_path: Path, trials) -> None:
    for trial in reversed(trials):
        save_trial(tmp_path, trial)
    assert load_trials(tmp_path) == trials
    (folder_of(tmp_path, 2) / "trial.json").write_text('{"number": 2')
    with pytest.raises(InputError, match=r"0002/trial.json: not readable; delete its folder"):
        load_trials(tmp_path)


def test_the_best_that_ran_to_its_end_wins(trials) -> None:
    # The stopped trial had reached more, but nobody knows where it would have ended.
    assert [each.number for each in ranked(trials)] == [1, 2, 0, 3, 4]
    assert winner(trials).number == 1
    assert winner(trials[3:]) is None
    assert winner([]) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_no_trial_beats_one_on_the_front_and_every_other_is_beaten(pairs) -> None:
    trials = [Trial(n, {}, "done", q / 10, float(s)) for n, (q, s) in enumerate(pairs)]

    def beats(a: Trial, b: Trial) -> bool:
        return (a.quality >= b.quality and a.seconds <= b.seconds) and (
            a.quality > b.quality or a.seconds < b.seconds
        )

    front = pareto_front(trials)
    for trial in trials:
        beaten = any(beats(other, trial) for other in trials)
        # Of equals, one is there.
        equal = [e for e in front if (e.quality, e.seconds) == (trial.quality, trial.seconds)]
        assert bool(equal) != beaten


def test_epochs_say_what_was_reached() -> None:
    epochs = [
        {"epoch": -1.0, "val_recall@10": 0.30},
        {"epoch": 0.0, "val_recall@10": 0.34, "train_seconds": 2.0},
        {"epoch": 1.0, "val_recall@10": 0.31, "train_seconds": 3.0},
    ]
    trial = Trial(1, {}).with_epochs(epochs, "val_recall@10")
    assert (trial.quality, trial.seconds, trial.epochs_done) == (0.34, 5.0, 2)
    assert Trial(1, {}).with_epochs([], "val_recall@10").quality is None


def test_the_report_is_whole_and_the_page_needs_no_other_file(
    tmp_path: Path, make_space, trials
) -> None:
    space = make_space()
    best = trials[1]
    gain = {"validation": gain_of(0.150, 0.165), "test": gain_of(0.16, 0.152)}
    report = write_report(
        tmp_path, "A <search>", space, trials, best, space.configure(best.values), gain, 101.0
    )
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert report["trials"] == {"done": 3, "stopped": 1, "failed": 1}
    assert report["recall@10"]["validation"]["gain"] == pytest.approx(0.1)
    assert report["recall@10"]["test"]["gain"] == pytest.approx(-0.05)
    assert [each["trial"] for each in report["pareto_front"]] == [2, 1]
    page = (tmp_path / "report.html").read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 4
    assert all(base64.b64decode(each).startswith(b"\x89PNG") for each in pictures)
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "A &lt;search&gt;" in page
    assert "&lt;boom&gt;" in page
    assert "<boom>" not in page
    table = pq.read_table(tmp_path / "results.parquet").to_pandas()
    assert table["trial"].tolist() == [0, 1, 2, 3, 4]
    assert table["state"].tolist() == ["done", "done", "done", "stopped", "failed"]
    assert table["training.learning_rate"].tolist() == [0.0003, *[0.001] * 4]
    assert table["model.layers"].tolist() == ["[256]", *["[128]"] * 4]
    assert table["quality"].isna().tolist() == [False] * 4 + [True]


def test_the_best_configuration_is_taken_as_it_is(make_space, trials) -> None:
    space = make_space()
    config = space.configure(trials[1].values)
    text = settings_yaml(config, "found")
    content = yaml.safe_load(text)
    assert {"inputs", "mode", "cluster", "tracking"}.isdisjoint(content)
    read = load_config(KaggleJob, [("mode", {"mode": "full"}), ("best.yaml", content)], [])
    assert read.training == config.training
    assert read.model == config.model


def test_the_table_has_the_best_on_top(make_space, trials) -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(results_table(make_space(), trials, 3))
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert [line[0] for line in lines[2:]] == ["1", "2", "default"]


def test_names_are_short_unless_two_end_alike() -> None:
    assert short_names(["a.x", "b.x", "c.y"]) == {"a.x": "a.x", "b.x": "b.x", "c.y": "y"}


class WorkerError(RuntimeError):
    """Shaped as Ray Train's."""

    def __init__(self, failures) -> None:
        super().__init__("Training failed due to worker errors")
        self.worker_failures = failures


class OutOfMemoryError(RuntimeError):
    """Named as Ray's and torch's."""


class Wrapped(RuntimeError):
    def __init__(self, base: Exception) -> None:
        super().__init__("Traceback ...")
        self._base_exc = base


@pytest.mark.parametrize(
    ("error", "state", "text"),
    [
        (ValueError("odd"), "failed", "ValueError: odd"),
        (MemoryError("Unable to allocate 9 GiB"), "out of memory", "MemoryError: Unable"),
        (
            WorkerError({0: Wrapped(RuntimeError("DefaultCPUAllocator: can't allocate memory"))}),
            "out of memory",
            "RuntimeError: DefaultCPUAllocator",
        ),
        (WorkerError({1: OutOfMemoryError("the node ran low")}), "out of memory", "OutOfMemoryEr"),
        (WorkerError({0: Wrapped(KeyError("x"))}), "failed", "KeyError: 'x'"),
        (RuntimeError("first line\n\n  ValueError: what it was"), "failed", "ValueError: what"),
    ],
)
def test_failures_are_told_apart(error, state, text) -> None:
    found, line = failure(error)
    assert found == state
    assert text in line
    assert "\n" not in line


def test_an_error_that_is_its_own_cause_ends() -> None:
    error = RuntimeError("round")
    error.__cause__ = error
    assert failure(error) == ("failed", "RuntimeError: round")
