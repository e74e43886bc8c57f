"""The files that a search leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from pydantic import BaseModel

from spotify_engine.store.atomic import write_text
from spotify_engine.strict_json import to_json
from spotify_engine.tuning import plots
from spotify_engine.tuning.page import write_page
from spotify_engine.tuning.results import save_results, settings_yaml
from spotify_engine.tuning.space import Space, Values
from spotify_engine.tuning.studies import importances
from spotify_engine.tuning.trials import Trial, pareto_front

REPORT, BEST = "report.json", "best.yaml"
PICTURES = tuple(f"{name}.png" for name in ("history", "parallel", "importance", "pareto"))


class Winner(TypedDict):
    """Which trial, and what it tried."""

    trial: int
    values: Values


class OnFront(TypedDict):
    """A trial that no other beats in both."""

    trial: int
    quality: float | None
    seconds: float | None


SearchReport = TypedDict(
    "SearchReport",
    {
        "trials": dict[str, int],
        "seconds": float,
        "winner": Winner,
        "recall@10": Mapping[str, Mapping[str, float]],
        "importance": dict[str, float] | None,
        "pareto_front": list[OnFront],
    },
)
"""What ``report.json`` says of a search."""


def gain_of(default: float, best: float) -> dict[str, float]:
    """Figures of default and winner, and what the winner has more, as a share of the default's."""
    gain = best / default - 1 if default else 0.0
    return {"default": default, "winner": best, "gain": gain}


def write_report(
    out: Path,
    title: str,
    space: Space,
    trials: Sequence[Trial],
    best: Trial,
    config: BaseModel,
    gain: Mapping[str, Mapping[str, float]],
    seconds: float,
) -> SearchReport:
    """``report.json``, ``best.yaml``, ``results.parquet``, the pictures and ``report.html``.

    Args:
        config: the winner's.
        gain: by part, as :func:`gain_of` has it.
        seconds: that the search took, all sessions of it together.

    Returns:
        What ``report.json`` says.
    """
    shares = importances(space, trials)
    content: SearchReport = {
        "trials": dict(Counter(each.state for each in trials)),
        "seconds": seconds,
        "winner": {"trial": best.number, "values": best.values},
        "recall@10": gain,
        "importance": shares,
        "pareto_front": [
            {"trial": each.number, "quality": each.quality, "seconds": each.seconds}
            for each in pareto_front(trials)
        ],
    }
    test = f"{gain['test']['winner']:.4f}, default {gain['test']['default']:.4f}"
    text = settings_yaml(config, f"{title}: {best.name}, test recall@10 {test}")
    save_results(space, trials, out / "results.parquet")
    plots.plot_history(trials, out / "history.png")
    plots.plot_parallel(space, trials, out / "parallel.png")
    plots.plot_importance(shares, out / "importance.png")
    plots.plot_pareto(trials, out / "pareto.png")
    write_page(title, space, trials, gain, text, out)
    write_text(out / BEST, text)
    # Last: a search with a report is done.
    write_text(out / REPORT, to_json(content))
    return content
