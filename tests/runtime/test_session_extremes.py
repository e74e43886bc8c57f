"""The session job on listening that is small, poor or odd: everything after training must hold.

All stages of the job but reading on Ray and training on Ray Train, whose workers are played by this
process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from spotify_engine.errors import InputError
from spotify_engine.pipelines import SESSION_MODELS
from spotify_engine.runtime.pipelines import sessions
from spotify_engine.runtime.pipelines.audit import audit_run
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.runtime.pipelines.sessions import SessionPipeline
from spotify_engine.sessions.measure.splits import TemporalSplitConfig, split_events
from spotify_engine.sessions.quality.checks import validate
from spotify_engine.sessions.quality.plots import plot_validation
from spotify_engine.sessions.recommender import SessionRecommender
from spotify_engine.sessions.settings import SyntheticJob
from spotify_engine.sessions.synthetic import (
    OracleScope,
    SyntheticConfig,
    load_oracle,
    write_sessions,
)
from spotify_engine.sessions.tables.build import read_tables
from spotify_engine.sessions.tables.edges import GAP_SECONDS
from spotify_engine.sessions.tables.plays import SessionDataConfig
from spotify_engine.sessions.training_inputs import SessionTraining

ALL = ("basic", "enhanced", "session")
START = 1_700_000_000
HOUR = 3600


class Play(NamedTuple):
    user: int
    song: int
    time: int
    share: float = 1.0
    duration: int = 200_000


def listening(
    users: int, songs: int, sessions_each: int = 12, length: int = 5, seed: int = 0
) -> list[Play]:
    """Sessions a day apart, of songs at random."""
    rng = np.random.default_rng(seed)
    return [
        Play(user, int(rng.integers(songs)), START + 86_400 * day + 300 * place + 7 * user,
             float(rng.choice([0.3, 1.0])))
        for user in range(users)
        for day in range(sessions_each)
        for place in range(length)
    ]  # fmt: skip


def write(folder: Path, plays: Sequence[Play], songs: int, artists: int = 4, **files: str) -> Path:
    """A folder of the two files that are needed, and of others by name without ``.csv``."""
    folder.mkdir()
    rows = [
        f"u{p.user:02d},t{p.song:03d},a{p.song % artists},{p.time},"
        f"{int(p.share * p.duration)},{p.duration}"
        for p in plays
    ]
    header = "user_id,track_id,artist_id,timestamp,ms_played,track_duration_ms"
    (folder / "raw_sessions.csv").write_text("\n".join([header, *rows]) + "\n")
    tracks = [f"t{s:03d},Song {s},a{s % artists},Artist {s % artists},200000" for s in range(songs)]
    header = "track_id,track_name,artist_id,artist_name,duration_ms"
    (folder / "tracks.csv").write_text("\n".join([header, *tracks]) + "\n")
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def train_here(
    job: SessionTraining, checkpoints: Path, cluster: object, callbacks: Sequence[object] = ()
) -> list[dict[str, float]]:
    """As ``runtime.train.train``, with this process as the only worker."""
    trainer = job.open()

    def on_epoch(report: Any) -> None:
        assert job.monitor in report.metrics
        if trainer.wants_checkpoint(report):
            report.save(checkpoints / "last")
            if report.best or not (checkpoints / "best").exists():
                report.save(checkpoints / "best")

    trainer.fit(on_epoch)
    return trainer.history


def read_here(folder: str, out: Path, config: SessionDataConfig, latest: Any) -> dict[str, Any]:
    """As ``runtime.session_etl.prepare_sessions``, in this process."""
    out.mkdir()
    for name, table in read_tables(folder, config).items():
        pq.write_table(table, out / f"{name}.parquet")
    return {}


Job = Callable[..., tuple[Path, dict[str, Any]]]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Runs the job on a folder; gives the run directory and the report as it stands in its file."""
    monkeypatch.setattr(sessions, "train", train_here)
    monkeypatch.setattr(sessions, "prepare_sessions", read_here)

    def run(folder: Path, models: Sequence[str] = ALL, **sections: Any) -> tuple[Path, dict]:
        training = {name: {"epochs": 1} for name in ALL}
        config = SyntheticJob.model_validate(
            {
                "inputs": {"data": str(folder)},
                "models": models,
                "training": training,
                "tracking": {"enabled": False},
                **sections,
            }
        )
        out = tmp_path / "run"
        pipeline = SessionPipeline(Run(out, config))

        pipeline.prepare()
        pipeline.lay_out()
        pipeline.learn()
        pipeline.conclude()
        return out, strict(out / "report.json")

    return run


