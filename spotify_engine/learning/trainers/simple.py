"""Quick experiments: all data, a fixed rate, one checkpoint at the end."""

from __future__ import annotations

from spotify_engine.learning.trainers.base import EpochReport, Worker
from spotify_engine.learning.trainers.task import SessionTrainingConfig, Task, TaskTrainer


class SimpleTrainer(TaskTrainer):
    """Trains on all data for a fixed number of epochs.

    Nothing is held out, so its recall tells how well the data is learned, not how good the model
    is: it is called ``train_recall@10``.
    """

    def __init__(
        self, task: Task, config: SessionTrainingConfig, worker: Worker | None = None
    ) -> None:
        super().__init__(task, config, config.epochs, "train_recall@10", worker)

    def validate(self) -> dict[str, float]:
        """Metrics on what is learned, as nothing is held out."""
        return self.task.fit_metrics()

    def wants_checkpoint(self, report: EpochReport) -> bool:
        """Whether an epoch is the last."""
        return self.next_epoch == self.epochs
