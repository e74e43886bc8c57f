"""A playlist's attention and what it adds to each score, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spotify_engine.playlists.recommend.explain import TrackExplanation
from spotify_engine.shares import is_even, shown_of


def plot_attention(
    explanations: Sequence[TrackExplanation],
    seeds: Sequence[str],
    recommended: Sequence[str],
    path: Path,
) -> None:
    """Draw a playlist's attention over its tracks, above what each adds to each score, as PNG.

    Args:
        seeds, recommended: labels of the columns and of the rows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    terms = np.stack([explanation.seeds for explanation in explanations])
    # More columns than these are not legible: the tracks with most attention are shown.
    each = np.stack([explanation.attention for explanation in explanations])
    attention = each.mean(axis=0)
    shown = np.sort(np.argsort(-attention, kind="stable")[:40])
    # Without a second stage, one row says it for all recommendations.
    alike = np.allclose(each, attention)
    weights = attention[None] if alike else each
    height = 3.4 + 0.32 * (len(recommended) + len(weights) - 1)
    figure = Figure(figsize=(max(7.0, 0.34 * len(shown) + 4), height), layout="constrained")
    FigureCanvasAgg(figure)
    some = shown_of(attention, shown)
    if alike and is_even(attention):
        # A row of one colour shows nothing.
        bottom = figure.subplots()
        figure.suptitle(
            f"What each of the playlist's tracks{some} adds to each score\n"
            "(all get the same attention)"
        )
    else:
        top, bottom = figure.subplots(
            2, 1, sharex=True, height_ratios=[len(weights), max(len(recommended), 2)]
        )
        heat = top.imshow(weights[:, shown], cmap="Blues", aspect="auto", vmin=0)
        labels = ["attention"] if alike else [_short(text) for text in recommended]
        top.set_yticks(range(len(weights)), labels)
        figure.suptitle(
            f"Attention over the playlist's tracks{some},\nand what each adds to each score"
        )
        figure.colorbar(heat, ax=top, pad=0.01, label=None if alike else "attention")
    limit = float(np.abs(terms[:, shown]).max()) or 1.0
    heat = bottom.imshow(terms[:, shown], cmap="RdBu", aspect="auto", vmin=-limit, vmax=limit)
    bottom.set_yticks(range(len(recommended)), [_short(text) for text in recommended])
    bottom.set_xticks(
        range(len(shown)), [_short(seeds[i]) for i in shown], rotation=60, ha="right", fontsize=8
    )
    figure.colorbar(heat, ax=bottom, pad=0.01, label="added to the score")
    figure.savefig(path, dpi=130)


def _short(text: str, limit: int = 34) -> str:
    # "$" would start mathematics in a label.
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text.replace("$", r"\$")
