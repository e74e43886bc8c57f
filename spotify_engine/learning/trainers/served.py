"""Which epoch of a training is served, and whether training helped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from spotify_engine.learning.trainers.base import load_state
from spotify_engine.pipelines import MONITOR


class ServedReport(TypedDict):
    """:class:`Served` as reports and bundles have it."""

    epoch: int
    epochs: int
    validation: float | None
    start: float | None
    best_trained: float | None
    helped: bool | None
    in_words: str


@dataclass(frozen=True)
class ServedEpoch:
    """The best of a training's epochs on validation.

    Attributes:
        epoch: after how many epochs it was saved; 0: as the model began.
        epochs: how many were trained.
        validation: recall@10 on validation of what is served; None: nothing was validated.
        start: the same of the model as it began; None: that was not measured.
        best_trained: the best of the trained epochs; None: nothing was validated.
    """

    epoch: int
    epochs: int
    validation: float | None
    start: float | None
    best_trained: float | None

    @property
    def helped(self) -> bool | None:
        """Whether training made the model better than it began; None: not known."""
        return None if self.start is None else self.epoch > 0

    @property
    def in_words(self) -> str:
        """One sentence."""
        if self.validation is None:
            return f"Served: epoch {self.epochs} of {self.epochs}; nothing was validated."
        reached = f"recall@10 on validation {self.validation:.4f}"
        if self.epoch == 0:
            best = "" if self.best_trained is None else f" (their best {self.best_trained:.4f})"
            return (
                f"Served: the model as it began, before training ({reached}); none of the "
                f"{self.epochs} trained epochs was better{best}."
            )
        began = "" if self.start is None else f"; as it began {self.start:.4f}"
        return f"Served: epoch {self.epoch} of {self.epochs} ({reached}{began})."

    def report(self) -> ServedReport:
        """Plain values, for a report and a bundle."""
        return {
            "epoch": self.epoch,
            "epochs": self.epochs,
            "validation": self.validation,
            "start": self.start,
            "best_trained": self.best_trained,
            "helped": self.helped,
            "in_words": self.in_words,
        }


def served_of(best: Path, history: Sequence[dict[str, float]]) -> ServedEpoch:
    """Which epoch a training's best checkpoint is.

    Args:
        best: folder of the checkpoint.
        history: the metrics of all trained epochs. Those that learn from everything have none of
            validation; then the last one is the best checkpoint.

    Raises:
        InputError: there is no such checkpoint, or it is damaged.
    """
    state = load_state(best)
    values = [each[MONITOR] for each in history if MONITOR in each]
    start = state.get("start")  # not noted by earlier releases, whose runs go on
    measured = start is not None or bool(values)
    return ServedEpoch(
        epoch=int(state["best"][1]) + 1 if measured else len(history),
        epochs=len(history),
        validation=state["best"][0] if measured else None,
        start=start,
        best_trained=max(values) if values else None,
    )
