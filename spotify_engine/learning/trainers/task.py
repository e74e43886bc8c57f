"""The training of a task, shared by the simple and the advanced trainer: Adam over its losses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from spotify_engine.learning.exchange import sum_gradients
from spotify_engine.learning.trainers.base import (
    BaseTrainer,
    ExtraState,
    TrainingDiverged,
    Worker,
)


class SessionTrainingConfig(BaseModel):
    """Training settings of a model of listening."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(15, ge=1)
    steps_per_epoch: int | None = Field(None, ge=1)
    """None: as many as it takes to pass over the data once."""
    batch_size: int = Field(512, ge=1)
    """Users (of a GAT) or plays (of the session model) a step, over all workers together."""
    loss: Literal["softmax", "bpr"] = "softmax"
    """Of the GATs: against all songs, or against one that wasn't heard for each that was."""
    keep: tuple[float, float] = (0.5, 0.9)
    """Range from which each user of a GAT's batch draws the share of songs that stay in the graph;
    the others are predicted."""
    learning_rate: float = Field(0.01, gt=0, le=1)
    """Of Adam."""
    weight_decay: float = Field(0.0, ge=0)
    start_scale: float = Field(3.0, gt=0)
    """Factor on the spectral embeddings that a GAT begins with."""
    patience: int = Field(4, ge=1)
    """Epochs without a better validation metric before the advanced trainer stops."""
    plateau_patience: int = Field(1, ge=0)
    """Epochs without a better one before its learning rate is halved."""
    checkpoint_every: int = Field(5, ge=1)
    """Epochs between the advanced trainer's regular checkpoints."""
    validate_on: int = Field(4000, ge=1)
    """Plays (of the session model) that are ranked after each epoch, drawn once."""
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _range_is_ordered(self) -> SessionTrainingConfig:
        low, high = self.keep
        if not 0 < low <= high < 1:
            raise ValueError(f"keep must be 0 < low <= high < 1, got {self.keep}")
        return self


class Loss(NamedTuple):
    """One worker's part of a step.

    Attributes:
        value: mean over this worker's part; None when it has nothing in this step.
        share: this worker's part of the step, in 0..1; 1 with one worker.
    """

    value: Tensor | None
    share: float


class Task(Protocol):
    """A model with what it is to learn. Knows no optimiser, no epochs and no files."""

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""

    def to(self, device: torch.device) -> None:
        """Compute there from here on, where that pays."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""

    def losses(self, epoch: int, worker: Worker) -> Iterator[Loss]:
        """This worker's steps; the next is drawn after the optimiser has moved."""

    def end_epoch(self) -> None:
        """Do what is due between epochs besides gradient steps."""

    def validate(self) -> dict[str, float]:
        """val_recall@10, val_ndcg@10 and val_loss (BPR)."""

    def fit_metrics(self) -> dict[str, float]:
        """train_recall@10: on what was learned from, no measure of quality."""

    def extra_state(self) -> dict[str, Tensor]:
        """The state that a checkpoint needs beside parameters: tensors and plain values."""

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        """Go on with what :meth:`extra_state` returned."""


class TaskTrainer(BaseTrainer):
    """Adam over a task's losses."""

    def __init__(
        self,
        task: Task,
        config: SessionTrainingConfig,
        patience: int,
        monitor: str,
        worker: Worker | None = None,
    ) -> None:
        super().__init__(config.epochs, patience, monitor, worker)
        self.task, self.config, self.model = task, config, task.model
        self.optimizers = [
            torch.optim.Adam(
                task.model.parameters(), config.learning_rate, weight_decay=config.weight_decay
            )
        ]

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return self.task.steps_per_epoch

    def to(self, device: torch.device) -> None:
        """Move the task, its network included."""
        self.task.to(device)

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train for an epoch; returns its mean loss by name."""
        self.model.train()
        torch.manual_seed(self.config.seed * 1_000_003 + epoch * 1_009 + self.worker.rank)
        optimizer, total, done = self.optimizers[0], 0.0, 0
        for number, loss in enumerate(self.progress(self.task.losses(epoch, self.worker))):
            optimizer.zero_grad()
            if loss.value is not None:
                value = loss.value.item()
                if not math.isfinite(value):
                    raise TrainingDiverged(
                        f"loss became {value} in epoch {epoch}, batch {number}; lower "
                        f"learning_rate (now {self.config.learning_rate:g})",
                        {"epoch": epoch, "batch": number},
                    )
                (loss.value * loss.share).backward()
                total, done = total + value, done + 1
            sum_gradients(self.model)
            optimizer.step()
        self.task.end_epoch()
        return {"loss": total / max(done, 1)}

    def extra_state(self) -> ExtraState:
        """What the task keeps beside the network."""
        return {"task": self.task.extra_state()}

    def load_extra_state(self, state: ExtraState) -> None:
        """Give the task back what it kept in a checkpoint."""
        self.task.load_extra_state(state["task"])
