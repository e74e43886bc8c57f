"""A completed playlist, written for another program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spotify_engine.errors import InputError
from spotify_engine.playlists.completing.completion import Completion
from spotify_engine.playlists.recommend.lookup import Asked
from spotify_engine.reading.formats.kinds import FORMATS, ExportFormat
from spotify_engine.reading.formats.writer import Written, write_playlist
from spotify_engine.recommendation import counted


@dataclass(frozen=True)
class Export:
    """As what, and where to.

    Attributes:
        path: None: to standard output.
    """

    format: ExportFormat
    path: Path | None

    @classmethod
    def parse(cls, text: str) -> Export:
        """``FORMAT`` or ``FORMAT:PATH``.

        Raises:
            InputError: there is no such format.
        """
        name, _, path = text.partition(":")
        for format in FORMATS:
            if format == name.strip().lower():
                return cls(format, Path(path) if path else None)
        raise InputError(f"--export: {name!r} is not a format; give one of {', '.join(FORMATS)}")

    def text(self, completion: Completion, own: Sequence[Asked] | None = None) -> str:
        """The playlist's own tracks, then what was recommended.

        Args:
            own: tracks of the playlist, also those that aren't known; None: the completion's.

        Raises:
            InputError: nothing would be written.
        """
        return write_playlist(_written(completion, own), completion.title, self.format)

    def write(self, completion: Completion, own: Sequence[Asked] | None = None) -> str:
        """Write :meth:`text` to the file; says what was written.

        Raises:
            InputError: nothing would be, or the path can't be written.
        """
        tracks, text = _written(completion, own), self.text(completion, own)
        assert self.path is not None
        try:
            # In place, not through store.atomic: it may be a pipe, a device or a link.
            self.path.write_bytes(text.encode())
        except OSError as error:
            raise InputError(f"{self.path}: can't be written ({error.strerror})") from error
        without = sum(each.uri is None for each in tracks) if self.format == "uris" else 0
        left_out = f"; {without:,} left out because they have no Spotify id" if without else ""
        written = counted(len(tracks) - without, "track")
        return f"{self.path}: {written} ({FORMATS[self.format].said}){left_out}"


def _written(completion: Completion, own: Sequence[Asked] | None) -> list[Written]:
    tracks = completion.tracks if own is None else own
    given = [*tracks, *(each.id for each in completion.recommended)]
    written = [completion.recommender.written(track) for track in given]
    # What is neither known nor named as artist and title goes on as it was written.
    return [
        each or Written(None, track if isinstance(track, str) else track[1])
        for each, track in zip(written, given, strict=True)
    ]
