"""Event files for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


class Board:
    """The event file of one run, begun with its first figure."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None

    @property
    def writer(self) -> SummaryWriter:
        """TensorBoard's writer, opened on first use."""
        from tensorboardX import SummaryWriter

        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder), flush_secs=2)
        return self._writer

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write figures of one step."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def settings(self, values: Mapping[str, float | str], metrics: Mapping[str, float]) -> None:
        """Record a trial's settings and metrics for the board's table of trials."""
        from tensorboardX.summary import hparams

        for part in hparams(dict(values), dict(metrics)):
            self.writer.file_writer.add_summary(part)
        self.write(metrics, 0)

    def close(self) -> None:
        """Close the writer, if one is open."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
