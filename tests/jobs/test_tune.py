"""tune.py as a user runs it: killed, gone on with, and its winner handed on; and bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from spotify_engine.recommenders import open_registry
from spotify_engine.runtime.pipelines.playlist_inputs import playlist_config
from spotify_engine.tracking.history import History
from spotify_engine.tracking.tracker import recorded_id
from spotify_engine.tuning.results import NOT_SETTINGS
from spotify_engine.tuning.trials import load_trials

StartJob = Callable[..., "subprocess.Popen[str]"]
SPACE = {
    "method": "random",
    "trials": 3,
    "seed": 78,  # draws the four combinations' first, second and third
    "base": {
        "training": {"epochs": 2, "min_steps_per_epoch": 10},
        "start": {"regularisation": [0.01], "unobserved": [20], "popularity": [0.3]},
        "item_item": {"neighbours": 20, "weights": [0, 1]},
        "evaluation": {"baselines": ["popularity"], "breakdown": None},
    },
    "stopping": {"after": 1, "factor": 2},
    "space": {
        # The second is more than any address space holds.
        "training.negatives": [64, 10**15],
        # After so poor a start, the first learns far more in an epoch.
        "training.embedding_learning_rate": [1.0, 0.001],
    },
}


def write_space(folder: Path, **changes: object) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump({**SPACE, **changes}, sort_keys=False))
    return path


def inputs(sample: Path) -> list[str]:
    return [
        f"--playlists={sample / 'spotify_dataset.csv'}",
        f"--features={sample / 'tracks_features.csv'}",
    ]


def test_a_search_is_killed_gone_on_with_and_its_winner_handed_on(
    sample: Path, start_job: StartJob, tmp_path: Path
) -> None:
    out, registry = tmp_path / "runs" / "search", tmp_path / "registry"
    command = [
        "tune.py", "--pipeline=playlists", f"--space={write_space(tmp_path)}", f"--out={out}",
        f"--register={registry}", "--set=cluster.cpus_per_worker=2", *inputs(sample),
    ]  # fmt: skip
    job = start_job(*command)
    first = out / "trials" / "0000" / "trial.json"
    for _ in range(2400):
        if first.exists() and json.loads(first.read_text())["state"] == "done":
            break
        assert job.poll() is None, job.communicate()
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    before = first.stat().st_mtime_ns
    trained = out / "trials" / "0000" / "run" / "checkpoints" / "best" / "state.pt"
    weights = trained.stat().st_mtime_ns

    job = start_job(*command)
    printed, errors = job.communicate(timeout=400)
    assert job.returncode == 0, printed + errors
    assert "Traceback" not in errors
    assert (first.stat().st_mtime_ns, trained.stat().st_mtime_ns) == (before, weights)
    trials = load_trials(out)
    states = [each.state for each in trials]
    # That the last one ran at all says that the stopped one's CPUs were free again.
    assert states == ["done", "done", "stopped", "out of memory"]
    assert "llocate" in trials[3].error
    assert trials[2].quality < trials[1].quality
    report = json.loads((out / "report.json").read_text())
    assert report["trials"] == {"done": 2, "out of memory": 1, "stopped": 1}
    table = pq.read_table(out / "results.parquet").to_pandas()
    assert table["state"].tolist() == states
    best = trials[report["winner"]["trial"]]
    assert best.quality == max(each.quality for each in trials if each.quality is not None)
    assert report["recall@10"]["validation"]["winner"] == best.quality

    # Trials share one graph, down to the bytes on disk.
    graphs = [out / "prepared" / "base" / "graph"] + [
        out / "trials" / f"{each.number:04d}" / "run" / "graph" for each in trials
    ]
    files = [sorted(path.stat().st_ino for path in graph.iterdir()) for graph in graphs]
    assert all(each == files[0] for each in files)

    # The test figure is the winner's own report's, so the split was the same one.
    run = out / "trials" / f"{best.number:04d}" / "run"
    own = json.loads((run / "report.json").read_text())
    test = report["recall@10"]["test"]
    assert test["winner"] == pytest.approx(own["metrics"]["test"]["recall@10"])

    (version,) = open_registry(registry).versions("playlists")
    assert version.lineage["search"] == str(out)
    assert version.lineage["trial"] == best.number
    assert version.lineage["parent_run"] == recorded_id(out)
    history = History(out.parent)
    recorded = history.runs("playlists", "trial", 10)
    assert {each.parent for each in recorded} == {recorded_id(out)}
    assert sorted(each.status for each in recorded) == ["failed"] + ["finished"] * 3
    assert history.get(recorded_id(out)).metrics["test.winner"] == test["winner"]

    # best.yaml as it is, with the same inputs, is the winner's configuration.
    import train_kaggle

    flags = ["--mode=full", f"--config={out / 'best.yaml'}", *inputs(sample)]
    again = playlist_config(train_kaggle.training_parser().parse_args(flags))
    learned = yaml.safe_load((run / "config.yaml").read_text())
    for section, settings in again.model_dump(mode="json").items():
        if section not in NOT_SETTINGS:
            assert settings == learned[section]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"training.negativs": [3]}}, "unknown key training.negativs; did you mean"),
        ({"space": {"training.negatives": [0]}}, "training.negatives: Input should be greater"),
        ({"space": {"training.negatives": []}}, "the grid is empty"),
        ({"method": "grid"}, "a grid tries every combination"),
        ({"method": "random", "trials": 0}, "trials: Input should be greater than or equal to 1"),
        ({"method": "random", "trials": 5, "minutes": 0}, "minutes: Input should be greater"),
        ({"base": {"training": {"epoch": 2}}}, "base: unknown key training.epoch; did you mean"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes, message: str
) -> None:
    assert message in refusal(
        capsys, f"--space={write_space(tmp_path, **changes)}", f"--out={tmp_path / 'out'}",
        *inputs(sample),
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_the_folder_of_another_search_is_refused(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from spotify_engine.playlists.settings import KaggleJob
    from spotify_engine.runtime.tune.search import Search
    from spotify_engine.tuning.space import read_search

    out = tmp_path / "out"
    config = read_search(write_space(tmp_path))
    Search(out, "playlists", config, KaggleJob(mode="mini"))
    message = refusal(capsys, f"--space={write_space(tmp_path)}", f"--out={out}", *inputs(sample))
    assert f"{out}: holds a search with base." in message
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    space = f"--space={write_space(tmp_path)}"
    message = refusal(capsys, space, f"--out={tmp_path / 'other'}", *inputs(sample))
    assert "holds files but no search" in message


def test_flags_of_the_other_pipeline_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    import tune

    with pytest.raises(SystemExit, match="2"):
        tune.main(["--pipeline=sessions", "--space=x.yaml", "--mode=mini"])
    assert "--mode is not for --pipeline sessions" in capsys.readouterr().err


def refusal(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The one line with which tune.py refuses."""
    import tune

    capsys.readouterr()
    assert tune.main(["--pipeline=playlists", *flags]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    return errors
