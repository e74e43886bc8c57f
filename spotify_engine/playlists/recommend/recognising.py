"""Which tracks of a catalogue people mean by what they wrote, and how that was told.

The first of these that finds a track says how: its id or both of its names as they are written
(``exact``); the same but for accents, punctuation, the order of the two, or what is said of a
version (``variant``); small misspellings (``fuzzy``). Else its artist may be known (``by artist``).
Nothing is taken for a track that merely resembles one: that is the ``nearest``, for a person to
choose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.distance import OSA

from spotify_engine.catalogue import Catalogue
from spotify_engine.names import bare, without_version
from spotify_engine.playlists.recommend.lookup import Asked, Lookup, as_text, readings
from spotify_engine.playlists.recommend.outcomes import Outcome
from spotify_engine.reading.formats.entries import Entry

ALIKE = 85.0  # of 100: names less alike than this are not each other's misspelling
SPACED = 95.0  # how alike names are at least that differ in spaces alone
MOST_CANDIDATES = 8  # tracks that may be what was misspelt
SEARCHED = 50  # entries of a list that are looked for in the whole catalogue, which costs most
MOST_HALVES = 200  # tracks of an artist, or of a name, that an entry is compared with
MOST_READINGS = 32
MOST_DASHES = 8
LONGEST = 200  # characters of a name
_NUMBER = re.compile(r"^\s*(?:#?\d{1,4}\s*[.):\]]|\d{1,4}(?=\t)|[-*•·–—▪‣](?=\s))\s*")
_LENGTH = re.compile(r"[\s(\[]+\d{1,2}:\d{2}[)\]]?\s*$")
_QUOTED = re.compile(r"^([\"'“„«]).+[\"'”“»]$")
_BY = re.compile(r"\s+by\s+", re.IGNORECASE)
_OTHERS = re.compile(r"\s*(?:,|;|&|\+|/|\b(?:feat|ft|featuring|and|with|vs|x)\b\.?)\s*", re.I)
_TELLING = re.compile(r"\d+|\b[ivx]+\b")
_LIVE = re.compile(r"\blive\b")


def entry_of(track: Asked, line: int) -> Entry:
    """A track that was asked for, as if it had been read from a file."""
    if isinstance(track, str):
        return Entry(track, line)
    artist, name = track
    return Entry(as_text(track), line, name=name, artists=(artist,))


class _Reading(NamedTuple):
    artist: str
    name: str
    swapped: bool = False  # written as Title - Artist
    sure: bool = True


class Recogniser:
    """Tells which tracks are meant."""

    def __init__(
        self,
        lookup: Lookup,
        ids: Sequence[str],
        names: Sequence[str],
        artists: Sequence[str],
        popularity: np.ndarray,
        catalogue: Catalogue | None = None,
    ) -> None:
        """Index the tracks that texts may mean.

        Args:
            popularity: ``[tracks]``; of tracks that suit alike, the most popular is meant.
            catalogue: of the same tracks; None: one is made when it is needed.
        """
        self.ids, self.names, self.artists, self.popularity = ids, names, artists, popularity
        self._lookup, self._given = lookup, catalogue

    @cached_property
    def _catalogue(self) -> Catalogue:
        return self._given or Catalogue(self.ids, self.names, self.artists, self.popularity)

    @cached_property
    def _keys(self) -> dict[str, _Keys]:
        """By ``bare`` and ``short`` names and artists, and by either of the bare ones."""
        # Artists have several tracks each.
        artists = {each: (bare(each), _short_artist(each)) for each in set(self.artists)}
        both = [artists[each] for each in self.artists]
        names = [bare(each) for each in self.names]
        short = map(without_version, self.names)
        return {
            "bare": _Keys.of(_key(by, name) for (by, _), name in zip(both, names, strict=True)),
            "short": _Keys.of(_key(by, name) for (_, by), name in zip(both, short, strict=True)),
            "artist": _Keys.of(by for by, _ in both),
            "name": _Keys.of(names),
        }

    def prepare(self) -> None:
        """Build what the first entries would wait for."""
        _ = self._catalogue, self._keys

    def recognise(self, entries: Iterable[Entry]) -> list[Outcome]:
        """Each entry's track, in their order; the same text has the same outcome."""
        known: dict[tuple[object, ...], Outcome] = {}
        outcomes = []
        searched = 0
        for entry in entries:
            key = (entry.id, entry.text if entry.name is None else entry.name, entry.artists)
            found = known.get(key)
            if found is None:
                read = _readings(entry)
                found = self._named(entry, read)
                if found is None:
                    found = self._unsure(entry, read, searched < SEARCHED)
                    searched += 1
                known[key] = found
            outcomes.append(replace(found, entry=entry))
        return outcomes

    def asked(self, outcomes: Sequence[Outcome]) -> list[Asked]:
        """The tracks to give a recommender; those not found are given as they were written."""
        return [
            self.ids[each.row]
            if each.row is not None
            else (each.artist, each.name)
            if each.artist and each.name
            else each.entry.text
            for each in outcomes
        ]

    def label(self, row: int) -> str:
        """A track in one line."""
        return f"{self.artists[row]} - {self.names[row]}"

    def _named(self, entry: Entry, read: Sequence[_Reading]) -> Outcome | None:
        """By id or names, as written or as variants."""
        text = entry.id or (entry.text if entry.name is None else None)
        row = self._lookup.by_id(text) if text else None
        if row is not None:
            return Outcome(entry, "exact", row)
        straight = [each for each in read if not each.swapped]
        swapped = [each for each in read if each.swapped]
        for each in (*straight, *swapped):
            row = self._lookup.by_name(each.artist, each.name)
            if row is not None:
                return Outcome(entry, "variant" if each.swapped else "exact", row)
        for kind, key_of in (("bare", _bare_key), ("short", _short_key)):
            for each in (*straight, *swapped):
                if not each.sure:
                    continue
                wanted = key_of(each.artist, each.name)
                rows = [
                    row
                    for row in self._keys[kind].find(wanted)
                    if key_of(self.artists[row], self.names[row]) == wanted
                ]
                if rows:
                    return Outcome(entry, "variant", self._best(rows, each.name))
        return None

    def _best(self, rows: Sequence[int], name: str) -> int:
        """Of versions of a track, the one that a name means most likely."""
        wanted = bare(name)

        def suits(row: int) -> tuple[object, ...]:
            has = bare(self.names[row])
            other = bool(_LIVE.search(has)) != bool(_LIVE.search(wanted))
            version = has != without_version(self.names[row])
            return other, version, -fuzz.ratio(wanted, has), -int(self.popularity[row]), row

        return min(rows, key=suits)

    def _unsure(self, entry: Entry, read: Sequence[_Reading], search: bool) -> Outcome:
        """By likeness, by artist, or not at all."""
        sure = [each for each in read if each.sure]
        rows = self._halves(sure)
        likely = self._likeliest(sure, rows)
        plain = bare(_stripped(entry.text) if entry.name is None else entry.text)
        if likely is None and search and (read or not entry.id):
            found = self._catalogue.nearest(plain, MOST_CANDIDATES)
            likely = self._likeliest(sure, found)
            rows = found or rows
        if likely is not None:
            return Outcome(entry, "fuzzy", likely[1], score=round(likely[0], 1))
        nearest = rows[0] if rows else None
        for order in (False, True):
            # The longest artist is the least likely to be one by chance.
            for each in reversed([each for each in read if each.swapped == order and each.sure]):
                if self._lookup.artist(each.artist) is not None:
                    return Outcome(
                        entry, "by artist", artist=each.artist, name=each.name, nearest=nearest
                    )
        return Outcome(entry, "not found", nearest=nearest)

    def _halves(self, read: Sequence[_Reading]) -> list[int]:
        """Rows that have the artist or the name, those that resemble a reading most first."""
        rows: dict[int, float] = {}
        for each in read:
            artist, name = bare(each.artist), bare(each.name)
            found = [*self._keys["artist"].find(artist), *self._keys["name"].find(name)]
            wanted = f"{artist} {name}"
            for row in found[: max(MOST_HALVES - len(rows), 0)]:
                have = f"{bare(self.artists[row])} {bare(self.names[row])}"
                rows[row] = max(rows.get(row, 0.0), fuzz.ratio(wanted, have))
        return sorted(rows, key=lambda row: (-rows[row], row))

    def _likeliest(self, read: Sequence[_Reading], rows: Sequence[int]) -> tuple[float, int] | None:
        """(how alike, row) of the track that a reading is a misspelling of."""
        best: tuple[float, int] | None = None
        for row in rows[:MOST_CANDIDATES]:
            score = max((self._alike(each, row) for each in read), default=0.0)
            if score >= ALIKE and (best is None or score > best[0]):
                best = score, row
        return best

    def _alike(self, each: _Reading, row: int) -> float:
        """How alike two names are, of 100; 0: not each other's misspelling."""
        pairs = (
            (without_version(each.name), without_version(self.names[row])),
            (bare(each.artist), bare(self.artists[row])),
        )
        return min(misspelt(*pair) for pair in pairs)


