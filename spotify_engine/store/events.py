"""The event store: plays and additions in SQLite, or PostgreSQL by URL, safe from crashes."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.schema import CreateIndex, CreateTable

from spotify_engine.errors import InputError

Answer = TypeVar("Answer")

WAIT_S = 5  # for a lock, a connection, an answer
KEY_CHARACTERS = 600  # more may not fit a PostgreSQL index
SCHEMA_LOCK = 0x53504F54  # any number that nothing else locks

_metadata = MetaData()
_serial = BigInteger().with_variant(Integer, "sqlite")
# Ids grow in order of arrival.
PLAYS = Table(
    "plays",
    _metadata,
    Column("id", _serial, primary_key=True),
    Column("user", Text, nullable=False),
    Column("track", Text, nullable=False),
    Column("ms_played", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)
ADDED = Table(
    "added",
    _metadata,
    Column("id", _serial, primary_key=True),
    Column("playlist", Text, nullable=False),
    Column("track", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)
Index("plays_by_user", PLAYS.c.user, PLAYS.c.at, PLAYS.c.id)
Index("added_by_playlist", ADDED.c.playlist, ADDED.c.at, ADDED.c.id)


@dataclass(frozen=True)
class Play:
    """A user heard ``ms_played`` milliseconds of a track; ``at`` is in milliseconds since 1970."""

    user: str
    track: str
    ms_played: int
    at: int


@dataclass(frozen=True)
class Added:
    """A track was added to a playlist; ``at`` is in milliseconds since 1970."""

    playlist: str
    track: str
    at: int


class StoreUnavailable(Exception):
    """The database doesn't answer, or not in time. The message holds no secret."""


class EventStore:
    """Threads may share one; several processes may use the same database at once."""

    def __init__(self, engine: Engine) -> None:
        """``engine``: as :meth:`open` makes it."""
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect, and make the tables where they are missing.

        Args:
            url: ``sqlite:///PATH`` (four slashes for an absolute one; folders are made), or
                ``postgresql://user:password@host:port/database``.

        Raises:
            InputError: the URL is of something else, or the database can't be reached.
        """
        parsed = _parse(url)
        engine = _sqlite(parsed) if parsed.drivername == "sqlite" else _postgresql(parsed)
        store = cls(engine)
        try:
            store._transact(_make_tables)
        except DBAPIError as error:
            engine.dispose()
            where = parsed.database if parsed.host is None else f"{parsed.host}/{parsed.database}"
            why = _without_secrets(str(error.orig), parsed)
            raise InputError(f"event store {where}: can't be used ({why})") from None
        return store

    def append(self, events: Sequence[Play | Added]) -> None:
        """Store all of them, or none. They outlast any crash once this returns.

        Raises:
            ValueError: a text holds a NUL or half a surrogate pair, a user's or playlist's is
                longer than ``KEY_CHARACTERS``, or a number has more than 64 bits.
            StoreUnavailable: if the connection broke, they may have been stored all the same.
        """
        rows: dict[str, list[dict[str, str | int]]] = {PLAYS.name: [], ADDED.name: []}
        for each in events:
            key = each.user if isinstance(each, Play) else each.playlist
            _require_key(key)
            _require_text(each.track)
            _require_number(each.at)
            if isinstance(each, Play):
                _require_number(each.ms_played)
            rows[PLAYS.name if isinstance(each, Play) else ADDED.name].append(asdict(each))

        def work(connection: Connection) -> None:
            for table in (PLAYS, ADDED):
                if rows[table.name]:
                    connection.execute(insert(table), rows[table.name])

        self._ask(work)

    def plays(self, user: str, limit: int) -> list[Play]:
        """The user's latest ``limit``, oldest first; of the same time, in order of arrival.

        Raises:
            ValueError: the user is none that could be stored.
            StoreUnavailable.
        """
        rows = self._latest(PLAYS, user, limit)
        return [Play(row.user, row.track, row.ms_played, row.at) for row in rows]

    def added(self, playlist: str, limit: int) -> list[Added]:
        """The latest of a playlist, as :meth:`plays`."""
        rows = self._latest(ADDED, playlist, limit)
        return [Added(row.playlist, row.track, row.at) for row in rows]

    def counts(self) -> dict[str, int]:
        """Number of events by kind: ``plays``, ``added``.

        Raises:
            StoreUnavailable.
        """

        def count(connection: Connection, table: Table) -> int:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()

        return self._ask(lambda asked: {each.name: count(asked, each) for each in (PLAYS, ADDED)})

    def ping(self) -> None:
        """Ask the database whether it answers.

        Raises:
            StoreUnavailable.
        """
        self._ask(lambda connection: connection.execute(select(1)))

    def close(self) -> None:
        """Let go of the database's connections."""
        self._engine.dispose()

    def _latest(self, table: Table, key: str, limit: int) -> list[Any]:
        _require_key(key)
        found = self._ask(lambda asked: asked.execute(latest(table, key, limit)).all())
        return list(reversed(found))

    def _ask(self, work: Callable[[Connection], Answer]) -> Answer:
        try:
            return self._transact(work)
        except (DBAPIError, PoolTimeout) as error:
            kind = error.orig if isinstance(error, DBAPIError) else error
            raise StoreUnavailable(
                f"the event store ({self._engine.dialect.name}) is not available "
                f"({type(kind).__name__}); try again later"
            ) from error

    def _transact(self, work: Callable[[Connection], Answer]) -> Answer:
        """Commit what ``work`` did, unless it raises; begin again while SQLite is locked.

        SQLite's own way of waiting sleeps longer each time, so that a writer who is late already
        is passed by all others: three busy processes kept each other waiting for 2 s.
        """
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except OperationalError as error:
                # The lower byte tells locks from other troubles, the others kinds of locks apart.
                code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
                if code != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.0005, 0.003))


