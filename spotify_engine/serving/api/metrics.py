"""The metrics that Prometheus reads at ``/metrics``."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counts of one process, or of all processes of this node.

    Of all where the environment variable ``PROMETHEUS_MULTIPROC_DIR`` names a folder that they
    share.
    """

    def __init__(self) -> None:
        folder = os.environ.get(DIRECTORY)
        self._registry = CollectorRegistry()
        if folder:
            _forget_dead(Path(folder))
            MultiProcessCollector(self._registry, path=folder)
        # With a shared folder, its collector reports in place of the metrics themselves.
        registry = None if folder else self._registry
        self.requests = Counter(
            "spotify_engine_requests", "Requests answered", ["route", "status"], registry=registry
        )
        self.latency = Histogram(
            "spotify_engine_request_seconds", "From arrival at a replica to its answer", ["route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.answers = Counter(
            "spotify_engine_answers", "Recommendations by what stood in for what isn't known",
            ["pipeline", "fallback"], registry=registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "spotify_engine_in_flight", "Requests that wait or are computed", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.batch = Histogram(
            "spotify_engine_batch_size", "Requests answered together", ["pipeline"],
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry,
        )  # fmt: skip
        self.version = Gauge(
            "spotify_engine_version", "Replicas that serve this version", ["pipeline", "version"],
            registry=registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self.recall = Gauge(
            "spotify_engine_index_recall", "Share of the best that the index finds, at load",
            ["pipeline"], registry=registry, multiprocess_mode="livemin",
        )  # fmt: skip
        self.load_failures = Counter(
            "spotify_engine_load_failures", "Versions that could not be loaded", ["pipeline"],
            registry=registry,
        )  # fmt: skip
        self.events = Counter("spotify_engine_events", "Events stored", ["type"], registry=registry)

    def changed(self, pipeline: str, old: str | None, new: str) -> None:
        """A version was swapped for another."""
        if old is not None:
            self.version.labels(pipeline, old).set(0)
        self.version.labels(pipeline, new).set(1)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


def _forget_dead(folder: Path) -> None:
    """Gauges of replicas that are gone no longer count; their counters do."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not _alive(int(pid)):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
