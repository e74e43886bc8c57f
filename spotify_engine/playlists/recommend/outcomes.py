"""The outcomes of looking up a list of tracks, entry by entry and summed up in a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spotify_engine.reading.formats.entries import Entry

How = Literal["exact", "variant", "fuzzy", "by artist", "not found"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of looking up an entry.

    Attributes:
        row: of the catalogue; None: no track was found.
        artist: as it was read, if that is known (``by artist``); ``name`` goes with it.
        nearest: row of the track that resembles an entry most which wasn't found; None: none does,
            or it wasn't looked for.
        score: of ``fuzzy``, 0 to 100.
    """

    entry: Entry
    how: How
    row: int | None = None
    artist: str | None = None
    name: str | None = None
    nearest: int | None = None
    score: float | None = None


def summary(outcomes: Sequence[Outcome]) -> str:
    """``32 known (2 by likeness), 3 by their artist, 5 not found``."""
    count = dict.fromkeys(("exact", "variant", "fuzzy", "by artist", "not found"), 0)
    for each in outcomes:
        count[each.how] += 1
    known = count["exact"] + count["variant"] + count["fuzzy"]
    likely = f" ({count['fuzzy']} by likeness)" if count["fuzzy"] else ""
    return (
        f"{known:,} known{likely}, {count['by artist']:,} by their artist, "
        f"{count['not found']:,} not found"
    )
