"""What jobs record, as runs.py and TensorBoard show it, and the version that --register makes."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spotify_engine.config import dump_yaml
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.recommenders import open_registry
from spotify_engine.tracking.history import History
from spotify_engine.tracking.tracker import read_epochs, recorded_id

Finished = tuple[Path, str]


@pytest.fixture(scope="module")
def history(finished: Finished) -> History:
    return History(finished[0].parent)


def test_a_training_run_is_recorded_as_its_report_has_it(
    finished: Finished, history: History
) -> None:
    out, _ = finished
    report = json.loads((out / "report.json").read_text())
    run = history.get(recorded_id(out))
    assert (run.name, run.kind, run.pipeline, run.status) == (
        "mini", "train", "playlists", "finished",
    )  # fmt: skip
    assert run.fingerprint == report["data"]["fingerprint"]
    # Of all stages, also those before what can be refused was accepted.
    assert "prepare" in report["seconds"]
    assert run.seconds > sum(report["seconds"].values())
    assert run.settings["training.epochs"] == "3"
    assert run.settings["model.layers"] == "[256]"
    assert run.metrics["test.recall_at_10"] == report["metrics"]["test"]["recall@10"]
    assert run.metrics["baselines.ease.recall_at_10"] > 0
    points = history.epochs(run)["val_recall_at_10"]
    epochs = read_epochs(out / "checkpoints" / "epochs.jsonl")
    assert [each.value for each in points] == [each["val_recall@10"] for each in epochs]
    assert [each.step for each in points] == [0, 1, 2, 3]
    board = EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    assert [each.step for each in board.Scalars("val_recall_at_10")] == [0, 1, 2, 3]
    artefacts = {path.name for path in (out.parent / "mlflow-artefacts").rglob("*.*")}
    assert {"report.json", "report.png", "breakdown.png", "config.yaml"} <= artefacts


def test_evaluation_is_recorded_as_part_of_the_run(
    finished: Finished, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    import evaluate

    out, _ = finished
    # As if recomputing had taken five minutes; recording what it found takes a second.
    monkeypatch.setattr("spotify_engine.runtime.pipelines.audit.time", lambda: time.time() - 300)
    assert evaluate.main([f"--run={out}", "--no-baselines"]) == 0
    # Other tests evaluate this run, too, and the newest first is by when they began.
    audit = max(history.runs("playlists", "evaluate", 50), key=lambda each: each.seconds)
    trained = history.get(recorded_id(out))
    assert audit.parent == trained.id
    assert 300 < audit.seconds < 600
    assert audit.metrics["differences"] == 0
    assert audit.metrics["test.recall_at_10"] == pytest.approx(trained.metrics["test.recall_at_10"])


def test_runs_are_listed_shown_and_compared(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import runs

    out, _ = finished
    run_id = recorded_id(out)
    place = f"--runs={out.parent}"
    assert runs.main([place, "list", "--kind=train"]) == 0
    assert run_id[:8] in capsys.readouterr().out
    picture = tmp_path / "curves.png"
    assert runs.main([place, "show", run_id[:8], f"--plot={picture}"]) == 0
    printed = capsys.readouterr().out
    assert "training.epochs" in printed
    assert "test.recall_at_10" in printed
    assert any(block in printed for block in "▁▂▃▄▅▆▇█")
    assert picture.read_bytes().startswith(b"\x89PNG")
    both = tmp_path / "both.png"
    assert runs.main([place, "compare", run_id, run_id, f"--plot={both}"]) == 0
    printed = capsys.readouterr().out
    assert "+0" in printed
    assert "training.epochs" not in printed, "only what differs"
    assert both.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["show", "no-such-run"], "no-such-run: no run of that id or name; "),
        (["show", "mini", "--plot=x.png", "--metric=speed"], "no metric by epoch to draw"),
    ],
)
def test_what_is_not_there_is_said(
    finished: Finished, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import runs

    assert runs.main([f"--runs={finished[0].parent}", *flags]) == 2
    assert message in capsys.readouterr().err


def test_runs_of_two_pipelines_are_not_compared(
    finished: Finished,
    history: History,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import runs

    run = history.get(recorded_id(finished[0]))
    other = replace(run, name="other", pipeline="sessions")
    known = {"mini": run, "other": other}
    monkeypatch.setattr(History, "get", lambda _, name: known[name])
    assert runs.main([f"--runs={finished[0].parent}", "compare", "mini", "other"]) == 2
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert errors == (
        "error: mini is of playlists, other of sessions: not comparable; give two runs of one "
        "pipeline\n"
    )


def test_a_folder_without_records_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import runs

    assert runs.main([f"--runs={tmp_path}", "list"]) == 2
    assert "nothing was recorded there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_becomes_a_version_that_says_where_it_came_from(finished: Finished) -> None:
    out, printed = finished
    (version,) = open_registry(out.parent / "registry").versions("playlists")
    assert version.id in printed
    report = json.loads((out / "report.json").read_text())
    config = KaggleJob.model_validate(yaml.safe_load((out / "config.yaml").read_text()))
    assert version.lineage["data"] == version.fingerprint == report["data"]["fingerprint"]
    digest = hashlib.sha256(dump_yaml(config).encode()).hexdigest()
    assert version.lineage["configuration"] == digest
    assert version.lineage["run"] == str(out)
    assert version.lineage["tracked_as"] == recorded_id(out)
    assert version.metrics["test.recall@10"] == report["metrics"]["test"]["recall@10"]
    assert open_registry(out.parent / "registry").current("playlists") is None, (
        "until it is activated"
    )
