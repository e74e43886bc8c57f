"""Recorded runs, read back: which there are, what they found, how two of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spotify_engine.errors import InputError
from spotify_engine.next_step import command
from spotify_engine.pipelines import MONITOR, SESSION_MODELS, main_figures
from spotify_engine.tracking.settings import DATABASE, local_uri
from spotify_engine.tracking.store import PARENT, figure_name, metric_name, open_client, quiet

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TIMEOUT_S = 10
JUDGED_BY = {"search": "test.winner", "trial": "objective"}  # by kind, where not as others are
BARS = "▁▂▃▄▅▆▇█"


class Point(NamedTuple):
    """A figure at one step."""

    step: int
    value: float


@dataclass(frozen=True)
class RecordedRun:
    """One run as MLflow has it.

    Attributes:
        settings: flat, by key, as texts.
        metrics: the latest value of each.
        error: why it failed; empty if it did not.
    """

    id: str
    name: str
    kind: str
    pipeline: str
    status: str
    started: datetime
    seconds: float | None
    code: str
    fingerprint: str
    parent: str
    error: str
    settings: dict[str, str]
    metrics: dict[str, float]

    @property
    def figure(self) -> tuple[str, float] | None:
        """The one metric to know a run by; before the test part is ranked, validation's."""
        recorded = {figure_name(key): key for key in self.metrics}
        names = [JUDGED_BY.get(self.kind, ""), *main_figures(self.pipeline, recorded)]
        prefixes = [f"{model}/" for model in reversed(SESSION_MODELS)]
        names += [f"{prefix}{MONITOR}" for prefix in ("", *prefixes)]
        found = next((recorded[name] for name in names if name in recorded), None)
        return None if found is None else (found, self.metrics[found])


class History:
    """The runs of a store."""

    def __init__(self, runs: Path, uri: str | None = None) -> None:
        """Open the store of runs.

        Args:
            runs: the folder whose SQLite store to read, where no ``uri`` is given.

        Raises:
            InputError: nothing was recorded there, or the server doesn't answer.
        """
        quiet()
        if uri is None and not (runs / DATABASE).exists():
            raise InputError(
                f"{runs / DATABASE}: no such file, so nothing was recorded there; name the folder "
                "that holds the runs with --runs, or a server with --uri"
            )
        self.uri = uri or local_uri(runs)
        self._client: MlflowClient = open_client(self.uri, TIMEOUT_S)

    def runs(self, pipeline: str | None, kind: str | None, limit: int) -> list[RecordedRun]:
        """The newest first."""
        names = {each.name: each.experiment_id for each in self._ask("search_experiments")}
        wanted = [names[name] for name in names if pipeline in (None, name)]
        if not wanted:
            return []
        found = self._ask(
            "search_runs",
            wanted,
            f"tags.kind = '{kind}'" if kind else "tags.kind != ''",
            max_results=limit,
            order_by=["attributes.start_time DESC"],
        )
        return [_read(each) for each in found]

    def get(self, run: str) -> RecordedRun:
        """Find a recorded run.

        Args:
            run: an id, or enough of its beginning, or the name of a run; of several with one name
                the newest.

        Raises:
            InputError: no run, or several ids that begin so.
        """
        known = self.runs(None, None, 5000)
        named = [each for each in known if each.name == run][:1]
        found = named or [each for each in known if run and each.id.startswith(run)]
        if len(found) != 1:
            what = "no run" if not found else f"{len(found)} runs"
            raise InputError(
                f"{run}: {what} of that id or name; {command('runs', 'list')} shows them all"
            )
        return found[0]

    def epochs(self, run: RecordedRun) -> dict[str, list[Point]]:
        """Metrics that were taken more than once, by step."""
        histories = {
            key: sorted({Point(p.step, p.value) for p in self._history(run, key)})
            for key in sorted(run.metrics)
            if "seconds" not in key and key.rpartition("/")[2] != "epoch"
        }
        return {key: points for key, points in histories.items() if len(points) > 1}

    def _history(self, run: RecordedRun, key: str) -> Any:
        return self._ask("get_metric_history", run.id, key)

    def _ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        try:
            return getattr(self._client, method)(*arguments, **named)
        except Exception as error:  # of MLflow, SQLAlchemy, requests: whatever reads the store
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.uri}: can't be read ({reason})") from error


def _read(run: Any) -> RecordedRun:
    tags, info = run.data.tags, run.info
    ended = info.end_time
    return RecordedRun(
        id=info.run_id,
        name=info.run_name,
        kind=tags.get("kind", ""),
        pipeline=tags.get("pipeline", ""),
        status=info.status.lower(),
        started=datetime.fromtimestamp(info.start_time / 1000, UTC),
        seconds=(ended - info.start_time) / 1000 if ended else None,
        code=tags.get("code", ""),
        fingerprint=tags.get("data_fingerprint", ""),
        parent=tags.get(PARENT, ""),
        error=tags.get("error", ""),
        settings=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )


def check_comparable(first: RecordedRun, second: RecordedRun) -> None:
    """Refuse to compare runs whose figures don't compare.

    Raises:
        InputError: the runs are of different pipelines, whose figures measure different things.
    """
    if first.pipeline != second.pipeline:
        raise InputError(
            f"{first.name} is of {first.pipeline}, {second.name} of {second.pipeline}: not "
            "comparable; give two runs of one pipeline"
        )


def differing_settings(first: RecordedRun, second: RecordedRun) -> list[tuple[str, str, str]]:
    """(key, value in the first, in the second) of those that differ; empty where one has none."""
    keys = sorted(first.settings.keys() | second.settings.keys())
    rows = [(key, first.settings.get(key, ""), second.settings.get(key, "")) for key in keys]
    return [row for row in rows if row[1] != row[2]]


def sparkline(points: Sequence[Point]) -> str:
    """A curve as a line of blocks, from its lowest value to its highest."""
    values = [point.value for point in points]
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0
    return "".join(BARS[round((value - low) * scale)] for value in values)


def plot_epochs(
    curves: Sequence[tuple[str, dict[str, list[Point]]]], metrics: Sequence[str], path: Path
) -> list[str]:
    """Draw metrics by epoch, one axis a metric and one line a run, as PNG.

    Args:
        curves: (name of the run, its metrics by step).
        metrics: which to draw; all that any run has when empty.

    Returns:
        What was drawn.

    Raises:
        InputError: no run has any of them.
    """
    known = sorted({key for _, found in curves for key in found})
    wanted = [metric_name(each) for each in metrics] or known
    drawn = [key for key in wanted if key in known]
    if not drawn:
        raise InputError(
            f"no metric by epoch to draw (asked for: {', '.join(metrics) or 'all'}; there are: "
            f"{', '.join(known) or 'none'})"
        )
    columns = min(len(drawn), 3)
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(4.5 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, key in zip(axes, drawn, strict=False):
        for name, found in curves:
            points = found.get(key, [])
            axis.plot([p.step for p in points], [p.value for p in points], "o-", ms=3, label=name)
        axis.set_title(key, fontsize=10)
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(drawn) :]:
        axis.remove()
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
    return drawn
