"""A playlist that somebody has, recognised and told of in lines for a person to read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spotify_engine.errors import InputError
from spotify_engine.names import normalise
from spotify_engine.playlists.recommend.lookup import Asked
from spotify_engine.playlists.recommend.outcomes import Outcome, summary
from spotify_engine.playlists.recommend.recognising import Recogniser
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.reading.formats.entries import Entry, Pasted
from spotify_engine.reading.formats.reader import MAX_BYTES, read_playlists
from spotify_engine.recommendation import counted

STDIN = "-"
NAMED = 20  # lines of each kind that are printed


def read_file(path: str, title: str | None) -> Pasted:
    """The playlist that a file holds, or standard input (``-``); of several, the one of a title.

    Raises:
        InputError: it can't be read, holds no track, or several playlists and none of that title.
    """
    if path == STDIN:
        pasted = read_playlists(sys.stdin.buffer.read(MAX_BYTES + 1))
        path = "standard input"
    else:
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"{path}: can't be read ({error.strerror})") from error
        pasted = read_playlists(content, path)
    if len(pasted.playlists) == 1:
        return pasted
    wanted = None if title is None else normalise(title)
    for each in pasted.playlists:
        if each.title is not None and normalise(each.title) == wanted:
            return replace(pasted, playlists=[each], unread=[])
    titles = ", ".join(repr(each.title) for each in pasted.playlists[:5])
    more = ", ..." * (len(pasted.playlists) > 5)
    raise InputError(
        f"{path}: holds {len(pasted.playlists):,} playlists; choose one with --title: "
        f"{titles}{more}"
    )


@dataclass(frozen=True)
class Recognised:
    """Which tracks of a catalogue are meant.

    Attributes:
        outcomes: of all entries, in their order.
        pasted: where they are from; None: they were given one by one.
    """

    recogniser: Recogniser
    outcomes: list[Outcome]
    pasted: Pasted | None = None

    @classmethod
    def of(cls, recommender: PlaylistRecommender, pasted: Pasted) -> Recognised:
        """Of all playlists that were read."""
        recogniser = recommender.recogniser()
        entries = [entry for playlist in pasted.playlists for entry in playlist.entries]
        return cls(recogniser, recogniser.recognise(entries), pasted)

    @classmethod
    def of_texts(cls, recommender: PlaylistRecommender, texts: Sequence[str]) -> Recognised:
        """Of ids, links or texts like ``Artist - Title``."""
        recogniser = recommender.recogniser()
        entries = [Entry(text, number) for number, text in enumerate(texts, start=1)]
        return cls(recogniser, recogniser.recognise(entries))

    @property
    def all(self) -> list[Asked]:
        """Every entry: the track that it is, or what was written."""
        return self.recogniser.asked(self.outcomes)

    @property
    def known(self) -> list[Asked]:
        """Those that a recommender can do something with."""
        return self.recogniser.asked([each for each in self.outcomes if each.how != "not found"])

    def lines(self) -> list[str]:
        """A report of what was read and recognised; it names each track not found as written.

        Tracks of known artists are left to the completion, which says who stands in.
        """
        said = []
        if self.pasted is not None:
            said.append(f"{self.pasted.format}: {summary(self.outcomes)}")
            unread = [f"line {each.line}: {each.why}: {each.text}" for each in self.pasted.unread]
            said += _some(unread, "line", "no track")
        guessed = [
            f"taken for {self.recogniser.label(each.row)}: {each.entry.text}"
            for each in self.outcomes
            if each.how in ("variant", "fuzzy") and each.row is not None
        ]
        missing = [
            f"not in the catalogue: {each.entry.text}{self._nearest(each)}"
            for each in self.outcomes
            if each.how == "not found"
        ]
        return [*said, *_some(guessed, "track", "a variant"), *_some(missing, "track", "missing")]

    def _nearest(self, outcome: Outcome) -> str:
        if outcome.nearest is None:
            return ""
        return f" (nearest: {self.recogniser.label(outcome.nearest)})"


def _some(lines: Sequence[str], what: str, why: str) -> list[str]:
    more = len(lines) - NAMED
    return [*lines[:NAMED], *([f"and {counted(more, f'more {what}')}: {why}"] if more > 0 else [])]
