"""Finding tracks by part of their name or artist, misspelt or not, and by id."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from threading import Lock

import numpy as np
from rapidfuzz import fuzz, process

from spotify_engine.names import without_accents
from spotify_engine.track_ids import linked_track, track_id

PROPOSED = 400  # tracks that share most with a query; the best of them are told by likeness
SHORTEST = 3  # characters of a trigram
READ = 8_000  # rows that are read for a query, those of its rarest trigrams first
WORDS = 12
COARSE = 5.0  # points of likeness, of 100, that make a difference


class Catalogue:
    """An index of trigrams (SQLite's FTS5, in memory) proposes; rapidfuzz puts in order."""

    def __init__(
        self,
        ids: Sequence[str],
        names: Sequence[str],
        artists: Sequence[str],
        popularity: np.ndarray,
    ) -> None:
        """Index names and artists.

        Args:
            popularity: ``[tracks]``; of tracks that suit a query alike, popular ones are first.
        """
        self.ids, self.names, self.artists = ids, names, artists
        self.popularity = popularity
        self._row = {track_id(id_): row for row, id_ in reversed(list(enumerate(ids)))}
        self._lock = Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        run = self._database.execute
        # Nothing but the trigrams is stored: the texts are here already.
        run(
            "CREATE VIRTUAL TABLE track USING fts5(text, content='', tokenize='trigram',"
            " columnsize=0, detail=none)"
        )
        run("CREATE VIRTUAL TABLE trigram USING fts5vocab(track, row)")
        run("CREATE TABLE start (text TEXT, row INTEGER)")
        # More popular tracks have lower row numbers, so that they are proposed first.
        self._rows = np.argsort(-np.asarray(popularity, np.float64), kind="stable")
        names_of = (without_accents(names[row]) for row in self._rows.tolist())
        artists_of = (without_accents(artists[row]) for row in self._rows.tolist())
        texts = list(zip(names_of, artists_of, strict=True))
        self._database.executemany(
            "INSERT INTO track(rowid, text) VALUES (?, ?)",
            ((place, f"{name} {artist}") for place, (name, artist) in enumerate(texts)),
        )
        # Queries too short for a trigram are looked up as how a name or an artist starts.
        self._database.executemany(
            "INSERT INTO start VALUES (?, ?)",
            ((text[: SHORTEST - 1], place) for place, both in enumerate(texts) for text in both),
        )
        run("CREATE INDEX start_text ON start(text, row)")
        self._database.commit()

    def row(self, id_: str) -> int | None:
        """The track of an id, URI or link; None if there is none."""
        return self._row.get(track_id(id_))

    def search(self, query: str, k: int) -> list[int]:
        """Rows of at most k tracks, best first; an id comes first, a URI or link alone."""
        given = self.row(query)
        first = [] if given is None else [given]
        if linked_track(query) is not None:
            return first
        return [*first, *(row for row in self._named(query, k) if row != given)][:k]

    def nearest(self, text: str, k: int) -> list[int]:
        """Rows of at most k tracks whose names and artists share most with a text, best first."""
        return self._named(text, k)

    def _named(self, query: str, k: int) -> list[int]:
        query = without_accents(query)
        if not query:
            return []
        rows = self._rows[self._proposed(query)].tolist()
        if len(query) < SHORTEST:
            return rows[:k]
        names = [without_accents(self.names[row]) for row in rows]
        artists = [without_accents(self.artists[row]) for row in rows]
        texts = [f"{name} {artist}" for name, artist in zip(names, artists, strict=True)]
        # Every word may be the start of one, misspelt, and stand anywhere.
        words = query.split()[:WORDS]
        lengths = np.array([len(word) for word in words])
        likeness = lengths @ process.cdist(words, texts, scorer=fuzz.partial_ratio) / lengths.sum()
        # Of those that hold the words, one that is called nothing else comes first.
        whole = np.max(
            [
                process.cdist([query], each, scorer=fuzz.ratio)[0]
                for each in (names, artists, texts)
            ],
            axis=0,
        )
        # Proposed tracks come by popularity, which a stable sort keeps among equals.
        order = np.lexsort((-np.round(whole / COARSE), -np.round(likeness / COARSE)))
        return [rows[place] for place in order[:k].tolist()]

    def _proposed(self, query: str) -> list[int]:
        with self._lock:
            run = self._database.execute
            if len(query) < SHORTEST:
                found = run(
                    "SELECT DISTINCT row FROM start WHERE text >= ? AND text < ?"
                    " ORDER BY row LIMIT ?",
                    (query, query + "\U0010ffff", PROPOSED),
                )
                return [row for (row,) in found]
            pieces = list(dict.fromkeys(query[i : i + 3] for i in range(len(query) - 2)))[:64]
            marks = ",".join("?" * len(pieces))
            counts = dict(run(f"SELECT term, doc FROM trigram WHERE term IN ({marks})", pieces))
            shared: dict[int, int] = {}
            read = 0
            for piece in sorted(counts, key=lambda piece: (counts[piece], piece)):
                if read >= READ:
                    break
                quoted = '"' + piece.replace('"', '""') + '"'
                having = run(
                    "SELECT rowid FROM track WHERE track MATCH ? ORDER BY rowid LIMIT ?",
                    (quoted, READ),
                ).fetchall()
                read += len(having)
                for (row,) in having:
                    shared[row] = shared.get(row, 0) + 1
        return sorted(shared, key=lambda row: (-shared[row], row))[:PROPOSED]
