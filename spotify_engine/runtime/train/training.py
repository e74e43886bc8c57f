"""Training on Ray Train: data-parallel workers, checkpoints, resuming."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from errno import ENOSPC
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, Required, TypedDict

import ray.train
import ray.util
import torch
from ray import PlacementGroupID
from ray.train import UserCallback
from ray.train.torch import TorchTrainer
from ray.util.placement_group import PlacementGroup, remove_placement_group

from spotify_engine.command import logs_all
from spotify_engine.config import ClusterConfig
from spotify_engine.dotted import Tree
from spotify_engine.errors import InputError
from spotify_engine.learning.devices import CPU
from spotify_engine.learning.exchange import sum_over_workers
from spotify_engine.learning.trainers.base import (
    BaseTrainer,
    EpochReport,
    TrainingDiverged,
    Where,
    load_state,
)
from spotify_engine.runtime.cluster import is_own_cluster
from spotify_engine.runtime.train.devices import UNUSABLE, device_of_worker, with_gpus
from spotify_engine.runtime.train.rendezvous import NodeTorchConfig
from spotify_engine.store.atomic import copy_folder, replaced_folder, write_text
from spotify_engine.strict_json import to_json
from spotify_engine.tracking.tracker import write_epoch

RAY_NAME = "ray"
NOTES = "checkpoint_manager_snapshot.json"  # Ray's name for it
CHECKPOINT = "checkpoint_"
DIVERGED = "diverged.json"
WORKERS = "workers"  # the placement group that they hold
EPOCHS = "epochs.jsonl"  # each epoch's metrics, for whoever watches
SECONDS_BETWEEN_NEWS = 15.0
ROOM_FOR_NOTES = 1 << 20  # bytes
# Ray Train hands these on to its workers.
QUIET = {
    # Printing through a logger shows every line twice.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Logs an error about its own set-up on every start; a machine taken away is noticed without it.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


class TrainingJob(Protocol):
    """The job that workers are sent: plain settings, and paths that every machine can read."""

    @property
    def monitor(self) -> str:
        """The metric that the best checkpoint goes by; higher is better."""

    @property
    def settings(self) -> Tree:
        """Configuration by section, for a report of what went wrong."""

    def open(self) -> BaseTrainer:
        """Read the inputs and make the trainer."""


def train(
    job: TrainingJob,
    checkpoints: Path,
    cluster: ClusterConfig,
    callbacks: Sequence[UserCallback] = (),
) -> list[dict[str, float]]:
    """Train until done, going on from the newest checkpoint if there is one.

    Leaves ``checkpoints/best``, ``checkpoints/last`` and ``checkpoints/epochs.jsonl``.

    Args:
        callbacks: told of each epoch's metrics.

    Returns:
        Metrics of each epoch.

    Raises:
        InputError: the loss stopped being a number (``checkpoints/diverged.json`` has the batch and
            the configuration), or a checkpoint can't be written; what was saved before stays.
    """
    _require_writable(checkpoints)
    (checkpoints / DIVERGED).unlink(missing_ok=True)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    must_have_gpu = cluster.gpus_per_worker == 1
    cluster = with_gpus(cluster)
    trainer = _BatchTrainer(
        _train_worker,
        train_loop_config={
            "job": job,
            "checkpoints": str(checkpoints.resolve()),
            "threads": _threads(cluster),
            "must_have_gpu": must_have_gpu,
            "resume": _newest_without_notes(checkpoints.resolve() / RAY_NAME),
        },
        torch_config=NodeTorchConfig(),
        scaling_config=ray.train.ScalingConfig(
            num_workers=cluster.workers,
            use_gpu=bool(cluster.gpus_per_worker),
            resources_per_worker={
                "CPU": cluster.cpus_per_worker,
                "GPU": cluster.gpus_per_worker or 0,
            },
        ),
        run_config=ray.train.RunConfig(
            name=RAY_NAME,
            storage_path=str(checkpoints.resolve()),
            failure_config=ray.train.FailureConfig(max_failures=cluster.max_failures),
            callbacks=list(callbacks),
            logging_config=ray.train.LoggingConfig(log_level="INFO" if logs_all() else "WARNING"),
            # The best and the newest are always among the kept ones.
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute=job.monitor
            ),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        if (clear := _explained(error, checkpoints)) is not None:
            raise clear from error
        raise
    if result.return_value is not None:
        raise _stopped(result, checkpoints)
    assert result.checkpoint is not None
    last = load_state(Path(result.checkpoint.path))
    best_epoch = int(last["best"][1])
    best = _folder(checkpoints / RAY_NAME, best_epoch)
    if not best.exists():  # an equally good one was kept
        known = result.get_best_checkpoint(job.monitor, "max")
        assert known is not None
        best = Path(known.path)
    for name, folder in (("best", best), ("last", Path(result.checkpoint.path))):
        copy_folder(folder, checkpoints / name)
    return last["history"]


def _threads(cluster: ClusterConfig) -> int:
    """Threads of a worker: all that a machine has, where nobody else uses its cluster."""
    asked = max(1, int(cluster.cpus_per_worker))
    if not is_own_cluster():
        return asked  # one that was joined, or a trial beside others
    limit = os.environ.get("OMP_NUM_THREADS", "")
    cores = int(limit) if limit.isdigit() else os.cpu_count() or 1
    return max(asked, cores // cluster.workers)


def _folder(storage: Path, epoch: int) -> Path:
    """The path of an epoch's checkpoint: names sort by age, and the start, epoch -1, is 0."""
    return storage / f"{CHECKPOINT}{epoch + 1:06d}"


