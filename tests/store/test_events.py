"""Events are there once they are acknowledged: the same tests on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect, text

from spotify_engine.errors import InputError
from spotify_engine.store import events as module
from spotify_engine.store.events import (
    ADDED,
    KEY_CHARACTERS,
    PLAYS,
    Added,
    EventStore,
    Play,
    StoreUnavailable,
    latest,
)

WORKER = Path(__file__).with_name("events_worker.py")
fresh = count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/events.db"
    name: str = request.getfixturevalue("postgresql").new_database()
    return name


@pytest.fixture
def store(url: str) -> Iterator[EventStore]:
    store = EventStore.open(url)
    yield store
    store.close()


def test_the_latest_come_back_oldest_first(store: EventStore) -> None:
    plays = [Play("ann", f"t{at}", 1000 + at, at) for at in (5, 3, 9, 1)]
    store.append([*plays, Play("bob", "t", 1, 7), Added("mix", "t", 4), Added("mix", "u", 2)])
    by_time = sorted(plays, key=lambda play: play.at)
    assert store.plays("ann", 10) == by_time
    assert store.plays("ann", 2) == by_time[-2:]
    assert store.plays("ann", 0) == []
    assert store.added("mix", 5) == [Added("mix", "u", 2), Added("mix", "t", 4)]
    assert store.added("ann", 5) == store.plays("mix", 5) == []
    assert store.counts() == {"plays": 5, "added": 2}
    store.append([])
    store.ping()


def test_equal_times_keep_the_order_of_arrival(store: EventStore) -> None:
    for batch in (["c", "a"], ["b"], ["a", "d"]):
        store.append([Play("ann", track, 1, 7) for track in batch])
        store.append([Added("mix", track, 7) for track in batch])
    assert "".join(play.track for play in store.plays("ann", 9)) == "cabad"
    assert "".join(added.track for added in store.added("mix", 3)) == "bad"


names = st.sampled_from(["", "ann", "Ann", "björk 🎧", "'; DROP TABLE plays; --", "%_\\", "a\nb"])
moments = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3)
one_event = st.builds(Play, names, names, moments, moments) | st.builds(
    Added, names, names, moments
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(one_event, max_size=6), max_size=6), st.integers(0, 8))
def test_reads_are_what_a_stable_sort_would_give(
    store: EventStore, batches: list[list[Play | Added]], limit: int
) -> None:
    before, prefix = store.counts(), f"{next(fresh)} "
    stored: list[Play | Added] = []
    for batch in batches:
        for i, each in enumerate(batch):
            changes = {"user": prefix + each.user} if isinstance(each, Play) else {}
            if isinstance(each, Added):
                changes = {"playlist": prefix + each.playlist}
            batch[i] = type(each)(**(vars(each) | changes))
        store.append(batch)
        stored += batch
    plays = [each for each in stored if isinstance(each, Play)]
    added = [each for each in stored if isinstance(each, Added)]
    after = store.counts()
    assert after["plays"] - before["plays"] == len(plays)
    assert after["added"] - before["added"] == len(added)
    for user in {each.user for each in plays}:
        expected = sorted((p for p in plays if p.user == user), key=lambda play: play.at)
        assert store.plays(user, limit) == expected[max(len(expected) - limit, 0) :]
    for mix in {each.playlist for each in added}:
        found = sorted((a for a in added if a.playlist == mix), key=lambda each: each.at)
        assert store.added(mix, limit) == found[max(len(found) - limit, 0) :]


BAD = {
    "NUL": Play("a\0", "t", 1, 1),
    "NUL in a track": Added("a", "t\0", 1),
    "surrogate": Play("a", "\ud83c", 1, 1),
    "other half": Added("\udfff", "t", 1),
    "long": Play("🎧" * (KEY_CHARACTERS + 1), "t", 1, 1),
    "late": Added("a", "t", 2**63),
    "played": Play("a", "t", -(2**63) - 1, 1),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_no_database_can_store_is_refused_with_its_batch(
    store: EventStore, bad: Play | Added
) -> None:
    with pytest.raises(ValueError, match=r"must not contain NUL|at most 600|64 bits"):
        store.append([Play("ann", "t", 1, 1), bad, Added("mix", "t", 1)])
    assert store.counts() == {"plays": 0, "added": 0}
    with pytest.raises(ValueError, match="must not contain NUL"):
        store.plays("\ud800", 1)


def test_the_longest_name_fits_the_index(store: EventStore) -> None:
    # Drawn at random, so that compression doesn't help.
    drawn = np.random.default_rng(0).integers(0x10000, 0x10FFFF, KEY_CHARACTERS)
    name = "".join(map(chr, drawn))
    store.append([Play(name, "t", 1, 1), Added(name, "t", 1)])
    assert len(store.plays(name, 9)) == len(store.added(name, 9)) == 1


def test_reads_take_the_index_and_sort_nothing(store: EventStore) -> None:
    engine = store._engine
    for table, index in ((PLAYS, "plays_by_user"), (ADDED, "added_by_playlist")):
        query = latest(table, "ann", 5).compile(engine, compile_kwargs={"literal_binds": True})
        with engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                plan = connection.execute(text(f"EXPLAIN QUERY PLAN {query}"))
            else:
                # Of an empty table it would rather read all.
                connection.execute(text("SET LOCAL enable_seqscan = off"))
                connection.execute(text("SET LOCAL enable_bitmapscan = off"))
                plan = connection.execute(text(f"EXPLAIN {query}"))
            said = " ".join(str(row) for row in plan)
        assert index in said
        assert "TEMP B-TREE" not in said
        assert "Sort" not in said


def test_threads_share_a_store(store: EventStore) -> None:
    def work(name: str) -> None:
        for i in range(20):
            store.append([Play(name, str(i), i, 0)])
            assert len(store.plays(name, 100)) == i + 1

    threads = [threading.Thread(target=work, args=(f"user {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        assert [play.ms_played for play in store.plays(f"user {i}", 100)] == list(range(20))


def start_workers(url: str, n: int) -> list[subprocess.Popen[str]]:
    """All of them ready to store."""
    workers = [
        subprocess.Popen(
            [sys.executable, WORKER, url, f"w{i}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(n)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    return workers


def run_until_all_stored(workers: list[subprocess.Popen[str]], n: int) -> list[list[str]]:
    """The first ``n`` lines each of them printed, while they go on."""
    for worker in workers:
        go(worker)
    return [list(islice(worker.stdout or (), n)) for worker in workers]


def go(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


def check_all_there(store: EventStore, printed: list[list[str]]) -> None:
    """Whatever the workers printed until they were killed is stored, and no batch in part."""
    for i, acknowledged in enumerate(printed):
        assert acknowledged == [f"{number}\n" for number in range(len(acknowledged))]
        plays, added = store.plays(f"w{i}", 10**6), store.added(f"w{i}", 10**6)
        assert [play.ms_played for play in plays] == list(range(len(plays)))
        assert [play.track for play in plays] == [each.track for each in added]
        # The last may be stored without having been acknowledged.
        assert len(plays) - len(acknowledged) in (0, 1)


def test_what_killed_writers_acknowledged_is_there(url: str) -> None:
    workers = start_workers(url, 3)  # they made the tables at the same time
    printed = run_until_all_stored(workers, 10)
    for worker in workers:
        worker.kill()
    store = EventStore.open(url)
    for lines, worker in zip(printed, workers, strict=True):
        lines += worker.stdout or ()
    check_all_there(store, printed)
    store.append([Play("w0", "next", 1, 1)])
    store.close()


def test_many_processes_may_make_the_tables_at_once(url: str, tmp_path: Path) -> None:
    code = (
        "import sys, time; from spotify_engine.store.events import EventStore\n"
        "print('ready', flush=True); sys.stdin.readline(); EventStore.open(sys.argv[1]).ping()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        go(process)
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors


def test_a_killed_postgresql_loses_nothing_acknowledged_and_the_store_goes_on(
    postgresql: Any,
) -> None:
    url = postgresql.new_database()
    store = EventStore.open(url)
    store.ping()
    workers = start_workers(url, 2)
    printed = run_until_all_stored(workers, 10)
    postgresql.kill()
    try:
        for lines, worker in zip(printed, workers, strict=True):
            lines += worker.stdout or ()
            assert worker.wait() != 0
        for use in (store.ping, store.counts, lambda: store.append([Play("ann", "t", 1, 1)])):
            with pytest.raises(StoreUnavailable, match=r"\(postgresql\) is not available"):
                use()
    finally:
        postgresql.start()
    store.ping()
    check_all_there(store, printed)
    store.append([Play("ann", "t", 1, 1)])
    assert store.plays("ann", 9) == [Play("ann", "t", 1, 1)]
    store.close()


def test_sqlite_that_is_locked_for_long_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.2)
    store = EventStore.open(f"sqlite:///{tmp_path}/events.db")
    store.append([Play("ann", "t", 1, 1)])
    blocker = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"\(sqlite\) is not available"):
        store.append([Play("ann", "u", 1, 2)])
    # Readers don't wait for writers.
    assert len(store.plays("ann", 9)) == 1
    blocker.execute("ROLLBACK")
    store.append([Play("ann", "u", 1, 2)])
    assert len(store.plays("ann", 9)) == 2
    store.close()
    blocker.close()


def test_sqlite_writes_ahead_and_syncs_each_commit(tmp_path: Path) -> None:
    store = EventStore.open(f"sqlite:///{tmp_path}/events.db")
    with store._engine.begin() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
    store.close()


def test_postgresql_commits_durably_whatever_its_default(postgresql: Any) -> None:
    store = EventStore.open(postgresql.new_database())
    with store._engine.begin() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
    assert set(inspect(store._engine).get_table_names()) == {"plays", "added"}
    store.close()


REFUSED: dict[str, tuple[Callable[[Path], str], str]] = {
    "nothing": (lambda _: "", "not a URL; give sqlite:///PATH"),
    "a path": (lambda _: "/tmp/events.db", "not a URL"),
    "bad port": (lambda _: "postgresql://u:sesame@h:port/db", "not a URL"),
    "another database": (lambda _: "mysql://u:sesame@h/db", "no database 'mysql'"),
    "another driver": (lambda _: "postgresql+asyncpg://u:sesame@h/db", "no database"),
    "in memory": (lambda _: "sqlite://", "give a file"),
    "by name in memory": (lambda _: "sqlite:///:memory:", "give a file"),
    "options": (lambda _: "sqlite:///x.db?mode=memory", "give a file"),
    "a folder": (lambda folder: f"sqlite:///{folder}", "unable to open database file"),
    "under a file": (lambda folder: f"sqlite:///{folder}/text/x.db", "can't be made"),
    "no database file": (lambda folder: f"sqlite:///{folder}/text", "file is not a database"),
    "nobody there": (lambda _: "postgresql://u:sesame@127.0.0.1:1/db", "onnection refused"),
}


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED)
def test_another_url_is_refused_in_one_line(
    tmp_path: Path, make: Callable[[Path], str], why: str
) -> None:
    (tmp_path / "text").write_text("no database, but long enough to hold a header " * 9)
    with pytest.raises(InputError, match=why) as caught:
        EventStore.open(make(tmp_path))
    assert "\n" not in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_wrong_password_is_refused_and_no_password_is_shown(postgresql: Any) -> None:
    right = postgresql.new_database()
    wrong = right.replace("tester:", "tester:sesame")
    for url in (wrong, right.replace("/test", "/none")):
        with pytest.raises(InputError, match=r"event store 127\.0\.0\.1/") as caught:
            EventStore.open(url)
        assert "sesame" not in str(caught.value)
        assert postgresql.PASSWORD not in str(caught.value)
