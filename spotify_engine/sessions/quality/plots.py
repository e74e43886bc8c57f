"""One picture that shows validated data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spotify_engine.sessions.quality.checks import ValidationReport
from spotify_engine.sessions.quality.statistics import Facts

_COLOURS = ("#4c9f70", "#1f77b4", "#c44e52", "#888888")
_OTHER = "#b0b7bf"
_MOST_GENRES = 35


def plot_validation(report: ValidationReport, path: Path) -> None:
    """Draw genres, user types, hours, completion, song popularity and connectivity as PNG."""
    figure = Figure(figsize=(15, 9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    facts = report.facts
    kinds = dict(zip(facts["types"], _COLOURS, strict=False))
    _genres(axes[0, 0], facts)
    _types(axes[0, 1], facts, kinds)
    _hours(axes[0, 2], facts, kinds)
    _completion(axes[1, 0], facts, kinds)
    _popularity(axes[1, 1], facts)
    _connectivity(axes[1, 2], facts)
    for each in axes.flat:
        each.spines[["top", "right"]].set_visible(False)
    failed = [check.name for check in report.checks if not check.passed]
    outcome = (
        f"failed: {', '.join(failed)}" if failed else f"all {len(report.checks)} checks passed"
    )
    size = f"{facts['events']:,} plays of {facts['songs']:,} songs by {facts['users']:,} users"
    figure.suptitle(f"{size}; {outcome}", wrap=True)
    figure.savefig(path, dpi=110)


def _genres(axes: Axes, facts: Facts) -> None:
    items = list(facts["genres"].items())[:_MOST_GENRES]
    total = sum(facts["genres"].values()) or 1
    axes.bar(range(len(items)), [value / total for _, value in items], color=_COLOURS[1])
    axes.set_xticks(range(len(items)), [name for name, _ in items], rotation=90, fontsize=7)
    axes.set_ylabel("share of plays")
    more = len(facts["genres"]) - len(items)
    axes.set_title("Genres" + (f" (and {more:,} rarer ones)" if more else ""))


def _types(axes: Axes, facts: Facts, kinds: dict[str, str]) -> None:
    users = np.array([facts["types"][kind]["users"] for kind in kinds])
    plays = np.array([facts["types"][kind]["plays"] for kind in kinds])
    place = np.arange(len(kinds))
    axes.bar(place - 0.2, users / users.sum(), 0.38, color=_OTHER, label="of users")
    axes.bar(place + 0.2, plays / max(plays.sum(), 1), 0.38, color=_COLOURS[1], label="of plays")
    for i, (n, m) in enumerate(zip(users.tolist(), plays.tolist(), strict=True)):
        axes.text(i, max(n / users.sum(), m / max(plays.sum(), 1)), f"{m / n:,.0f} plays a user",
                  ha="center", va="bottom", fontsize=8)  # fmt: skip
    axes.set_xticks(place, list(kinds))
    axes.set_ylabel("share")
    axes.margins(y=0.12)
    axes.legend(frameon=False)
    axes.set_title("User types")


def _hours(axes: Axes, facts: Facts, kinds: dict[str, str]) -> None:
    for kind, colour in kinds.items():
        hours = np.array(facts["types"][kind]["hours"])
        axes.plot(range(24), hours / max(hours.sum(), 1), "o-", ms=3, color=colour, label=kind)
    axes.set_xticks(range(0, 24, 3))
    axes.set_xlabel("hour of the day, UTC")
    axes.set_ylabel("share of the type's plays")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.set_title("Hours")


def _completion(axes: Axes, facts: Facts, kinds: dict[str, str]) -> None:
    for kind, colour in kinds.items():
        counts = np.array(facts["types"][kind]["completion"])
        share = counts / max(counts.sum(), 1)
        axes.stairs(share, np.linspace(0, 1, len(counts) + 1), color=colour, label=kind, lw=1.6)
    axes.set_xlabel("part of the song that is played")
    axes.set_ylabel("share of the type's plays")
    axes.legend(frameon=False, loc="upper left")
    axes.set_title("Completion")


def _popularity(axes: Axes, facts: Facts) -> None:
    plays = np.array(facts["song_plays"])
    ranks = np.array(facts["song_ranks"])
    axes.loglog(ranks[plays > 0], plays[plays > 0], "o-", ms=3, color=_COLOURS[1])
    axes.set_xlabel("rank of the song")
    axes.set_ylabel("plays")
    axes.set_title("Songs by popularity")


def _connectivity(axes: Axes, facts: Facts) -> None:
    sizes = facts["components"]
    names = [f"{i + 1}." for i in range(len(sizes))]
    axes.bar(names, sizes, color=[_COLOURS[1], *[_OTHER] * (len(sizes) - 1)], width=0.6)
    if len(sizes) < 4:
        axes.set_xlim(-0.8, 3.2)
    for i, size in enumerate(sizes[:6]):
        axes.text(i, size, f"{size:,}", ha="center", va="bottom", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    axes.margins(y=0.15)
    axes.set_xlabel("connected components, largest first")
    axes.set_ylabel("users and songs")
    axes.set_title("Connectivity of who played what")