def _newest_without_notes(storage: Path) -> str | None:
    """The newest checkpoint, if what Ray has noted of them all is no longer readable; else None.

    Ray overwrites its notes in place, so that a disk that fills up meanwhile cuts them off.
    """
    notes = storage / NOTES
    try:
        json.loads(notes.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        notes.unlink()
        saved = sorted(storage.glob(f"{CHECKPOINT}*"))
        return str(saved[-1]) if saved else None
    return None


def _require_writable(checkpoints: Path) -> None:
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=checkpoints):
            pass
    except OSError as error:
        raise InputError(
            f"{checkpoints}: checkpoints can't be written here ({error.strerror}); give an --out "
            "that can be written"
        ) from error


def _stopped(result: ray.train.Result, checkpoints: Path) -> InputError:
    """The workers' reason for stopping early, as an error that says where to go on."""
    found = result.return_value
    message = found["message"]
    if "batch" in found:
        write_text(checkpoints / DIVERGED, to_json(found))
        message += f"; batch and settings: {checkpoints / DIVERGED}"
    if result.checkpoint is not None:
        message += f"; last good checkpoint: {result.checkpoint.path}"
    return InputError(message)


def _explained(error: ray.train.TrainingFailedError, checkpoints: Path) -> InputError | None:
    """A clear error where the cause is known."""
    cause: object = getattr(error, "controller_failure", None)
    for failure in [cause, *getattr(error, "worker_failures", {}).values()]:
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, InputError):
            return cause
        if isinstance(cause, OSError) and cause.errno is not None:
            return InputError(_cannot_save(checkpoints, cause))
    return None


