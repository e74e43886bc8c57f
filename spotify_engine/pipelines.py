"""The two pipelines: their names, and the figures to know a trained one by."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

Pipeline = Literal["playlists", "sessions"]
PIPELINES: tuple[Pipeline, ...] = get_args(Pipeline)
SESSION_MODELS = {"basic": "basic-gat", "enhanced": "enhanced-gat", "session": "session-aware"}
"""As settings and as leaderboards name them; the last one that was trained ranks."""
MONITOR = "val_recall@10"
"""Of an epoch or a setting that was tried: what is best goes by it."""
_MEASURES = ("recall@10", "ndcg@10")
_PREFIXES: dict[str, tuple[str, ...]] = {
    "playlists": ("test.", ""),
    # On the plays that all scorers rank, whoever listens.
    "sessions": (*(f"{name}.next_song." for name in reversed(SESSION_MODELS.values())), ""),
}  # nothing before it: of a bundle that names one figure alone


def main_figures(pipeline: str, names: Collection[str]) -> list[str]:
    """The figures to know a version or run by, the first before all others.

    Args:
        names: of the figures that there are, by dotted keys as reports and bundles have them.

    Returns:
        Names of one part or model; none if none was measured.
    """
    for part in _PREFIXES.get(pipeline, ()):
        if found := [name for each in _MEASURES if (name := f"{part}{each}") in names]:
            return found
    return []
