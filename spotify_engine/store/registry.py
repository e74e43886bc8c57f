"""Published versions of each pipeline: which one serves, and which one served before.

::

    ROOT/PIPELINE/ID/bundle/        what was trained, as ``store.bundle`` writes it
    ROOT/PIPELINE/ID/version.json   when it was published, and from what
    ROOT/PIPELINE/active.json       the current version and the previous one
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spotify_engine.dotted import Tree, flatten
from spotify_engine.errors import InputError
from spotify_engine.pipelines import PIPELINES, Pipeline
from spotify_engine.store.atomic import (
    clear_leftovers,
    remove_folder,
    replaced_folder,
    write_text,
)
from spotify_engine.store.bundle import MANIFEST
from spotify_engine.store.files import locked
from spotify_engine.store.publication import copy_bundle, read_manifest
from spotify_engine.strict_json import to_json

log = logging.getLogger(__name__)

ID = re.compile(rf"({'|'.join(PIPELINES)})-[0-9]{{8}}-[0-9]{{6}}-[0-9a-f]{{12}}")
VERSION, ACTIVE = "version.json", "active.json"


class UnknownVersion(InputError):
    """No version has this id."""


@dataclass(frozen=True)
class Version:
    """One published bundle.

    Attributes:
        id: pipeline, UTC time of publication, digest of the content; sorts by time.
        created: ISO 8601, UTC.
        metrics: the numbers among the bundle's metrics, by dotted keys.
        fingerprint: of the data it was trained on; empty if the bundle names none.
        invented: whether that data was generated, as far as the bundle says.
        trained: which epoch it is, and whether training helped, in words; None: it says nothing.
        lineage: what it was made from, as the publisher said.
        path: the bundle's folder.
    """

    id: str
    pipeline: str
    created: str
    metrics: dict[str, float] = field(hash=False)
    fingerprint: str
    invented: bool
    trained: str | None
    lineage: Tree = field(hash=False)
    path: Path


class Registry:
    """The versions under one folder, which is made when something is first published.

    Several processes may use it at once: writers wait for each other, readers for nobody. A crash
    at any moment leaves every version whole, and the current one as it was or as it was to be.
    """

    def __init__(
        self,
        root: Path,
        loaders: Mapping[Pipeline, Callable[[Path], object]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Open a registry.

        Args:
            loaders: open a bundle of each pipeline as a server does and raise ``InputError`` where
                it can't be served, so that no such bundle is published or activated.
            clock: tells the time in UTC, by which versions are named.

        Raises:
            InputError: ``root`` is a file.
        """
        if root.exists() and not root.is_dir():
            raise InputError(f"{root}: can't be written (not a folder); name another registry")
        self.root, self._loaders, self._clock = root, loaders, clock

    def publish(self, bundle: Path, lineage: Mapping[str, Any] | None = None) -> Version:
        """Check a bundle and copy it. What is current stays so.

        The same content again gives the version that is there already, with its first lineage.

        Args:
            lineage: plain values, as JSON has them.

        Raises:
            InputError: the bundle is damaged, holds NaN, its parts don't fit each other, it is of
                an unknown pipeline or release; or the registry can't be written.
        """
        content, pipeline = read_manifest(bundle)
        self._loaders[pipeline](bundle)
        text = json.dumps(dict(lineage or {}), sort_keys=True)
        digest = hashlib.sha256(content).hexdigest()[:12]
        with self._writing():
            folder = self.root / pipeline
            for there in self.versions(pipeline):
                if there.id.endswith(digest) and self._servable(there):
                    return there
            folder.mkdir(parents=True, exist_ok=True)
            clear_leftovers(folder)
            now = self._clock()
            version = f"{pipeline}-{now:%Y%m%d-%H%M%S}-{digest}"
            with replaced_folder(folder / version) as partial:
                copy_bundle(bundle, partial / "bundle", content)
                facts = {"created": now.isoformat(), "lineage": json.loads(text)}
                (partial / VERSION).write_text(to_json(facts))
        log.info("published %s from %s", version, bundle)
        return self.get(version)

    def versions(self, pipeline: str) -> list[Version]:
        """Newest first, without the :meth:`broken` ones."""
        found = [each for each in self._scan(pipeline).values() if isinstance(each, Version)]
        return sorted(found, key=lambda version: (version.created, version.id), reverse=True)

    def broken(self, pipeline: str) -> dict[str, str]:
        """Why a version can't be listed, by id. Looks at descriptions only, not at the weights."""
        return {id: str(why) for id, why in self._scan(pipeline).items() if isinstance(why, str)}

    def whole(self, start: str) -> str:
        """The id that begins like this; ``start`` itself where none does, for others to refuse.

        Raises:
            InputError: several begin like this.
        """
        ids = [id for pipeline in PIPELINES for id in self._scan(pipeline) if id.startswith(start)]
        if start in ids or not ids:
            return start
        if len(ids) > 1:
            raise InputError(f"{start}: {len(ids)} versions begin like this: {', '.join(ids[:5])}")
        return ids[0]

    def get(self, id: str) -> Version:
        """The version of an id.

        Raises:
            UnknownVersion: there is none.
            InputError: it is broken.
        """
        match = ID.fullmatch(id)
        folder = self.root / match[1] / id if match else None
        if match is None or folder is None or not folder.is_dir():
            raise UnknownVersion(
                f"{self.root}: no version {id!r}; spotify-engine versions list shows all"
            )
        return _describe(folder, match[1])

    def current(self, pipeline: str) -> Version | None:
        """The version that serves; None where none does.

        Raises:
            InputError: it is broken, or no longer there.
        """
        id = self._active(pipeline)["current"]
        return self.get(id) if id else None

    def previous(self, pipeline: str) -> Version | None:
        """As :meth:`current`."""
        id = self._active(pipeline)["previous"]
        return self.get(id) if id else None

    def activate(self, id: str, loaded: str | None = None) -> Version:
        """Make a version the current one, and the one that was it the previous one.

        Args:
            loaded: id of a version that the caller has just loaded as a server does, or published;
                it isn't checked a second time.

        Raises:
            InputError: there is no such version, or it can't be served; nothing changes.
        """
        version = self.get(id)
        with self._writing():
            active = self._active(version.pipeline)
            if active["current"] != id:
                self._point(version, active["current"], loaded)
        return version

    def rollback(self, pipeline: str, loaded: str | None = None) -> Version:
        """Swap the current version and the previous one.

        Args:
            loaded: as of :meth:`activate`.

        Raises:
            InputError: there is no previous one, or it can't be served; nothing changes.
        """
        with self._writing():
            active = self._active(pipeline)
            if active["previous"] is None:
                raise InputError(
                    f"{self.root}: {pipeline} has no previous version; activate one by its id"
                )
            version = self.get(active["previous"])
            self._point(version, active["current"], loaded)
        return version

    def compare(self, first: str, second: str) -> list[tuple[str, float | None, float | None]]:
        """(metric, of the first, of the second), by name; None where one has no such metric.

        Raises:
            InputError: the versions are of different pipelines, or one is not there.
        """
        a, b = self.get(first), self.get(second)
        if a.pipeline != b.pipeline:
            raise InputError(
                f"{first} is of {a.pipeline}, {second} of {b.pipeline}: not comparable; give two "
                "versions of one pipeline"
            )
        names = sorted(a.metrics.keys() | b.metrics.keys())
        return [(name, a.metrics.get(name), b.metrics.get(name)) for name in names]

    def remove(self, id: str) -> None:
        """Delete a version, broken or not.

        Raises:
            InputError: there is none, or it is the current or the previous one.
        """
        with self._writing():
            match = ID.fullmatch(id)
            if match is None or not (self.root / match[1] / id).is_dir():
                raise UnknownVersion(
                    f"{self.root}: no version {id!r}; spotify-engine versions list shows all"
                )
            folder = self.root / match[1]
            for role, active in self._active(match[1]).items():
                if active == id:
                    raise InputError(f"{id} is the {role} version; activate another one first")
            remove_folder(folder / id)
            log.info("removed %s", id)

    def stamp(self, pipeline: str) -> str:
        """A short text that is another one whenever another version is current; cheap to ask."""
        try:
            return self._active_file(pipeline).read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def _scan(self, pipeline: str) -> dict[str, Version | str]:
        folder = self.root / _known(pipeline)
        found: dict[str, Version | str] = {}
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.startswith(".") or path.name == ACTIVE:
                continue
            match = ID.fullmatch(path.name)
            if match is None or match[1] != pipeline:
                found[path.name] = f"{path}: not a version of {pipeline}; move it elsewhere"
                continue
            try:
                found[path.name] = _describe(path, pipeline)
            except InputError as error:
                # Gone by now: removed while we looked.
                if path.exists():
                    found[path.name] = str(error)
        return found

    def _active_file(self, pipeline: str) -> Path:
        return self.root / _known(pipeline) / ACTIVE

    def _active(self, pipeline: str) -> dict[str, str | None]:
        path = self._active_file(pipeline)
        if not (text := self.stamp(pipeline)):
            return {"current": None, "previous": None}
        try:
            content = json.loads(text)
            active = {role: content[role] for role in ("current", "previous")}
            if not all(id is None or ID.fullmatch(id) for id in active.values()):
                raise ValueError(f"not ids: {active}")
            return active
        except (LookupError, TypeError, ValueError) as error:
            raise InputError(f"{path}: damaged; delete it and activate a version again") from error

    def _point(self, version: Version, previous: str | None, loaded: str | None) -> None:
        if version.id != loaded:
            self._load(version)
        active = {"current": version.id, "previous": previous}
        write_text(self._active_file(version.pipeline), to_json(active, indent=None))
        log.info("%s serves %s, before it %s", version.pipeline, version.id, previous)

    def _load(self, version: Version) -> None:
        self._loaders[_known(version.pipeline)](version.path)

    def _servable(self, version: Version) -> bool:
        try:
            self._load(version)
        except InputError:
            return False
        return True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with locked(self.root / ".lock"):
                yield
        except OSError as error:
            raise InputError(
                f"{error.filename or self.root}: can't be written ({os.strerror(error.errno or 0)})"
                f"; nothing was published or changed in {self.root}"
            ) from error


def _known(pipeline: str) -> Pipeline:
    for name in PIPELINES:
        if name == pipeline:
            return name
    raise InputError(f"no pipeline {pipeline!r}; there are {' and '.join(PIPELINES)}")


def _describe(folder: Path, pipeline: str) -> Version:
    path = folder / VERSION
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        created, lineage = str(facts["created"]), dict(facts["lineage"])
        path = folder / "bundle" / MANIFEST
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["pipeline"] != pipeline:
            raise InputError(f"{path}: a bundle of {manifest['pipeline']!r}, not of {pipeline!r}")
        return Version(
            id=folder.name,
            pipeline=pipeline,
            created=created,
            metrics=_numbers(manifest.get("metrics")),
            fingerprint=str(manifest.get("data_fingerprint") or ""),
            invented=manifest.get("invented") is True,
            trained=_words(manifest.get("served")),
            lineage=lineage,
            path=folder / "bundle",
        )
    except InputError:
        raise
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: missing or damaged; remove this version and publish it again"
        ) from error


def _words(served: Any) -> str | None:
    said = served.get("in_words") if isinstance(served, dict) else None
    return said if isinstance(said, str) else None


def _numbers(metrics: Any) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in flatten(metrics or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
