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

from spotify_engine.runtime import sessions
from spotify_engine.runtime.audit import audit_run
from spotify_engine.runtime.run import Run
from spotify_engine.runtime.session_training import SessionTraining
from spotify_engine.runtime.sessions import NAMES, SessionPipeline
from spotify_engine.sessions.recommender import SessionRecommender
from spotify_engine.sessions.settings import SyntheticJob
from spotify_engine.sessions.tables import read_tables

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


Job = Callable[..., tuple[Path, dict[str, Any]]]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Runs the job on a folder; gives the run directory and the report as it stands in its file."""
    monkeypatch.setattr(sessions, "train", train_here)

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

        def prepare() -> dict[str, Any]:
            tables = read_tables(folder, config.data)
            pipeline.run.tables.mkdir()
            for name, table in tables.items():
                pq.write_table(table, pipeline.run.tables / f"{name}.parquet")
            return {}

        pipeline.run.stage("prepare", prepare)
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
    audit = audit_run(out, baselines=True)
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
    assert set(NAMES.values()) < report["leaderboard"].keys()
    check(out)