def strict(path: Path) -> dict[str, Any]:
    """JSON of a file that has nothing in it that JSON hasn't."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path}: {word}")

    content: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return content


def check(out: Path) -> None:
    """Every JSON file is one, the bundle recommends, and the figures can be recomputed."""
    for path in out.rglob("*.json"):
        strict(path)
    assert (out / "report.png").stat().st_size > 5_000
    recommender = SessionRecommender.load(out / "bundle")
    some = recommender.ids[0]
    for user in (recommender.user_ids[0], None, "nobody"):
        for recent in ((), (some,)):
            for each in recommender.next(user, recent, START, 5):
                assert np.isfinite(each.score)
                assert each.id != some or not recent
    audit = audit_run(out, again=None)
    assert audit.differences == []
    assert audit.compared > 20


def one_listener(folder: Path) -> Path:
    return write(folder, listening(1, 30, 60), 30)


def everyone_heard_everything(folder: Path) -> Path:
    return write(folder, listening(12, 6), 6)


def no_genres(folder: Path) -> Path:
    return write(folder, listening(6, 40), 40)


def one_song(folder: Path) -> Path:
    return write(folder, listening(3, 1), 1, 1)


def one_artist(folder: Path) -> Path:
    return write(folder, listening(6, 40), 40, 1)


def two_songs_of_one_listener(folder: Path) -> Path:
    return write(folder, listening(1, 2, 30), 2, 1)


def sessions_of_one_play(folder: Path) -> Path:
    return write(folder, listening(6, 40, 60, 1), 40)


def listeners_with_one_play(folder: Path) -> Path:
    once = [Play(20 + i, i % 40, START + HOUR * i) for i in range(30)]
    return write(folder, [*listening(2, 40), *once], 40)


def all_skipped(folder: Path) -> Path:
    return write(folder, [p._replace(share=0.0) for p in listening(6, 40)], 40)


def headers_alone(folder: Path) -> Path:
    return write(
        folder, listening(6, 40), 40,
        genres="genre_id,genre_name\n", artist_genres="artist_id,genre_id\n",
        song_genres="track_id,genre_id\n",
        user_genre_preferences="user_id,genre_id,affinity_score,user_type\n",
    )  # fmt: skip


def a_type_of_its_own(folder: Path) -> Path:
    """One that the project doesn't know, one with a single test play, and users of none."""
    return write(
        folder, listening(6, 40), 40,
        genres="genre_id,genre_name\ng0,rock\n", artist_genres="artist_id,genre_id\na0,g0\n",
        user_genre_preferences="user_id,genre_id,affinity_score,user_type\nu00,g0,1,vip\n"
        "u01,g0,0,casual\nnever,g0,1,ghost\n",
    )  # fmt: skip


def no_artists(folder: Path) -> Path:
    write(folder, listening(6, 40), 40)
    rows = "".join(f"t{s:03d},,,,\n" for s in range(40))
    (folder / "tracks.csv").write_text(
        f"track_id,track_name,artist_id,artist_name,duration_ms\n{rows}"
    )
    return folder


def one_test_play(folder: Path) -> Path:
    """Of a single user: a list that can't be compared with another."""
    plays = [Play(0, i % 7, START + 86_400 * i) for i in range(12)]
    return write(folder, plays, 9)


EXTREMES = [
    one_listener, everyone_heard_everything, no_genres, one_song, one_artist,
    two_songs_of_one_listener, sessions_of_one_play, listeners_with_one_play, all_skipped,
    headers_alone, a_type_of_its_own, no_artists, one_test_play,
]  # fmt: skip


@pytest.mark.parametrize("make", EXTREMES)
def test_all_models_come_to_a_report_and_a_bundle(
    make: Callable[[Path], Path], job: Job, tmp_path: Path
) -> None:
    out, report = job(make(tmp_path / "data"))
    assert set(SESSION_MODELS.values()) < report["leaderboard"].keys()
    check(out)


@pytest.mark.parametrize(
    ("make", "model"),
    [*((one_listener, model) for model in ALL), (everyone_heard_everything, "session"),
     (no_genres, "session")],
)  # fmt: skip
def test_a_model_alone_comes_to_a_report_and_a_bundle(
    make: Callable[[Path], Path], model: str, job: Job, tmp_path: Path
) -> None:
    out, report = job(make(tmp_path / "data"), models=[model])
    assert report["leaderboard"].keys() & SESSION_MODELS.values() == {SESSION_MODELS[model]}
    check(out)


