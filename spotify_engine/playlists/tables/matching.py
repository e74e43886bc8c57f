"""Which track of the features file a row of the playlist file means.

Two rows mean the same track if names and first artists are the same (see ``names``). Where the
features file has such a pair under several ids, the one with the fewest unknown audio values stands
for all, then the smallest id.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spotify_engine.names import canonical, normalise, normalise_all
from spotify_engine.playlists.tables.features import Features
from spotify_engine.playlists.tables.hashing import hash_strings
from spotify_engine.playlists.tables.reading import Chunk
from spotify_engine.reading.chunks import CodedColumn

PLAYLISTS_SCHEMA = pa.schema([("user_id", pa.string()), ("name", pa.string())])
UNMATCHED = pa.schema([("key", pa.string()), ("name", pa.string()), ("artist", pa.string())])
SEPARATOR = "\x1f"  # between name and artist in a key


def track_keys(names: pa.StringArray, artists: pa.StringArray) -> pa.StringArray:
    """The key that tells tracks apart: normalised name and first artist, joined."""
    return pc.binary_join_element_wise(normalise_all(names), normalise_all(artists), SEPARATOR)


def track_key(name: str, artist: str) -> str:
    """``track_keys`` of one track."""
    return f"{normalise(name)}{SEPARATOR}{normalise(artist)}"


def _hash_keys(names: pa.StringArray, artists: pa.StringArray, seed: int) -> np.ndarray:
    mixed = hash_strings(names, seed) * np.uint64(0x9E3779B97F4A7C15)
    mixed += hash_strings(artists, seed)
    return mixed ^ (mixed >> np.uint64(31))


@dataclass(frozen=True)
class KeyTable:
    """Every (name, first artist) of the features file; small enough to be sent to all workers.

    Attributes:
        names, artists: strings ``[keys]``, normalised.
        rows: int32 ``[keys]``, the row of the features file that stands for the key; one row for
            all names of an id.
        hashes: uint64 ``[keys]``, ascending, distinct.
        buckets: int32 ``[2 ** bits + 1]``: keys whose hash starts with the bits ``b`` are
            ``buckets[b]`` to ``buckets[b + 1]``.
        seed: of the hash.
        with_several_ids: keys that rows of more than one id have.
    """

    names: pa.StringArray
    artists: pa.StringArray
    rows: np.ndarray
    hashes: np.ndarray
    buckets: np.ndarray
    seed: int
    with_several_ids: int

    @classmethod
    def of(cls, features: Features) -> KeyTable:
        """The keys of all rows of the features' file."""
        import pandas as pd  # slow, and keys alone need none of it

        others, n = features.others, len(features)
        names, artists = (
            normalise_all(pa.concat_arrays(each))
            for each in (
                (features.names, others.names),
                (features.first_artists, others.first_artists),
            )
        )
        seed = 0
        while True:
            hashes = _hash_keys(names, artists, seed)
            order = np.argsort(hashes, kind="stable")
            again = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
            if _equal(names, order[again], names, order[again + 1]).all() and (
                _equal(artists, order[again], artists, order[again + 1]).all()
            ):
                break
            seed += 1  # two keys share a hash
        starts = np.delete(np.arange(len(order)), again + 1)
        at, sizes = order[starts], np.diff(np.append(starts, len(order)))
        shared = order[np.repeat(sizes > 1, sizes)]
        real = shared < n
        unknown = np.isnan(features.audio).sum(axis=1)
        ranked = pd.DataFrame(
            {
                "key": np.repeat(np.arange(len(starts)), sizes)[np.repeat(sizes > 1, sizes)][real],
                "unknown": unknown[shared[real]],
                "id": features.ids.take(pa.array(shared[real])).to_pylist(),
                "row": shared[real],
            }
        ).sort_values(["key", "unknown", "id", "row"])
        best = ranked.drop_duplicates("key")
        at[best["key"]] = best["row"]
        rows = at.copy()
        if len(others):
            # A name that no row of its own has means the track of the row that has its id.
            key_of = np.empty(len(order), np.int64)
            key_of[order] = np.repeat(np.arange(len(starts)), sizes)
            only = rows >= n
            rows[only] = at[key_of[others.rows[rows[only] - n]]]
        hashes = hashes[at]
        bits = max(1, len(at).bit_length())
        prefix = (hashes >> np.uint64(64 - bits)).astype(np.int64)
        return cls(
            names.take(pa.array(at)),
            artists.take(pa.array(at)),
            rows.astype(np.int32),
            hashes,
            np.searchsorted(prefix, np.arange((1 << bits) + 1)).astype(np.int32),
            seed,
            int((ranked.groupby("key")["id"].nunique() > 1).sum()),
        )

    def find(self, names: pa.StringArray, artists: pa.StringArray) -> np.ndarray:
        """int32 ``[n]``: rows of the features file, -1 where there is none.

        Args:
            names, artists: ``[n]``, normalised.
        """
        wanted = _hash_keys(names, artists, self.seed)
        bits = (len(self.buckets) - 1).bit_length() - 1
        prefix = (wanted >> np.uint64(64 - bits)).astype(np.int64)
        at, end = self.buckets[prefix], self.buckets[prefix + 1]
        key = np.full(len(wanted), -1, np.int64)
        searched = np.flatnonzero(at < end)
        while len(searched):
            hit = self.hashes[at[searched]] == wanted[searched]
            key[searched[hit]] = at[searched[hit]]
            searched = searched[~hit]
            at[searched] += 1
            searched = searched[at[searched] < end[searched]]
        # Equal hashes are no proof.
        hits = np.flatnonzero(key >= 0)
        same = _equal(names, hits, self.names, key[hits])
        same &= _equal(artists, hits, self.artists, key[hits])
        found = np.full(len(wanted), -1, np.int32)
        found[hits[same]] = self.rows[key[hits[same]]]
        return found


