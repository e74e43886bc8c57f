"""Recording the runs of jobs: settings, metrics and how each ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spotify_engine.config import JobConfig
from spotify_engine.dotted import Flat, flatten
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.tracking.settings import Status, TrackingConfig
from spotify_engine.tracking.tracker import TrackedRun, Tracker, recorded_id, recorded_status

OFF = TrackingConfig(enabled=False)


@contextmanager
def recorded(run: Run[Any], pipeline: str) -> Iterator[TrackedRun]:
    """Record a training run while the block runs, and how the block ends.

    A run whose record is already finished is not recorded again. Enter this only after the inputs
    were accepted: a refused run leaves no folder and no record.
    """
    config = OFF if recorded_status(run.out) == "FINISHED" else run.config.tracking
    tracker = Tracker(config, run.out.resolve().parent)
    settings = flatten(run.config.model_dump(mode="json"))
    record = tracker.begin("train", pipeline, run.out.name, settings, run.out, began=run.began)
    with closing_record(tracker, record):
        yield record


@contextmanager
def closing_record(tracker: Tracker, record: TrackedRun) -> Iterator[None]:
    """End a record as the block ends, and the tracker with it."""
    status: Status = "KILLED"
    try:
        yield
        status = "FINISHED"
    except Exception as error:
        status = "FAILED"
        record.tags({"error": f"{type(error).__name__}: {error}"[:1000]})
        raise
    finally:
        record.end(status)
        tracker.close()


def record_report(run: Run[Any], record: TrackedRun, report: Mapping[str, Any]) -> None:
    """Figures, fingerprint and pictures of a finished run."""
    record.metrics(figures(report))
    record.tags({"data_fingerprint": run.stages["bundle"]["result"]["data_fingerprint"]})
    record.artefacts([run.report, run.picture, run.breakdown_picture, run.out / "config.yaml"])


def record_audit(
    run: Path,
    pipeline: str,
    config: JobConfig,
    found: Mapping[str, Any],
    differences: int,
    began: float,
) -> None:
    """The recomputed figures of a run, as a run of their own that belongs to it.

    Args:
        began: when recomputing them did; seconds since 1970.
    """
    tracker = Tracker(config.tracking, run.resolve().parent)
    settings = flatten(config.model_dump(mode="json"))
    record = tracker.begin(
        "evaluate",
        pipeline,
        run.resolve().name,
        settings,
        None,
        parent_id=recorded_id(run),
        began=began,
    )
    with closing_record(tracker, record):
        record.metrics(flatten(dict(found)) | {"differences": differences})


def figures(report: Mapping[str, Any]) -> Flat:
    """Figures to compare runs by: the model's metrics, the baselines' recall, seconds by stage."""
    found = flatten(report.get("metrics", {})) | {
        f"seconds.{stage}": value for stage, value in report["seconds"].items()
    }
    for name, row in report.get("baselines", {}).items():
        found |= {f"baselines.{name}.{key}": row["test"].get(key) for key in ("recall@10",)}
    for name, row in report.get("leaderboard", {}).items():
        for part in ("next_song", "held_out"):
            found |= {f"{name}.{part}.{key}": value for key, value in (row[part] or {}).items()}
    return found