def _cannot_save(folder: Path, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else error
    return (
        f"{folder}: a checkpoint can't be written ({reason}); make room or give rights, then run "
        "the same command again to go on from the last one"
    )


class _BatchTrainer(TorchTrainer):
    """Leaves out the actor that frees a dead training's CPUs while its job lives on.

    A batch job ends with its training, which frees them too; the actor needs the dashboard, which a
    job's own cluster doesn't run, and fails noisily without.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [c for c in callbacks if type(c).__name__ != "PlacementGroupCleanerCallback"]

    def _register_sigint_handler(self, controller: Any) -> None:
        """Leave Ctrl-C to the job: it ends in one way, whatever it is doing."""


def note_workers(checkpoints: Path) -> None:
    """Note, in a worker, what :func:`free_workers` must know."""
    group = ray.util.get_current_placement_group()
    if group is not None:
        write_text(checkpoints / WORKERS, group.id.hex())


def free_workers(checkpoints: Path) -> None:
    """Free the CPUs of a training whose controller was killed; Ray holds them until the job ends.

    Ray Train's own remedy needs the dashboard (see ``_BatchTrainer``).
    """
    note = checkpoints / WORKERS
    if note.exists():
        group = PlacementGroup(PlacementGroupID(bytes.fromhex(note.read_text(encoding="utf-8"))))
        remove_placement_group(group)
        note.unlink()


class WorkerConfig(TypedDict):
    """What each worker is told."""

    job: TrainingJob
    checkpoints: str
    threads: int
    must_have_gpu: bool
    resume: str | None


class Ended(Where, total=False):
    """What ended a training before its time."""

    message: Required[str]
    config: Tree


class _CannotSave(RuntimeError):
    """Rank 0 failed to write a checkpoint; raised on every worker."""


def _train_worker(config: WorkerConfig) -> Ended | None:
    """One worker's part.

    Returns:
        None, or what ended the training before its time and would again (plain values, with the
        message for the user): had it been raised, Ray would try again.
    """
    torch.set_num_threads(config["threads"])
    # Some of Ray Train's news goes past its own log level.
    logging.getLogger().setLevel(logging.WARNING)
    context = ray.train.get_context()
    rank = context.get_world_rank()
    job = config["job"]
    device = device_of_worker(rank)
    if config["must_have_gpu"] and device == CPU:
        return {"message": UNUSABLE}
    trainer = job.open()
    trainer.to(device)
    _restore(trainer, config["resume"])
    storage = Path(config["checkpoints"]) / RAY_NAME
    if rank == 0:
        trainer.progress = _progress(trainer)
        note_workers(storage.parent)

    def on_epoch(report: EpochReport) -> None:
        if rank == 0:
            _say(report, trainer)
            write_epoch(storage.parent / EPOCHS, report.metrics)
        if not trainer.wants_checkpoint(report):
            ray.train.report(report.metrics)
            return
        checkpoint, problem = _folder(storage, report.epoch), ""
        if rank == 0:
            try:
                _write_checkpoint(report, checkpoint)
            except OSError as error:
                problem = _cannot_save(storage.parent, error)
        # None may report and wait for the others if another has given up.
        if sum_over_workers(float(bool(problem))):
            raise _CannotSave(problem)
        ray.train.report(
            report.metrics,
            checkpoint=ray.train.Checkpoint.from_directory(checkpoint) if rank == 0 else None,
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
        )

    try:
        trainer.fit(on_epoch)
    except TrainingDiverged as error:
        return {"message": str(error), **error.where, "config": job.settings}
    except _CannotSave as error:
        return {"message": str(error)}
    return None


def _restore(trainer: BaseTrainer, resume: str | None) -> None:
    """Go on from the last checkpoint: of this training, or of the one that it resumes."""
    previous = ray.train.get_checkpoint()
    if previous is not None:
        with previous.as_directory() as folder:
            trainer.restore(Path(folder))
    elif resume:
        trainer.restore(Path(resume))


def _write_checkpoint(report: EpochReport, folder: Path) -> None:
    """Write a checkpoint in one step: killed or without room, there is none, not half of one."""
    # One may be there already: not reported, as the worker ended in between.
    with replaced_folder(folder) as partial:
        report.save(partial)
        # Else Ray's notes would be the next to fail.
        if shutil.disk_usage(partial).free < ROOM_FOR_NOTES:
            raise OSError(ENOSPC, os.strerror(ENOSPC))


def _progress(trainer: BaseTrainer) -> Callable[[Iterable[Any]], Iterable[Any]]:
    """Says how far an epoch has come, in whole lines: a bar redrawn does not survive a log."""

    def steps_with_news(steps: Iterable[Any]) -> Iterator[Any]:
        said = perf_counter()
        for number, step in enumerate(steps):
            if perf_counter() - said > SECONDS_BETWEEN_NEWS:
                said = perf_counter()
                epoch = f"epoch {trainer.next_epoch + 1}/{trainer.epochs}"
                print(f"{epoch}: step {number}/{trainer.steps_per_epoch}", flush=True)
            yield step

    return steps_with_news


METRIC_NAMES = {  # of metrics, as they are printed
    "loss": "loss",
    "train_recall@10": "recall@10 on what is learned",
    "val_recall@10": "validation recall@10",
    "val_ndcg@10": "NDCG@10",
    "val_loss": "BPR loss",
}


def _say(report: EpochReport, trainer: BaseTrainer) -> None:
    metrics = report.metrics
    figures = [f"{name} {metrics[key]:.4f}" for key, name in METRIC_NAMES.items() if key in metrics]
    if report.epoch < 0:
        print(f"start: {METRIC_NAMES[trainer.monitor]} {metrics[trainer.monitor]:.4f}", flush=True)
        return
    print(
        f"epoch {report.epoch + 1}/{trainer.epochs}: {', '.join(figures)} "
        f"({metrics['train_seconds']:.1f} s + {metrics['validation_seconds']:.1f} s)"
        f"{' *' if report.best else ''}",
        flush=True,
    )