def misspelt(one: str, other: str) -> float:
    """How alike two ``bare`` names are, of 100, if one may be the other, misspelt; else 0.

    Letters may differ in words long enough for that to be no other word. Numbers may not.
    """
    if one == other:
        return 100.0
    if _TELLING.findall(one) != _TELLING.findall(other):
        return 0.0
    spaced = one.replace(" ", "") == other.replace(" ", "")
    if not spaced:
        words, others = one.split(), other.split()
        if len(words) != len(others):
            return 0.0
        for left, right in zip(words, others, strict=True):
            size = min(len(left), len(right))
            far = OSA.distance(left, right, score_cutoff=3)
            # In words of five letters or fewer, another letter makes another word.
            allowed = 2 if size >= 9 else 1 if size >= 6 else int(size >= 4 and left[0] == right[0])
            same_letters = sorted(left) == sorted(right) or len(left) != len(right)
            if far > allowed or (far and size < 6 and not same_letters):
                return 0.0
    score = max(float(fuzz.ratio(one, other)), SPACED if spaced else 0.0)
    return score if score >= ALIKE else 0.0


@dataclass(frozen=True)
class _Keys:
    """Rows by key, in 12 bytes a track: the keys themselves aren't kept.

    Attributes:
        hashes: int64, ascending.
        rows: int32, of each.
    """

    hashes: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, keys: Iterable[str]) -> _Keys:
        hashes = np.fromiter(map(hash, keys), np.int64)
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], order.astype(np.int32))

    def find(self, key: str) -> list[int]:
        """Rows that may have the key: equal hashes are no proof."""
        ends = [np.searchsorted(self.hashes, hash(key), side) for side in ("left", "right")]
        found: list[int] = self.rows[ends[0] : ends[1]].tolist()
        return found


