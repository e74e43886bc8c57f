"""Breakdowns of several scorers side by side: a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from spotify_engine.playlists.measure.challenge import NEVER, Breakdown, Row

GROUPINGS = {  # -> heading in the table, horizontal axis in the picture
    "seeds": ("seeds", "seed tracks"),
    "lengths": ("train tracks", "train tracks of the playlist"),
    "popularity": ("popularity", "training playlists with the held-out track"),
}
NOT_SHOWN = ("group", "playlists", "held_out", "ndcg_found")
LABELS = {"r_precision": "R-precision", "ndcg": "NDCG"}


def render_breakdown(breakdowns: Mapping[str, Breakdown]) -> Table:
    """Groups down, scorers across in the order given; the best of each line is bold.

    Args:
        breakdowns: scorer -> what ``challenge_breakdown`` gave for it.

    Raises:
        ValueError: none is given, or they are not of the same groups.
    """
    first = _first(breakdowns)
    table = Table(
        title="Test part by groups: same playlists, seeds and functions for all",
        caption=(
            "seeds: drawn from the train tracks; train tracks: of the playlist, all are seeds\n"
            "popularity: training playlists that have the held-out track, 0 is cold\n"
            f"clicks: fewer are better, {NEVER} without a hit"
        ),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("group", no_wrap=True)
    table.add_column("playlists", justify="right")
    table.add_column("held out", justify="right")
    table.add_column("figure", no_wrap=True)
    for name in breakdowns:
        table.add_column(name, justify="right")
    for part, (heading, _) in GROUPINGS.items():
        table.add_row(heading, style="italic")
        for index, row in enumerate(first[part]):
            lead = [row["group"], f"{row['playlists']:,}", f"{row['held_out']:,}"]
            if not row["playlists"]:
                table.add_row(*lead)
                continue
            for figure in _figures(row):
                values = [each[part][index][figure] for each in breakdowns.values()]
                table.add_row(*lead, _label(figure), *_cells(figure, values))
                lead = ["", "", ""]
        table.add_section()
    return table


def plot_breakdown(breakdowns: Mapping[str, Breakdown], path: Path) -> None:
    """Draw them as PNG, a panel for each figure of each part; the first scorer stands out.

    Args:
        breakdowns: scorer -> what ``challenge_breakdown`` gave for it.

    Raises:
        ValueError: none is given, or they are not of the same groups.
    """
    first = _first(breakdowns)
    shown = [(part, figure) for part in GROUPINGS for figure in _figures(first[part][0])]
    canvas = Figure(figsize=(14, 8), layout="constrained")
    FigureCanvasAgg(canvas)
    panels = list(canvas.subplots(2, -(-len(shown) // 2)).ravel())
    for panel, (part, figure) in zip(panels, shown, strict=False):
        _draw(panel, breakdowns, part, figure)
    for empty in panels[len(shown) :]:
        empty.set_axis_off()
    handles, names = panels[0].get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    canvas.savefig(path, dpi=110)


def _draw(panel: Axes, breakdowns: Mapping[str, Breakdown], part: str, figure: str) -> None:
    for index, (name, breakdown) in enumerate(breakdowns.items()):
        values = [np.nan if row[figure] is None else row[figure] for row in breakdown[part]]
        panel.plot(
            values,
            "o-",
            label=name,
            color=f"C{index % 10}",
            linewidth=2.5 if index == 0 else 1.2,
            zorder=3 if index == 0 else 2,
        )
    rows = _first(breakdowns)[part]
    panel.set_xticks(range(len(rows)), [f"{row['group']}\n({row['playlists']:,})" for row in rows])
    heading, axis = GROUPINGS[part]
    panel.set_xlabel(f"{axis} (playlists)")
    note = ", fewer is better" if figure == "clicks" else ""
    panel.set_title(f"{_label(figure)} by {heading}{note}")
    panel.set_xlim(-0.4, len(rows) - 0.6)
    panel.set_ylim(bottom=0)
    panel.grid(axis="y", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _first(breakdowns: Mapping[str, Breakdown]) -> Breakdown:
    """The first of them, once it is clear that all have its groups."""
    if not breakdowns:
        raise ValueError("no breakdown is given, so there is nothing to show")
    (name, first), *others = breakdowns.items()
    for other, breakdown in others:
        if _shape(breakdown) != _shape(first):
            raise ValueError(
                f"the groups of {other} are not those of {name}; make both with one config"
            )
    return first


def _shape(breakdown: Breakdown) -> list[tuple[object, ...]]:
    return [
        (part, row["group"], row["playlists"], row["held_out"], *_figures(row))
        for part in GROUPINGS
        for row in breakdown[part]
    ]


def _figures(row: Row) -> list[str]:
    return [name for name in row if name not in NOT_SHOWN]


def _label(figure: str) -> str:
    return LABELS.get(figure, figure)


def _cells(figure: str, values: Sequence[float | None]) -> list[Text]:
    measured = [value for value in values if value is not None]
    best = (min if figure == "clicks" else max)(measured, default=None)
    digits = 2 if figure == "clicks" else 4
    cells = ["" if value is None else f"{value:.{digits}f}" for value in values]
    return [
        Text(cell, "bold" if value is not None and value == best else "")
        for cell, value in zip(cells, values, strict=True)
    ]
