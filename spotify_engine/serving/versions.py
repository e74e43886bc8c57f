"""Which versions a replica serves: loaded in the background, swapped in one step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Lock, Thread

from spotify_engine.errors import InputError
from spotify_engine.pipelines import PIPELINES
from spotify_engine.serving.engines.playlists import PlaylistEngine
from spotify_engine.serving.engines.sessions import SessionEngine
from spotify_engine.store.registry import Registry, Version

Engine = PlaylistEngine | SessionEngine
log = logging.getLogger(__name__)


class LoadedVersions:
    """The registry's current versions, loaded.

    A request takes an engine once and is answered by it wholly, whatever is swapped meanwhile.

    Attributes:
        engines: by pipeline; entries are replaced, never changed.
        failures: by pipeline, why its current version is not the one that is served.
    """

    def __init__(
        self,
        registry: Registry,
        load: Callable[[Version], Engine],
        changed: Callable[[str, str | None, str], None] = lambda pipeline, old, new: None,
    ) -> None:
        """Serve the current versions of a registry, or given bundles.

        Args:
            load: raises InputError for a bundle that can't be served.
            changed: told pipeline, old version and new version after each swap.
        """
        self.registry, self._load, self._changed = registry, load, changed
        self.engines: dict[str, Engine] = {}
        self.failures: dict[str, str] = {}
        self._stamps: dict[str, str] = {}
        self._locks: dict[str, Lock] = {pipeline: Lock() for pipeline in PIPELINES}
        self._stop = Event()
        self._watcher: Thread | None = None

    def refresh(self) -> None:
        """Load what has become current; a version that can't be loaded leaves the old one."""
        for pipeline in PIPELINES:
            with self._locks[pipeline]:
                self._refresh(pipeline)

    def watch(self, seconds: float) -> None:
        """Refresh every so often, in a thread, until :meth:`close`."""

        def work() -> None:
            while not self._stop.wait(seconds):
                try:
                    self.refresh()
                except Exception:
                    log.exception("looking for new versions failed; trying again")

        self._watcher = Thread(target=work, name="versions", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Stop looking for new versions."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()

    def activate(self, version_id: str) -> Version:
        """Load a version, then make it current for everybody.

        Raises:
            UnknownVersion: there is none of this id.
            InputError: it can't be served; the current one serves on.
        """
        version = self.registry.get(version_id)
        with self._locks[version.pipeline]:
            return self._move(version, lambda loaded: self.registry.activate(version_id, loaded))

    def rollback(self, pipeline: str) -> Version:
        """Load the previous version, then make it current for everybody.

        Raises:
            InputError: there is none, or it can't be served.
        """
        with self._locks[pipeline]:
            version = self.registry.previous(pipeline)
            if version is None:
                raise InputError(f"pipeline: {pipeline} has no previous version to go back to")
            return self._move(version, lambda loaded: self.registry.rollback(pipeline, loaded))

    def _move(self, version: Version, point: Callable[[str | None], Version]) -> Version:
        """``point`` is told which version was loaded just now, if any."""
        served = self.engines.get(version.pipeline)
        if served is not None and served.version == version.id:
            engine, loaded = served, None
        else:
            engine, loaded = self._load(version), version.id
        moved = point(loaded)
        if moved.id != version.id:
            # Somebody else moved in between; theirs is found by the next refresh.
            return moved
        self._swap(version.pipeline, engine)
        self._stamps[version.pipeline] = self.registry.stamp(version.pipeline)
        self.failures.pop(version.pipeline, None)
        return moved

    def _refresh(self, pipeline: str) -> None:
        stamp = self.registry.stamp(pipeline)
        if self._stamps.get(pipeline) == stamp:
            return
        try:
            current = self.registry.current(pipeline)
            if current is not None:
                self._serve(current)
            self.failures.pop(pipeline, None)
        except InputError as error:
            self.failures[pipeline] = str(error)
            log.error("%s: %s", pipeline, error)
            if pipeline not in self.engines:
                self._serve_previous(pipeline)
        self._stamps[pipeline] = stamp

    def _serve_previous(self, pipeline: str) -> None:
        """Something is better than nothing when a replica starts."""
        try:
            previous = self.registry.previous(pipeline)
            if previous is not None:
                self._serve(previous)
        except InputError as error:
            log.error("%s: nor the previous version: %s", pipeline, error)

    def _serve(self, version: Version) -> None:
        served = self.engines.get(version.pipeline)
        if served is None or served.version != version.id:
            self._swap(version.pipeline, self._load(version))

    def _swap(self, pipeline: str, engine: Engine) -> None:
        old = self.engines.get(pipeline)
        self.engines[pipeline] = engine
        if old is not engine:
            self._changed(pipeline, old.version if old else None, engine.version)
