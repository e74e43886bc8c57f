"""Everything that a replica does, apart from HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from spotify_engine.errors import InputError
from spotify_engine.pipelines import PIPELINES, Pipeline, main_figures
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.recommendation import counted
from spotify_engine.recommenders import open_registry
from spotify_engine.serving.api.answers import (
    Answer,
    EventsAnswer,
    Exported,
    Health,
    ReadAnswer,
    TrackDetails,
    TrackOut,
    TracksAnswer,
    UnifiedAnswer,
    VersionOut,
    VersionsAnswer,
)
from spotify_engine.serving.api.metrics import Metrics
from spotify_engine.serving.api.requests import (
    AddEvent,
    CompleteRequest,
    Event,
    ExportRequest,
    NextRequest,
    PlayEvent,
    ReadRequest,
    RecommendRequest,
)
from spotify_engine.serving.engines.batcher import Batcher
from spotify_engine.serving.engines.playlists import PlaylistEngine
from spotify_engine.serving.engines.sessions import SessionEngine
from spotify_engine.serving.settings import ServeSettings, read_token
from spotify_engine.serving.versions import Engine, LoadedVersions
from spotify_engine.sessions.queries import unix_seconds
from spotify_engine.sessions.recommender import SessionRecommender
from spotify_engine.store.cache import make_cache
from spotify_engine.store.events import Added, EventStore, Play, StoreUnavailable
from spotify_engine.store.registry import Version

Result = TypeVar("Result")


class NotServed(Exception):
    """No version of a pipeline is served, so nothing can be answered."""

    def __init__(self, pipeline: str) -> None:
        super().__init__(
            f"no version of {pipeline} is served; publish and activate one "
            "(spotify-engine versions)"
        )


class UnknownTrack(LookupError):
    """The catalogue has no track of this id."""


class Service:
    """Answers requests from the registry's current versions and the stored events."""

    def __init__(self, settings: ServeSettings, clock: Callable[[], float] = time.time) -> None:
        """Open the versions, caches and the event store that settings name.

        Args:
            clock: seconds since 1970.

        Raises:
            InputError: the event store or the cache can't be opened, or the token's file not read.
        """
        self.settings, self.clock = settings, clock
        path = settings.admin_token
        self.token = None if path is None else read_token(path)
        path = settings.events_token
        self.events_token = None if path is None else read_token(path, "events_token")
        self.metrics = Metrics()
        self.registry = open_registry(settings.registry)
        self.events = EventStore.open(settings.events)
        self.cache = make_cache(settings.cache, settings.cache_mib << 20)
        self.served = LoadedVersions(self.registry, self._load, self.metrics.changed)
        # Scoring has a thread of its own for each pipeline; what waits for a disk or a lock has
        # others, so that neither holds the other up.
        self._scoring = {name: ThreadPoolExecutor(1, f"{name}") for name in PIPELINES}
        self._others = ThreadPoolExecutor(4, "others")
        self._complete: Batcher[CompleteRequest, Answer] = self._batcher("playlists")
        self._next: Batcher[NextRequest, Answer] = self._batcher("sessions")

    def _batcher(self, pipeline: Pipeline) -> Batcher[Any, Answer]:
        size = self.metrics.batch.labels(pipeline)
        return Batcher(self._scoring[pipeline], self.settings.engine.batch, size.observe)

    def _load(self, version: Version) -> Engine:
        settings = self.settings.engine
        try:
            if version.pipeline == "playlists":
                playlists = PlaylistRecommender.load(version.path)
                engine = PlaylistEngine(playlists, version.id, settings, self.events, self.cache)
                self.metrics.recall.labels(version.pipeline).set(engine.recall)
                return engine
            sessions = SessionRecommender.load(version.path)
            return SessionEngine(sessions, version.id, settings, self.events, self.clock)
        except InputError:
            self.metrics.load_failures.labels(version.pipeline).inc()
            raise

    def start(self) -> None:
        """Load the current versions, and go on looking for others."""
        self.served.refresh()
        self.served.watch(self.settings.poll_seconds)

    def close(self) -> None:
        """Let go of versions, threads and the event store."""
        self.served.close()
        for executor in (*self._scoring.values(), self._others):
            executor.shutdown()
        self.events.close()

    async def complete(self, request: CompleteRequest) -> Answer:
        """Complete a playlist.

        Raises:
            NotServed, StoreUnavailable
        """
        return self._count(await self._complete.submit(self._playlists(), request))

    async def next(self, request: NextRequest) -> Answer:
        """As :meth:`complete`."""
        return self._count(await self._next.submit(self._sessions(), request))

    async def recommend(self, request: RecommendRequest) -> UnifiedAnswer:
        """As :meth:`complete`, by the pipeline that knows more of what is given."""
        pipeline, why = await self._in_background(lambda: self._choose(request))
        part = request.playlist if pipeline == "playlists" else request.session
        asked = {**dict(part or {}), "k": request.k, "explain": request.explain}
        if pipeline == "playlists":
            answer = await self.complete(CompleteRequest.model_validate(asked))
        else:
            answer = await self.next(NextRequest.model_validate(asked))
        return UnifiedAnswer.model_construct(**dict(answer), why=why)

    def _choose(self, request: RecommendRequest) -> tuple[str, str]:
        """(pipeline, why it)."""
        given = [
            name
            for name, part in (("playlists", request.playlist), ("sessions", request.session))
            if part is not None
        ]
        served = [name for name in given if name in self.served.engines]
        if len(given) == 1 or not served:
            return given[0], f"only a {given[0].removesuffix('s')} was given"
        if len(served) == 1:
            [other] = set(given) - set(served)
            return served[0], f"no version of {other} is served"
        assert request.playlist is not None
        assert request.session is not None
        tracks, of_tracks = self._playlists().known(request.playlist)
        songs, of_songs, user = self._sessions().known(request.session)
        found = (
            f"known of the session: {songs} of {counted(of_songs, 'song')} and "
            f"{'the' if user else 'no'} user; of the playlist: {tracks} of "
            f"{counted(of_tracks, 'track')}"
        )
        if songs + user > tracks:
            return "sessions", found
        if songs + user == tracks and songs:
            return "sessions", f"{found}; as many, and a session's songs are the latest"
        if tracks or request.playlist.title:
            return "playlists", found if tracks else f"{found}, but its title"
        return "playlists", f"{found}: nothing, so what is popular in playlists"

    async def add_events(self, events: Sequence[Event]) -> EventsAnswer:
        """Store events; they are durable when this returns.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        now = self.clock()
        stored: list[Play | Added] = [_stored(event, now) for event in events]

        def work() -> list[str]:
            self.events.append(stored)
            unmatched: dict[str, None] = {}
            for kind, pipeline in ((Play, "sessions"), (Added, "playlists")):
                tracks = [event.track for event in stored if isinstance(event, kind)]
                engine = self.served.engines.get(pipeline)
                unmatched |= dict.fromkeys(engine.unknown(tracks) if engine else tracks)
            return list(unmatched)

        unmatched = await self._in_background(work)
        for kind in ("play", "add"):
            self.metrics.events.labels(kind).inc(sum(event.type == kind for event in events))
        return EventsAnswer(stored=len(stored), unmatched=unmatched)

    async def tracks(self, pipeline: Pipeline, query: str, k: int) -> TracksAnswer:
        """Find tracks by name.

        Raises:
            NotServed
        """
        engine = self._engine(pipeline)
        catalogue = engine.catalogue
        rows = await self._in_background(lambda: catalogue.search(query, k))
        return TracksAnswer(
            pipeline=pipeline,
            version=engine.version,
            tracks=[
                TrackOut(
                    id=catalogue.ids[row],
                    name=catalogue.names[row],
                    artist=catalogue.artists[row],
                    popularity=int(catalogue.popularity[row]),
                )
                for row in rows
            ],
        )

    async def track(self, pipeline: Pipeline, id_: str) -> TrackDetails:
        """The details of one track of the catalogue.

        Args:
            id_: an id, URI or link.

        Raises:
            NotServed, UnknownTrack
        """
        engine = self._engine(pipeline)
        row = engine.catalogue.row(id_)
        if row is None:
            raise UnknownTrack
        catalogue = engine.catalogue
        return TrackDetails(
            pipeline=pipeline,
            version=engine.version,
            id=catalogue.ids[row],
            name=catalogue.names[row],
            artist=catalogue.artists[row],
            **dict(engine.describe(row)),
        )

    async def read(self, request: ReadRequest) -> ReadAnswer:
        """Read a pasted playlist.

        Raises:
            Unusable: the text can't be read.
            NotServed
        """
        engine = self._playlists()
        return await self._in_background(lambda: engine.read(request))

    async def export(self, request: ExportRequest) -> Exported:
        """Write a playlist for another program.

        Raises:
            Unusable: a track isn't in the catalogue, or nothing would be written.
            NotServed
        """
        engine = self._playlists()
        return await self._in_background(lambda: engine.export(request))

    async def versions(self) -> VersionsAnswer:
        """All registered versions."""
        return await self._in_background(self._versions)

    async def activate(self, version_id: str) -> VersionOut:
        """Let a version serve.

        Raises:
            UnknownVersion: there is none of this id.
            InputError: it can't be served.
        """
        version = await self._in_background(lambda: self.served.activate(version_id))
        return self._version(version)

    async def rollback(self, pipeline: Pipeline) -> VersionOut:
        """Let the version before serve again.

        Raises:
            InputError: there is no previous version, or it can't be served.
        """
        version = await self._in_background(lambda: self.served.rollback(pipeline))
        return self._version(version)

    async def ready(self) -> Health:
        """Whether this replica answers, and from what."""
        versions = {name: engine.version for name, engine in self.served.engines.items()}
        problems = [
            self.without_paths(f"{name}: {why}") for name, why in self.served.failures.items()
        ]
        try:
            await self._in_background(self.events.ping)
        except StoreUnavailable as error:
            problems.append(str(error))
            return Health(status="unavailable", versions=versions, problems=problems)
        status: Any = "ok" if versions else "starting"
        if not versions:
            problems.append(str(NotServed("either pipeline")))
        return Health(status=status, versions=versions, problems=problems)

    def _versions(self) -> VersionsAnswer:
        versions: list[VersionOut] = []
        broken: dict[str, str] = {}
        for pipeline in PIPELINES:
            versions += [self._version(each) for each in self.registry.versions(pipeline)]
            broken |= self.registry.broken(pipeline)
        return VersionsAnswer(
            versions=versions,
            broken={name: self.without_paths(why) for name, why in broken.items()},
            failures={name: self.without_paths(why) for name, why in self.served.failures.items()},
        )

    def without_paths(self, text: str) -> str:
        """A message about the registry that doesn't say where on this machine it is."""
        root = self.settings.registry
        for path in (str(root.resolve()), str(root)):
            text = text.replace(path, "registry")
        return text

    def _version(self, version: Version) -> VersionOut:
        def is_(other: Version | None) -> bool:
            return other is not None and other.id == version.id

        pipeline: Any = version.pipeline
        served = self.served.engines.get(version.pipeline)
        return VersionOut(
            id=version.id,
            pipeline=pipeline,
            created=version.created,
            current=is_(_or_none(self.registry.current, version.pipeline)),
            previous=is_(_or_none(self.registry.previous, version.pipeline)),
            served=served is not None and served.version == version.id,
            metrics=version.metrics,
            main=main_figures(version.pipeline, version.metrics),
            invented=version.invented,
            trained=version.trained,
            lineage=version.lineage,
        )

    def _engine(self, pipeline: str) -> Engine:
        engine = self.served.engines.get(pipeline)
        if engine is None:
            raise NotServed(pipeline)
        return engine

    def _playlists(self) -> PlaylistEngine:
        engine = self._engine("playlists")
        assert isinstance(engine, PlaylistEngine)
        return engine

    def _sessions(self) -> SessionEngine:
        engine = self._engine("sessions")
        assert isinstance(engine, SessionEngine)
        return engine

    def _count(self, answer: Answer) -> Answer:
        self.metrics.answers.labels(answer.pipeline, answer.fallback or "none").inc()
        return answer

    async def _in_background(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._others, work)


def _or_none(find: Callable[[str], Version | None], pipeline: str) -> Version | None:
    try:
        return find(pipeline)
    except InputError:
        return None  # broken: listed as such


def _stored(event: Event, now: float) -> Play | Added:
    at_ms = int((now if event.at is None else unix_seconds(event.at)) * 1000)
    if isinstance(event, PlayEvent):
        return Play(event.user, event.track, event.ms_played, at_ms)
    assert isinstance(event, AddEvent)
    return Added(event.playlist, event.track, at_ms)
