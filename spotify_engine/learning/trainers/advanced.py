"""Training that is stopped, slowed and saved by what validation says."""

from __future__ import annotations

import torch

from spotify_engine.learning.trainers.base import EpochReport, ExtraState, Worker
from spotify_engine.learning.trainers.task import SessionTrainingConfig, Task, TaskTrainer
from spotify_engine.pipelines import MONITOR


class AdvancedTrainer(TaskTrainer):
    """Validates after each epoch: recall, NDCG and BPR loss.

    Stops early, halves the learning rate on a plateau, and saves the best and regular checkpoints.
    """

    def __init__(
        self, task: Task, config: SessionTrainingConfig, worker: Worker | None = None
    ) -> None:
        super().__init__(task, config, config.patience, MONITOR, worker)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizers[0], mode="max", factor=0.5, patience=config.plateau_patience
        )

    def validate(self) -> dict[str, float]:
        """Metrics on the validation part."""
        return self.task.validate()

    def after_epoch(self, value: float) -> None:
        """Lower the learning rate where validation no longer improves."""
        self.scheduler.step(value)

    def wants_checkpoint(self, report: EpochReport) -> bool:
        """Whether an epoch is the best, the last, or one to resume from."""
        last = self.finished or self.next_epoch == self.epochs
        return report.best or last or (report.epoch + 1) % self.config.checkpoint_every == 0

    def extra_state(self) -> ExtraState:
        """The learning rate's schedule too."""
        return super().extra_state() | {"scheduler": self.scheduler.state_dict()}

    def load_extra_state(self, state: ExtraState) -> None:
        """Go on with the learning rate's schedule of a checkpoint."""
        super().load_extra_state(state)
        self.scheduler.load_state_dict(state["scheduler"])