def _key(artist: str, name: str) -> str:
    return f"{name}\x1f{artist}"


def _bare_key(artist: str, name: str) -> str:
    return _key(bare(artist), bare(name))


def _short_key(artist: str, name: str) -> str:
    return _key(_short_artist(artist), without_version(name))


def _short_artist(artist: str) -> str:
    return without_version(artist).removeprefix("the ")


def _readings(entry: Entry) -> list[_Reading]:
    """As what an entry can be read, likely ones first; few, whatever was written."""
    if entry.name is not None:
        # A semicolon may be part of a name after all.
        artists = [*entry.artists, *([";".join(entry.artists)] if entry.artists[1:] else [])]
        found = [_Reading(artist, entry.name) for artist in _each(artists)]
        return [*dict.fromkeys(found)][:MOST_READINGS]
    found = []
    for text in dict.fromkeys((entry.text, _stripped(entry.text))):
        columns = [part.strip() for part in text.split("\t") if part.strip()]
        if len(columns) > 1:
            found += [_Reading(columns[0], columns[1]), _Reading(columns[1], columns[0], True)]
        for each in readings(text)[:MOST_DASHES]:
            before, after = each.artist.strip(), each.name.strip()
            if before and after:
                found.append(_Reading(before, after, False, each.sure))
                if each.sure:
                    found.append(_Reading(after, before, True))
        for by in _BY.finditer(text):
            found.append(_Reading(text[by.end() :].strip(), text[: by.start()].strip()))
    unquoted = [
        _Reading(_unquoted(each.artist), _unquoted(each.name), each.swapped, each.sure)
        for each in found
    ]
    first = [
        _Reading(artist, each.name, each.swapped)
        for each in found
        if each.sure
        for artist in _each([each.artist])[1:2]
    ]
    every = dict.fromkeys([*found, *unquoted, *first])
    return [each for each in every if max(len(each.artist), len(each.name)) <= LONGEST][
        :MOST_READINGS
    ]


def _each(artists: Sequence[str]) -> list[str]:
    """The artists, then who is first of what may be several: names hold commas themselves."""
    parts = [
        artist[: between.start()].strip()
        for artist in artists
        for between in reversed([*_OTHERS.finditer(artist)])
    ]
    return [*dict.fromkeys(filter(None, [*artists, *parts]))]


def _stripped(text: str) -> str:
    """A line without its number or bullet, the track's length and quotation marks around it."""
    return _unquoted(_LENGTH.sub("", _NUMBER.sub("", text)).strip())


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if _QUOTED.match(text) and len(text) > 2 else text
