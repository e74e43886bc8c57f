"""A search as pictures.

By hand: Optuna's know trials by number and by parameter, but not their minutes, the default, what
was stopped or failed, nor that there are too few; and they draw by pyplot's state, in one thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from spotify_engine.tuning.results import as_text, short_names, values_of
from spotify_engine.tuning.space import Range, Space
from spotify_engine.tuning.trials import Trial, pareto_front

OURS, OTHERS, DEFAULT_COLOR = "#1f77b4", "#b0b7bf", "#d62728"
QUALITY = "validation recall@10"
MAP = colormaps["viridis"]


def plot_history(trials: Sequence[Trial], path: Path) -> None:
    """Plot the quality of each trial by the time it ended, and the best so far."""
    figure, axis = _figure(8, 4)
    ended = sorted(_measured(trials), key=lambda each: each.ended or 0)
    for state, marker, color in (("done", "o", OURS), ("stopped", "x", OTHERS)):
        some = [each for each in ended if each.state == state]
        if some:
            x, y = [_minutes(each) for each in some], [_quality(each) for each in some]
            axis.scatter(x, y, marker=marker, color=color, label=state, zorder=3)
    done = [each for each in ended if each.state == "done"]
    if done:
        best = np.maximum.accumulate([_quality(each) for each in done])
        axis.step([_minutes(e) for e in done], best, where="post", color=OURS, label="best so far")
    for each in ended:
        if not each.number and each.quality is not None:
            axis.axhline(each.quality, color=DEFAULT_COLOR, ls=":", lw=1, label="default")
    failed = [e for e in trials if e.state in ("failed", "out of memory") and e.ended is not None]
    for each in failed:
        axis.axvline(_minutes(each), color="#d62728", alpha=0.4, lw=1)
    axis.set_xlabel("minutes since the search began" + (" (red: failed)" if failed else ""))
    axis.set_ylabel(QUALITY)
    if ended:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def plot_parallel(space: Space, trials: Sequence[Trial], path: Path) -> None:
    """Each trial as a line through its values, the better the brighter."""
    keys = list(space.config.space)
    names = short_names(keys)
    shown = sorted(_measured(trials), key=_quality)
    figure, axis = _figure(max(6.0, 1.7 * (len(keys) + 1)), 4.5)
    if shown:
        qualities = [_quality(each) for each in shown]
        norm = Normalize(min(qualities), max(max(qualities), min(qualities) + 1e-9))
        places = [_place(space, key, shown) for key in keys]
        for row, each in enumerate(shown):
            ys = [*(place[row] for place in places), float(norm(_quality(each)))]
            width, dashes = (1.2, "-") if each.number else (2.5, "--")
            colour = MAP(norm(_quality(each)))
            axis.plot(range(len(ys)), ys, color=colour, alpha=0.85, lw=width, ls=dashes)
        for x, key in enumerate(keys):
            axis.axvline(x, color="#dddddd", lw=0.8, zorder=0)
            for height, text in _ticks(space, key, shown):
                axis.annotate(text, (x, height), xytext=(3, 2), textcoords="offset points", size=7)
        figure.colorbar(ScalarMappable(norm, MAP), ax=axis, label=QUALITY)
    axis.set_xticks(range(len(keys) + 1), [*(names[key] for key in keys), "recall@10"])
    axis.tick_params(axis="x", labelrotation=20)
    axis.set_yticks([])
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.set_title("dashed: the default", fontsize=9, loc="left")
    figure.savefig(path, dpi=120)


def plot_importance(importances: Mapping[str, float] | None, path: Path) -> None:
    """Plot how much each parameter decides whether a trial is a good one."""
    figure, axis = _figure(7, 3.5)
    if importances:
        names, values = zip(*sorted(importances.items(), key=lambda item: item[1]), strict=True)
        bars = axis.barh(names, values, color=OURS)
        axis.bar_label(bars, fmt="%.2f", padding=4)
        axis.set_xlim(0, max(values) * 1.15 or 1)
        axis.set_xlabel("importance (PED-ANOVA, shares of 1)")
    else:
        _say(axis, "too few measured trials to tell")
    figure.savefig(path, dpi=120)


def plot_pareto(trials: Sequence[Trial], path: Path) -> None:
    """Quality against training time; the line joins trials that none beats in both."""
    figure, axis = _figure(7, 4)
    done = [each for each in _measured(trials) if each.state == "done"]
    front = pareto_front(done)
    for each in done:
        color = DEFAULT_COLOR if not each.number else OURS if each in front else OTHERS
        axis.scatter(_seconds(each), _quality(each), color=color, zorder=3)
    axis.step(
        [_seconds(each) for each in front], [_quality(each) for each in front],
        where="post", color=OURS, lw=1,
    )  # fmt: skip
    for each in [*front, *(e for e in done if not e.number and e not in front)]:
        axis.annotate(
            each.name, (_seconds(each), _quality(each)),
            xytext=(4, -10), textcoords="offset points", size=8,
        )  # fmt: skip
    if not done:
        _say(axis, "no trial ran to its end")
    axis.set_xlabel("seconds of training")
    axis.set_ylabel(QUALITY)
    figure.savefig(path, dpi=120)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def _measured(trials: Sequence[Trial]) -> list[Trial]:
    return [e for e in trials if e.quality is not None and e.state in ("done", "stopped")]


def _quality(trial: Trial) -> float:
    return trial.quality or 0.0


def _seconds(trial: Trial) -> float:
    return trial.seconds or 0.0


def _minutes(trial: Trial) -> float:
    return (trial.ended or 0.0) / 60


def _place(space: Space, key: str, trials: Sequence[Trial]) -> list[float]:
    """Height in 0..1 of each trial on a key's axis."""
    values = [values_of(space, each)[key] for each in trials]
    given = space.config.space[key]
    if isinstance(given, Range):
        numbers = np.array([float(each) for each in values])
        ends = np.array([min(given.low, numbers.min()), max(given.high, numbers.max())])
        if given.log and ends[0] > 0:
            numbers, ends = np.log(numbers), np.log(ends)
        heights: list[float] = ((numbers - ends[0]) / (ends[1] - ends[0])).tolist()
        return heights
    steps = _steps(given, values)
    return [steps.index(json.dumps(each)) / max(len(steps) - 1, 1) for each in values]


def _ticks(space: Space, key: str, trials: Sequence[Trial]) -> list[tuple[float, str]]:
    values = [values_of(space, each)[key] for each in trials]
    given = space.config.space[key]
    if isinstance(given, Range):
        numbers = [float(each) for each in values]
        return [(0, as_text(min(given.low, *numbers))), (1, as_text(max(given.high, *numbers)))]
    steps = _steps(given, values)
    return [(place / max(len(steps) - 1, 1), text) for place, text in enumerate(steps)]


def _steps(given: Sequence[Any], values: Sequence[Any]) -> list[str]:
    """The listed values as texts, and the default's where it isn't listed."""
    return list(dict.fromkeys(json.dumps(each) for each in [*given, *values]))


def _say(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes)