def _equal(
    left: pa.StringArray, at: np.ndarray, right: pa.StringArray, where: np.ndarray
) -> np.ndarray:
    pairs = pc.equal(left.take(pa.array(at)), right.take(pa.array(where)))
    return pairs.to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class Matched:
    """The rows of a chunk that go on, as pairs of a playlist and a track, in the file's order.

    Attributes:
        playlist: int32 ``[pairs]``, row of ``playlists``.
        track: int32 ``[pairs]``, row of the features file, or ``-1 - row of unmatched``.
        playlists: as ``PLAYLISTS_SCHEMA``, distinct.
        unmatched: as ``UNMATCHED``, distinct keys in order of appearance, spelled as there.
        matched_rows, unmatched_rows: of the chunk; the latter are pairs only if they are kept.
    """

    playlist: np.ndarray
    track: np.ndarray
    playlists: pa.Table
    unmatched: pa.Table
    matched_rows: int
    unmatched_rows: int


def match_chunk(chunk: Chunk, keys: KeyTable, keep_unmatched: bool) -> Matched:
    """Match the good rows of a chunk; those without a match are left out or ``keep_unmatched``."""
    names, artists = normalise_all(chunk.tracks), normalise_all(chunk.artists)
    found = keys.find(names, artists)
    missed = np.flatnonzero(found < 0)
    unmatched = UNMATCHED.empty_table()
    if keep_unmatched:
        rows = np.arange(len(found))
        of = pa.array(missed)
        key = pc.binary_join_element_wise(names.take(of), artists.take(of), SEPARATOR)
        codes, first = factorise(key.dictionary_encode().indices.to_numpy())
        found[missed] = -1 - codes
        firsts = pa.array(missed[first])
        unmatched = pa.table(
            {
                "key": key.take(pa.array(first)),
                "name": chunk.tracks.take(firsts),
                "artist": chunk.artists.take(firsts),
            },
            schema=UNMATCHED,
        )
    else:
        rows = np.flatnonzero(found >= 0)
    users, titles = chunk.users, chunk.titles
    user, title = _canonical_codes(users)[rows], _canonical_codes(titles)[rows]
    playlist, first = factorise(user.astype(np.int64) * max(1, len(titles.values)) + title)
    playlists = pa.table(
        {
            "user_id": users.values.take(pa.array(users.codes[rows[first]])),
            "name": titles.values.take(pa.array(titles.codes[rows[first]])),
        },
        schema=PLAYLISTS_SCHEMA,
    )
    return Matched(
        playlist.astype(np.int32),
        found[rows],
        playlists,
        unmatched,
        len(found) - len(missed),
        len(missed),
    )


def _canonical_codes(column: CodedColumn) -> np.ndarray:
    """int32 ``[rows]``: its codes, or others if values differ only in how they are composed."""
    same = canonical(column.values)
    if same is column.values:
        return column.codes
    return same.dictionary_encode().indices.to_numpy()[column.codes]


def factorise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number distinct values by first appearance.

    Returns:
        (int64 ``[n]``, the number of each value; int64 ``[distinct]``, where each first appears).
    """
    import pandas as pd

    codes, distinct = pd.factorize(values)
    first = np.flatnonzero(~pd.Series(codes).duplicated().to_numpy())
    assert len(first) == len(distinct)
    return codes, first
