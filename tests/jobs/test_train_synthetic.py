"""The session job as a user runs it, on a world of 30 users; and the notebook on its bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from spotify_engine.dotted import flatten, laid_over, nested
from spotify_engine.runtime.pipelines.audit import audit_run
from spotify_engine.sessions.recommender import SessionRecommender
from spotify_engine.sessions.synthetic import SyntheticConfig

ROOT = Path(__file__).parents[2]
StartJob = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    training = {"basic": {"epochs": 2}, "enhanced": {"epochs": 2}, "session": {"epochs": 2}}
    config = {
        "generator": SyntheticConfig.tiny().model_dump(mode="json"),
        "training": training,
        "tracking": {"enabled": False},
    }
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="session")
def finished_sessions(
    tmp_path_factory: pytest.TempPathFactory, settings: Path, start_job: StartJob
) -> Path:
    """Run directory of an undisturbed training of all three models."""
    out = tmp_path_factory.mktemp("runs") / "synthetic"
    job = start_job(
        "train_synthetic.py", f"--config={settings}", f"--out={out}", "--set=tracking.enabled=true"
    )
    printed, errors = job.communicate(timeout=400)
    assert job.returncode == 0, printed + errors
    assert "session-aware" in printed
    return out


def test_a_run_leaves_everything(finished_sessions: Path) -> None:
    names = {path.name for path in finished_sessions.iterdir()}
    assert {
        "config.yaml", "data", "tables", "split.parquet", "graph", "checkpoints",
        "predictions.parquet", "rankings.parquet", "held_out.parquet", "report.json",
        "report.png", "bundle",
    } <= names  # fmt: skip
    report = json.loads((finished_sessions / "report.json").read_text())
    board = report["leaderboard"]
    assert set(board) == {
        "popularity", "itemknn", "ials", "markov", "session-knn",
        "basic-gat", "enhanced-gat", "session-aware", "oracle",
    }  # fmt: skip
    assert board["session-aware"]["share_of_oracle"] > board["markov"]["share_of_oracle"]
    assert set(board["oracle"]["by_user_type"]) <= {"casual", "regular", "power"}
    assert {"new_user", "sparse_user", "new_song"} == set(report["cold_start"])
    for model in ("basic", "enhanced", "session"):
        assert (finished_sessions / "checkpoints" / model / "best" / "state.pt").exists()


def test_recall_can_be_recomputed_from_the_files(finished_sessions: Path) -> None:
    report = json.loads((finished_sessions / "report.json").read_text())
    lists = pq.read_table(finished_sessions / "predictions.parquet").to_pandas()
    song = pq.read_table(finished_sessions / "tables" / "events.parquet")["song"].to_numpy()
    hits = lists["song"].to_numpy() == song[lists["event"].to_numpy()]
    recall = hits.sum() / lists["event"].nunique()
    told = report["leaderboard"]["session-aware"]["next_song"]["recall@10"]
    assert recall == pytest.approx(told)


def test_the_bundle_ranks_as_the_leaderboard_did(finished_sessions: Path) -> None:
    recommender = SessionRecommender.load(finished_sessions / "bundle")
    events = pq.read_table(finished_sessions / "tables" / "events.parquet")
    lists = pq.read_table(finished_sessions / "predictions.parquet").to_pandas()
    event = int(lists["event"].iloc[0])
    row = {name: events[name][event].as_py() for name in ("user", "time", "position")}
    before = events["song"].to_numpy()[event - row["position"] : event]
    found = recommender.next(
        recommender.user_ids[row["user"]], [recommender.ids[s] for s in before], row["time"], 10
    )
    expected = lists[lists["event"] == event]["song"].tolist()
    assert [each.id for each in found] == [recommender.ids[song] for song in expected]


def test_the_same_command_does_nothing_again_and_another_is_refused(
    finished_sessions: Path,
    settings: Path,
    ray_cluster: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import train_synthetic

    before = (finished_sessions / "checkpoints/session/best/state.pt").stat().st_mtime_ns
    again = [f"--config={settings}", f"--out={finished_sessions}"]
    assert train_synthetic.main(again) == 0
    assert "train session: done before" in capsys.readouterr().out
    after = (finished_sessions / "checkpoints/session/best/state.pt").stat().st_mtime_ns
    assert after == before
    assert train_synthetic.main([*again, "--set=session.memory=3"]) == 2
    errors = capsys.readouterr().err
    assert "session.memory" in errors
    assert "Traceback" not in errors


def test_simple_trains_on_the_users_own_csvs(
    finished_sessions: Path, settings: Path, ray_cluster: None, tmp_path: Path
) -> None:
    import train_synthetic

    out = tmp_path / "simple"
    flags = ["--trainer=simple", "--model=basic", f"--data={finished_sessions / 'data'}"]
    assert train_synthetic.main([f"--config={settings}", f"--out={out}", *flags]) == 0
    report = json.loads((out / "report.json").read_text())
    assert "leaderboard" not in report
    assert "train_recall@10" in report["epochs"]["basic"][-1]
    assert report["served"]["basic"]["validation"] is None, "nothing was held out to validate on"
    assert not (out / "split.parquet").exists()
    recommender = SessionRecommender.load(out / "bundle")
    found = recommender.next(recommender.user_ids[0], k=3)
    scores = recommender.vectors.score(np.array([0]))[0]
    assert found[0].score == pytest.approx(float(scores.max()), rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data=/no/such/folder"], "raw_sessions.csv: no such file"),
        (["--set=session.memmory=3"], "did you mean memory"),
        (["--set=split.train=0.9", "--set=split.val=0.2"], "leave nothing to test on"),
        (["--set=generator.genres=2", "--set=generator.artist_genres=[1,5]"], "artist_genres"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import train_synthetic

    assert train_synthetic.main([f"--out={tmp_path / 'run'}", *flags]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


def test_the_notebook_runs(finished_sessions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("SPOTIFY_ENGINE_RUN", str(finished_sessions))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "notebooks" / "quick_demo.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    text = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert "because:" in text
    assert "matched_genres" in text
    assert "image/png" in text


def test_evaluate_agrees_with_the_report_and_notices_changes(
    finished_sessions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import evaluate

    assert evaluate.main(["--run", str(finished_sessions)]) == 0
    assert "figures agree" in capsys.readouterr().out
    copy = tmp_path / "run"
    shutil.copytree(finished_sessions, copy)
    table = pq.read_table(copy / "predictions.parquet")
    place = table.schema.get_field_index("song")
    song = table["song"].to_numpy()
    turned = song.reshape(-1, 10)[:, ::-1].ravel()
    changed = table.set_column(place, table.schema.field(place), pa.array(turned))
    pq.write_table(changed, copy / "predictions.parquet")
    assert evaluate.main(["--run", str(copy), "--no-baselines"]) == 1
    assert "session-aware next_song ndcg@10" in capsys.readouterr().out
    twice = table.set_column(place, table.schema.field(place), pa.array(np.zeros_like(song)))
    for damaged in (twice, table.slice(20)):
        pq.write_table(damaged, copy / "predictions.parquet")
        assert evaluate.main(["--run", str(copy), "--no-baselines"]) == 2
        assert "predictions.parquet: " in capsys.readouterr().err


def numbers(report: dict[str, Any]) -> dict[str, float]:
    """The figures of a report by dotted key."""
    found = flatten(report).items()
    return {n: v for n, v in found if isinstance(v, int | float) and not isinstance(v, bool)}


def test_every_figure_of_the_report_is_recomputed_or_said_not_to_be(
    finished_sessions: Path, tmp_path: Path
) -> None:
    report = json.loads((finished_sessions / "report.json").read_text())
    audit = audit_run(finished_sessions, again=None)
    assert not audit.differences
    assert audit.compared == len(audit.names)
    left_out = {
        name
        for name in numbers(report)
        if any(fnmatch(name, pattern) for pattern in audit.left_out)
    }
    told = {"config", "data", "seconds", "served", "leaderboard"}
    assert {name.split(".")[0] for name in left_out} <= told
    of_the_board = [name for name in left_out if name.startswith("leaderboard.")]
    assert all(name.endswith("_seconds") for name in of_the_board)
    assert numbers(report).keys() - left_out <= audit.names
    assert {
        "leaderboard.markov.next_song.recall@10", "leaderboard.ials.held_out.ndcg@10",
        "leaderboard.basic-gat.held_out.recall@10", "leaderboard.oracle.next_song.mrr@10",
        "leaderboard.session-aware.share_of_oracle", "leaderboard.markov.settings.shrink",
        "genre_influence", "cold_start.new_song.artist_vector", "parameters.session.total",
        "faithfulness.session-aware.passed", "faithfulness.enhanced-gat.mean_change_random",
    } <= audit.names  # fmt: skip

    copy = tmp_path / "run"
    shutil.copytree(finished_sessions, copy)
    wrong = {n: v + 0.5 for n, v in numbers(report).items() if n in audit.names}
    (copy / "report.json").write_text(json.dumps(laid_over(report, nested(wrong))))
    noticed = audit_run(copy, again=[]).differences
    # Settings are chosen by fitting the baselines, which this leaves out.
    chosen = [name for name in wrong if ".settings." in name]
    assert len(noticed) == len(wrong) - len(chosen)


@pytest.mark.parametrize("file", ["predictions", "rankings", "held_out"])
@pytest.mark.parametrize("column", ["score", "song"])
def test_any_change_of_a_saved_list_is_noticed(
    finished_sessions: Path, tmp_path: Path, file: str, column: str
) -> None:
    """Also one that moves no figure: a score, or two songs that nobody played."""
    copy = tmp_path / "run"
    shutil.copytree(finished_sessions, copy)
    path = copy / f"{file}.parquet"
    table = pq.read_table(path)
    values, place = table[column].to_numpy().copy(), table.schema.get_field_index(column)
    if column == "score":
        values[len(values) // 2] *= 1.001
    else:
        values[-2:] = values[-2:][::-1]
    field = table.schema.field(place)
    pq.write_table(table.set_column(place, field, pa.array(values, field.type)), path)
    noticed = audit_run(copy, again=[]).differences
    assert any(line.startswith(f"fingerprints {file}: recomputed") for line in noticed)


def test_a_run_without_its_lists_is_one_line(
    finished_sessions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import evaluate

    copy = tmp_path / "run"
    shutil.copytree(finished_sessions, copy)
    table = pq.read_table(copy / "rankings.parquet")
    keep = pc.not_equal(table["scorer"], "markov")
    pq.write_table(table.filter(keep), copy / "rankings.parquet")
    assert evaluate.main(["--run", str(copy), "--no-baselines"]) == 2
    assert "its scorers are not those of report.json; they differ in markov" in (
        capsys.readouterr().err
    )
    (copy / "held_out.parquet").unlink()
    assert evaluate.main(["--run", str(copy), "--no-baselines"]) == 2
    assert "held_out.parquet: no such file" in capsys.readouterr().err
    report = json.loads((copy / "report.json").read_text())
    del report["fingerprints"]
    (copy / "report.json").write_text(json.dumps(report | {"release": "0.9.0"}))
    assert evaluate.main(["--run", str(copy), "--no-baselines"]) == 2
    assert "release 0.9.0 saved the last model's lists alone" in capsys.readouterr().err
