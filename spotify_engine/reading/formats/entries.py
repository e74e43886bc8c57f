"""The entries and playlists that every format is read into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Entry:
    """A track as somebody wrote it down.

    Attributes:
        text: what was written, for a person to recognise it by.
        line: counting from 1; of a JSON file, the number of the track in its playlist.
        id: the bare id, if one was given.
        name: of the track; None: ``text`` has to be made out.
        artists: of the track, the first one first. A format that joins them by what names may
            hold as well gives them as one.
    """

    text: str
    line: int
    id: str | None = None
    name: str | None = None
    artists: tuple[str, ...] = ()


class Unread(NamedTuple):
    """A line that holds no track that can be read."""

    line: int
    text: str
    why: str


@dataclass
class Playlist:
    """Tracks in the order of the file.

    Attributes:
        title: None: the format gives none.
    """

    title: str | None
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Pasted:
    """The content of a file or a pasted text.

    Attributes:
        format: in words.
        playlists: those with tracks, in the file's order; at least one.
    """

    format: str
    playlists: list[Playlist]
    unread: list[Unread]

    @property
    def title(self) -> str | None:
        """The playlist's, if there is one playlist."""
        return self.playlists[0].title if len(self.playlists) == 1 else None

    def __len__(self) -> int:
        """Entries of all playlists."""
        return sum(len(each.entries) for each in self.playlists)