def latest(table: Table, key: str, limit: int) -> Select[Any]:
    """The newest first; both databases find them through the table's index, without sorting."""
    column = table.c.user if table is PLAYS else table.c.playlist
    newest = (table.c.at.desc(), table.c.id.desc())
    return select(table).where(column == key).order_by(*newest).limit(max(limit, 0))


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError(
            "event store: not a URL; give sqlite:///PATH or postgresql://user:password@host/db"
        ) from error
    if parsed.drivername not in ("sqlite", "postgresql"):
        raise InputError(
            f"event store: no database {parsed.drivername!r}; give sqlite:///PATH or "
            "postgresql://user:password@host/db"
        )
    if parsed.drivername == "sqlite" and (
        parsed.host or parsed.query or parsed.database in (None, "", ":memory:")
    ):
        raise InputError("event store: give a file, sqlite:///PATH, and nothing after it")
    return parsed


def _sqlite(url: URL) -> Engine:
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"event store {path}: can't be made ({error.strerror})") from error
    engine = create_engine(
        url, hide_parameters=True, pool_timeout=WAIT_S, connect_args={"timeout": WAIT_S}
    )

    @event.listens_for(engine, "connect")
    def durable(connection: Any, _: Any) -> None:
        # Readers don't wait for the writer, and each commit is on the disk before it returns.
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA busy_timeout = 0")

    return engine


def _postgresql(url: URL) -> Engine:
    milliseconds = WAIT_S * 1000
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        pool_pre_ping=True,  # connections from before a restart are dropped, not used
        pool_timeout=WAIT_S,
        connect_args={
            "connect_timeout": WAIT_S,
            "tcp_user_timeout": milliseconds,
            # Durable even where the server is set up to be faster than that.
            "options": f"-c statement_timeout={milliseconds} -c synchronous_commit=on",
        },
    )


def _make_tables(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # "If not exists" is no protection against another process that makes them just now.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": SCHEMA_LOCK})
    for table in _metadata.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))


def _without_secrets(message: str, url: URL) -> str:
    line = message.strip().splitlines()[0] if message.strip() else "no reason given"
    for secret in (url.password, url.query.get("password")):
        if secret:
            line = line.replace(str(secret), "***")
    return line


def _require_text(value: str) -> None:
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("stored text must not contain NUL characters or lone surrogates")


def _require_key(value: str) -> None:
    _require_text(value)
    if len(value) > KEY_CHARACTERS:
        raise ValueError(f"names of users and playlists have at most {KEY_CHARACTERS} characters")


def _require_number(value: int) -> None:
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value} does not fit 64 bits")