@pytest.mark.parametrize("make", [one_listener, one_song, one_test_play, a_type_of_its_own])
def test_the_simple_trainer_comes_to_a_bundle(
    make: Callable[[Path], Path], job: Job, tmp_path: Path
) -> None:
    out, report = job(make(tmp_path / "data"), trainer="simple")
    assert "leaderboard" not in report
    assert SessionRecommender.load(out / "bundle").next()
    strict(out / "bundle" / "manifest.json")


def test_what_new_songs_would_say_is_null_without_new_songs(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All listeners heard all songs in training: GATs have nothing to be validated by."""
    _, report = job(everyone_heard_everything(tmp_path / "data"))
    for row in report["leaderboard"].values():
        assert row["held_out"] is None
        assert row["next_song"]["genre_diversity@10"] is None
    for name in ("itemknn", "ials"):
        first = getattr(SyntheticJob().evaluation, name)[0]
        assert report["leaderboard"][name]["settings"] == first.model_dump()
    printed = capsys.readouterr().out
    for name in ("basic", "enhanced"):
        assert "train_recall@10" in report["epochs"][name][0]
        assert "val_recall@10" not in report["epochs"][name][0]
        assert f"{name}: no user has a song in the validation part that is new" in printed
    assert "session: no user" not in printed
    assert "val_recall@10" in report["epochs"]["session"][0]


def test_a_search_without_anything_to_choose_by_is_refused(tmp_path: Path) -> None:
    config = SyntheticJob.model_validate(
        {"inputs": {"data": str(everyone_heard_everything(tmp_path / "data"))}, "models": ["basic"]}
    )
    pipeline = SessionPipeline(Run(tmp_path / "run", config))
    read_here(str(tmp_path / "data"), pipeline.run.tables, config.data, None)
    pipeline.hold_out()
    with pytest.raises(InputError, match="nothing to choose settings by"):
        pipeline.require_validation()


def at_one_time(folder: Path) -> Path:
    return write(folder, [p._replace(time=START) for p in listening(6, 40)], 40)


def each_once(folder: Path) -> Path:
    return write(folder, [Play(i, i % 40, START + HOUR * i) for i in range(60)], 40)


@pytest.mark.parametrize("make", [at_one_time, each_once])
def test_what_leaves_nothing_to_test_on_is_refused_before_training(
    make: Callable[[Path], Path], job: Job, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"validation part is empty: .* give more listening"):
        job(make(tmp_path / "data"))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_what_leaves_nothing_to_test_on_can_be_trained_on(job: Job, tmp_path: Path) -> None:
    out, _ = job(at_one_time(tmp_path / "data"), trainer="simple")
    assert SessionRecommender.load(out / "bundle").next("u00", k=3)


@pytest.mark.parametrize("make", [*EXTREMES, at_one_time, each_once])
def test_extremes_are_validated(make: Callable[[Path], Path], tmp_path: Path) -> None:
    report = validate(read_tables(make(tmp_path / "data")))
    json.dumps(report.to_json(), allow_nan=False)
    report.render()
    if make in (one_song, at_one_time, headers_alone):
        plot_validation(report, tmp_path / "validation.png")


def test_a_job_without_an_oracle_row_for_a_tested_play_stops_before_training(
    job: Job, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    asked = OracleScope(SyntheticJob().split, GAP_SECONDS)
    write_sessions(data, SyntheticConfig.tiny(), oracle=True, asked=asked)
    with pytest.raises(InputError, match=r"oracle\.parquet: has no row for [\d,]+ of the [\d,]+"):
        job(data, split={"train": 0.6})
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_another_split_has_its_oracle_and_its_audit(job: Job, tmp_path: Path) -> None:
    data, split = tmp_path / "data", TemporalSplitConfig(train=0.6)
    write_sessions(data, SyntheticConfig.tiny(), oracle=True)
    out, report = job(data, models=["session"], split=split.model_dump())
    tables = read_tables(data)
    test = np.flatnonzero(split_events(tables["events"], split).test)
    truth = load_oracle(data / "oracle.parquet", tables, test)
    song = tables["events"]["song"].to_numpy()[test]
    share = (truth.songs[:, :10] == song[:, None]).any(axis=1).mean()
    assert report["leaderboard"]["oracle"]["next_song"]["recall@10"] == pytest.approx(share)
    check(out)
