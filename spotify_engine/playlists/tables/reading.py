"""The playlist file: one byte range of it, parsed, and the rows that can't be used set aside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spotify_engine.reading.chunks import CODED, CodedColumn, ParsedRange
from spotify_engine.reading.records import CsvFile

PLAYLIST_COLUMNS = ("user_id", "artistname", "trackname", "playlistname")
PLAYLIST_REMEDIES = {
    "no track name": "Fill in the column trackname",
    "no artist name": "Fill in the column artistname",
    "no user id": "Fill in the column user_id",
    "no playlist name": "Give each playlist a name in the column playlistname",
}


@dataclass(frozen=True)
class Chunk:
    """The content of one byte range of the playlist file.

    Attributes:
        users, titles: ``user_id`` and ``playlistname`` of the good rows, in the file's order, as
            they are in the file.
        tracks, artists: ``trackname`` and ``artistname`` of the same rows, trimmed.
        rows: records in the range, good or not.
        rejects: as ``TABLES["rejects"]``, but ``line`` counts from 0 at the start of the range.
        newlines: in the range.
    """

    users: CodedColumn
    titles: CodedColumn
    tracks: pa.StringArray
    artists: pa.StringArray
    rows: int
    rejects: pa.Table
    newlines: int


def read_chunk(file: CsvFile, start: int, end: int) -> Chunk:
    """Parse the records of a range that ``split`` gave."""
    # Coding what repeats is cheap; coding tracks and artists takes longer than parsing them.
    kinds = dict(zip(PLAYLIST_COLUMNS, (CODED, pa.string(), pa.string(), CODED), strict=True))
    parsed = ParsedRange(file, start, end, kinds)
    table = parsed.table
    users, titles = CodedColumn.of(table["user_id"]), CodedColumn.of(table["playlistname"])
    tracks, artists = (
        pc.utf8_trim_whitespace(table[name].combine_chunks())
        for name in ("trackname", "artistname")
    )
    for blank, reason in (
        (_blank(tracks), "no track name"),
        (_blank(artists), "no artist name"),
        (_blank(pc.utf8_trim_whitespace(users.values))[users.codes], "no user id"),
        (_blank(pc.utf8_trim_whitespace(titles.values))[titles.codes], "no playlist name"),
    ):
        parsed.reject(blank, reason)
    good = parsed.good
    if not good.all():
        users, titles = (CodedColumn(x.codes[good], x.values) for x in (users, titles))
        tracks, artists = (x.filter(pa.array(good)) for x in (tracks, artists))
    return Chunk(users, titles, tracks, artists, parsed.total, parsed.rejects(), parsed.newlines)


def _blank(trimmed: pa.StringArray) -> np.ndarray:
    return pc.equal(pc.binary_length(trimmed), 0).to_numpy(zero_copy_only=False)
