"""The training loop that every trainer shares: epochs, validation, early stopping, checkpoints."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from time import perf_counter
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch import distributed as dist

from spotify_engine.errors import InputError
from spotify_engine.learning.devices import device_of

log = logging.getLogger(__name__)

STATE_FILE = "state.pt"

ExtraState = dict[str, Any]
"""What a trainer saves beside model and optimisers: tensors and plain values, nested."""


class State(TypedDict):
    """A checkpoint's content: what :meth:`BaseTrainer.save` writes."""

    model: dict[str, Tensor]
    optimizers: list[dict[str, Any]]
    next_epoch: int
    best: list[float]
    """The best of the monitored metric, and its epoch."""
    history: list[dict[str, float]]
    start: NotRequired[float | None]
    """Runs begun before it was noted go on without."""
    extra: ExtraState


class Where(TypedDict, total=False):
    """Where a loss stopped being a number, and the playlists of that batch."""

    epoch: int
    batch: int
    playlists: list[int]


class TrainingDiverged(RuntimeError):
    """The loss stopped being a number; names the epoch and batch at which it did.

    Attributes:
        where: epoch, batch and what was in it, ready for JSON.
    """

    def __init__(self, message: str, where: Where | None = None) -> None:
        super().__init__(message)
        self.where: Where = where or {}


@dataclass
class EarlyStopping:
    """Stop after ``patience`` epochs without a better validation metric."""

    patience: int
    best: float = -math.inf
    best_epoch: int = -1

    def update(self, epoch: int, value: float) -> bool:
        """Record an epoch's metric; True when it is the best so far."""
        if value > self.best:
            self.best, self.best_epoch = value, epoch
            return True
        return False

    def exhausted(self, epoch: int) -> bool:
        """Whether an epoch is so far past the best one that training stops."""
        return epoch - self.best_epoch >= self.patience


@dataclass(frozen=True)
class Worker:
    """This process's place among the data-parallel workers."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Worker:
        """This process's place among the workers; alone where there are no others."""
        if dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()


@dataclass
class EpochReport:
    """The result of an epoch.

    Attributes:
        epoch: from 0; -1 is before the first.
        metrics: loss, seconds and validation metrics; the same on all workers only for ``epoch``.
        best: whether this epoch's validation metric is the best so far.
        save: writes everything needed to resume into a folder.
    """

    epoch: int
    metrics: dict[str, float]
    best: bool
    save: Callable[[Path], None] = field(repr=False)


class BaseTrainer(ABC):
    """Runs epochs until they are done or validation stops getting better.

    Subclasses bring the model, the optimisers and what an epoch does. Randomness must derive from
    (seed, epoch), so that an epoch after a resume equals the undisturbed one, and several workers
    learn what one would.
    """

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    measures_start = False
    """Whether the model is worth something before the first epoch, and may be the best there is."""

    def __init__(self, epochs: int, patience: int, monitor: str, worker: Worker | None = None):
        self.epochs, self.monitor = epochs, monitor
        self.worker = worker or Worker.current()
        self.stopping = EarlyStopping(patience)
        self.next_epoch = 0
        self.history: list[dict[str, float]] = []
        self.start: float | None = None  # the monitored metric before the first epoch
        # Wraps the steps of an epoch: whoever watches may count them.
        self.progress: Callable[[Iterable[Any]], Iterable[Any]] = lambda steps: steps

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch, the same on every worker."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the model is, and what a step needs of the rest."""
        return device_of(self.model)

    def to(self, device: torch.device) -> None:
        """Move model and optimisers; before the first epoch, or before :meth:`restore`."""
        # Parameters stay the objects that the optimisers hold; their states are made where they
        # are.
        self.model.to(device)

    def wants_checkpoint(self, report: EpochReport) -> bool:
        """Whether an epoch is saved, alike on all workers; the last always must be."""
        return True

    @abstractmethod
    def train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass; returns at least ``loss``."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Validation metrics, ``monitor`` among them; runs on rank 0 only."""

    def fit(self, on_epoch: Callable[[EpochReport], None]) -> None:
        """Train from ``next_epoch`` on; ``on_epoch`` runs on every worker after each epoch.

        A trainer that ``measures_start`` first reports epoch -1, the model as it begins.
        """
        if self.measures_start and self.next_epoch == 0 and self.stopping.best == -math.inf:
            metrics = {"epoch": -1.0} | (self.validate() if self.worker.rank == 0 else {})
            self.start = self._from_rank_zero(metrics.get(self.monitor, 0.0))
            best = self.stopping.update(-1, self.start)
            on_epoch(EpochReport(-1, metrics, best, self.save))
        while self.next_epoch < self.epochs and not self.finished:
            epoch, started = self.next_epoch, perf_counter()
            metrics = {"epoch": float(epoch)} | self.train_epoch(epoch)
            metrics["train_seconds"] = perf_counter() - started
            self.next_epoch += 1
            if self.worker.rank == 0:
                started = perf_counter()
                metrics |= self.validate()
                metrics["validation_seconds"] = perf_counter() - started
            value = self._from_rank_zero(metrics.get(self.monitor, 0.0))
            best = self.stopping.update(epoch, value)
            self.after_epoch(value)
            self.history.append(metrics)
            on_epoch(EpochReport(epoch, metrics, best, self.save))
            log.debug("epoch %d: %s", epoch, metrics)

    def after_epoch(self, value: float) -> None:  # noqa: B027
        """Act on the monitored metric, alike on all workers, such as by a lower learning rate."""

    def extra_state(self) -> ExtraState:
        """State a subclass needs to resume beside model and optimisers: tensors, plain values."""
        return {}

    def load_extra_state(self, state: ExtraState) -> None:  # noqa: B027
        """Take back what :meth:`extra_state` gave."""

    @property
    def finished(self) -> bool:
        """Whether early stopping has ended the run."""
        return self.next_epoch > 0 and self.stopping.exhausted(self.next_epoch - 1)

    def _from_rank_zero(self, value: float) -> float:
        """The value that rank 0 holds, on every worker: all must agree on when to stop."""
        if self.worker.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, src=0)
        return float(shared)

    def save(self, folder: Path) -> None:
        """Write model, optimisers, epoch, early stopping and history.

        Raises:
            OSError: they can't be written, such as for want of room.
        """
        state: State = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "next_epoch": self.next_epoch,
            "best": [self.stopping.best, self.stopping.best_epoch],
            "history": self.history,
            "start": self.start,
            "extra": self.extra_state(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with (folder / STATE_FILE).open("wb") as file:
                torch.save(state, file)
        except RuntimeError as error:
            # What torch raises of its own hides what the file system said.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    def restore(self, folder: Path) -> None:
        """Continue from what :meth:`save` wrote.

        Raises:
            InputError: the checkpoint belongs to another model.
        """
        state = load_state(folder)
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            raise InputError(f"{folder}: checkpoint of another model ({first})") from error
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.next_epoch = state["next_epoch"]
        best, epoch = state["best"]
        self.stopping.best, self.stopping.best_epoch = best, int(epoch)
        self.history = state["history"]
        self.start = state.get("start")  # runs begun before it was noted go on without
        self.load_extra_state(state["extra"])
        log.info("going on from %s, before epoch %d", folder, self.next_epoch)


def load_state(folder: Path) -> State:
    """A checkpoint's content; only tensors and plain values are ever unpickled.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / STATE_FILE
    if not path.exists():
        raise InputError(f"{path}: no checkpoint here")
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, UnpicklingError) as error:
        raise InputError(f"{path}: damaged checkpoint; delete {folder} to start over") from error
    return state
