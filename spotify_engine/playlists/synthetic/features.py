"""The features and genres files: audio values that tell the groups apart, and who plays what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from spotify_engine.invented_names import GENRE_NAMES, quote_rfc4180, write_text
from spotify_engine.playlists.synthetic.catalogue import InventedCatalogue, SampleConfig

_CHUNK_ROWS = 200_000
FEATURE_HEADER = (
    "id,name,album,album_id,artists,artist_ids,track_number,disc_number,explicit,danceability,"
    "energy,key,loudness,mode,speechiness,acousticness,instrumentalness,liveness,valence,tempo,"
    "duration_ms,time_signature,year,release_date"
)
# Order of the latent audio values.
_UNIT_AUDIO = (
    "danceability",
    "energy",
    "valence",
    "acousticness",
    "speechiness",
    "liveness",
    "instrumentalness",
)
_UNIT_CENTRE = np.array([0.3, 0.4, 0.0, -0.8, -2.4, -1.5, -2.5])
_AUDIO_COLUMNS = (*_UNIT_AUDIO, "loudness", "tempo")
_FAULTY_VALUES = ("", "nan", "unknown", "1.7", "-1.0", "900.5", "-75.0", "inf")
_BASE62 = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", np.uint8)
_HEX = _BASE62[[*range(10), *range(36, 42)]]


def _random_ids(rng: np.random.Generator, n: int, length: int, alphabet: np.ndarray) -> pa.Array:
    letters = alphabet[rng.integers(0, len(alphabet), n * length, dtype=np.uint8)]
    offsets = np.arange(n + 1, dtype=np.int32) * length
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(letters))


def _rows_of_tracks(
    rng: np.random.Generator, config: SampleConfig, tracks: np.ndarray
) -> np.ndarray:
    """int64 ``[feature_rows]``: the playlist track on each row, or -1 for one no playlist has.

    A tenth of the tracks stand on two or three rows, under different ids.
    """
    again = rng.choice([1, 2, 3], size=len(tracks), p=[0.9, 0.08, 0.02])
    rows = np.full(config.feature_rows, -1, np.int64)
    repeated = np.repeat(tracks, again)[: config.feature_rows]
    rows[: len(repeated)] = repeated
    return rng.permutation(rows)


def _audio_text(
    rng: np.random.Generator, profile: np.ndarray, group: np.ndarray, offset: np.ndarray
) -> dict[str, pa.Array]:
    """The nine audio columns as text, one value in 3,000 unusable or out of range.

    Args:
        profile: float ``[groups, 9]``, each group's centre.
        group: int ``[rows]``.
        offset: float ``[rows, 9]``, what the artist adds.
    """
    n = len(group)
    latent = profile[group] + 0.45 * offset + 0.45 * rng.standard_normal((n, 9))
    unit = 1 / (1 + np.exp(-(_UNIT_CENTRE + latent[:, :7])))
    unit[:, 6] = np.where(unit[:, 6] < 0.05, 10 ** (-6.5 + 100 * unit[:, 6]), unit[:, 6])
    unit[:, 6] *= rng.random(n) > 0.3
    values = {name: np.round(unit[:, i], 3) for i, name in enumerate(_UNIT_AUDIO)}
    small = values["instrumentalness"] == 0
    values["instrumentalness"][small] = np.round(unit[small, 6], 8)
    values["loudness"] = np.round(np.clip(-9 + 3.5 * latent[:, 7], -58, 0), 3)
    values["tempo"] = np.round(np.clip(120 + 22 * latent[:, 8], 40, 230), 3)
    text = {}
    for name, column in values.items():
        faulty = rng.random(n) < 1 / 3000
        instead = rng.choice(_FAULTY_VALUES, int(faulty.sum())).tolist()
        text[name] = pc.replace_with_mask(
            pc.cast(pa.array(column), pa.string()), pa.array(faulty), pa.array(instead, pa.string())
        )
    return text


def _list_literals(first: pa.Array, others: pa.Array, more: np.ndarray) -> pa.Array:
    """``['A']``, or ``['A', 'B']`` in the rows of ``more``, quoted as the file needs it."""
    both = pc.binary_join_element_wise(first, others, ", ")
    inside = pc.if_else(pa.array(more), both, first)
    return quote_rfc4180(pc.binary_join_element_wise("[", inside, "]", ""))


def _integers(values: np.ndarray) -> pa.Array:
    return pc.cast(pa.array(values), pa.string())


def write_features(
    path: Path, config: SampleConfig, catalogue: InventedCatalogue, seen: np.ndarray
) -> int:
    """Write the features file: the featured tracks of ``seen`` (bool ``[tracks]``) and many others.

    Some names and artists differ from the playlists file in case or in blanks around them.

    Returns:
        How many different tracks of the playlists file are in it.
    """
    rng = np.random.default_rng((config.seed, 4))
    featured = np.flatnonzero(catalogue.featured & seen)
    source = _rows_of_tracks(rng, config, featured)
    artist_group = catalogue.artist_group
    profile = rng.standard_normal((config.groups, 9))
    offset = rng.standard_normal((config.artists, 9)).astype(np.float32)
    names = [*catalogue.artists, *(name.upper() for name in catalogue.artists)]
    literals = pa.array([repr(name) for name in names])
    artist_ids = pc.binary_join_element_wise(
        "'", _random_ids(rng, config.artists, 22, _HEX), "'", ""
    )
    with path.open("wb") as file, tqdm(total=len(source), unit="row", desc=path.name) as bar:
        file.write(f"{FEATURE_HEADER}\n".encode())
        for start in range(0, len(source), _CHUNK_ROWS):
            rng = np.random.default_rng((config.seed, 5, start))
            track = source[start : start + _CHUNK_ROWS]
            n, known = len(track), track >= 0
            artist = rng.integers(0, config.artists, n)
            artist[known] = catalogue.track_artist[track[known]]
            partner = artist + rng.integers(1, 4, n)
            partner[partner >= config.artists] = 0
            several = rng.random(n) < 0.12
            shouted = rng.random(n) < 0.01

            group = artist_group[artist]
            name = catalogue.namer.tracks(rng, group, 40_009)
            name = pc.if_else(
                pa.array(known), catalogue.tracks.take(pa.array(track, mask=~known)), name
            )
            case = rng.integers(0, 100, n)
            name = pc.if_else(pa.array(case < 3), pc.utf8_upper(name), name)
            name = pc.if_else(pa.array(case == 3), pc.utf8_lower(name), name)
            blanks = pc.binary_join_element_wise(" ", name, " ", "")
            name = pc.if_else(pa.array(case == 4), blanks, name)
            year = 1960 + (62 * rng.random(n) ** 0.5).astype(np.int64)
            month, day = rng.integers(10, 13, n), rng.integers(10, 29, n)
            columns = {
                "id": _random_ids(rng, n, 22, _BASE62),
                "name": quote_rfc4180(name),
                "album": quote_rfc4180(catalogue.namer.tracks(rng, group, n + 1)),
                "album_id": _random_ids(rng, n, 22, _BASE62),
                "artists": _list_literals(
                    literals.take(pa.array(artist + config.artists * shouted)),
                    literals.take(pa.array(partner)),
                    several,
                ),
                "artist_ids": _list_literals(
                    artist_ids.take(pa.array(artist)), artist_ids.take(pa.array(partner)), several
                ),
                "track_number": _integers(rng.integers(1, 20, n)),
                "disc_number": _integers(1 + (rng.random(n) < 0.05)),
                "explicit": pa.array(["false", "true"]).take(pa.array((rng.random(n) < 0.1) * 1)),
                "key": _integers(rng.integers(0, 12, n)),
                "mode": _integers(rng.integers(0, 2, n)),
                "duration_ms": _integers((210_000 * rng.lognormal(0, 0.3, n)).astype(np.int64)),
                "time_signature": pa.array(["3.0", "4.0", "5.0"]).take(
                    pa.array(rng.choice(3, n, p=[0.1, 0.87, 0.03]))
                ),
                "year": _integers(year),
                "release_date": pc.binary_join_element_wise(
                    _integers(year), _integers(month), _integers(day), "-"
                ),
                **_audio_text(rng, profile, group, offset[artist]),
            }
            rows = pc.binary_join_element_wise(
                *(columns[name] for name in FEATURE_HEADER.split(",")), ","
            )
            write_text(file, pc.binary_join_element_wise(rows, "\n", ""))
            bar.update(n)
    return len(np.unique(source)) - int((source < 0).any())


def write_genres(path: Path, config: SampleConfig, catalogue: InventedCatalogue) -> int:
    """Write artist, genre, count: each artist's group and, for a third, a second genre.

    One artist in ten is left out. Returns the rows written.
    """
    rng = np.random.default_rng((config.seed, 6))
    artist = np.arange(config.artists)
    group = catalogue.artist_group
    second = rng.random(config.artists) < 1 / 3
    listed = rng.random(config.artists) > 0.1
    artist = np.concatenate([artist[listed], artist[listed & second]])
    other = (group + rng.integers(1, 3, config.artists)) % config.groups
    genre = np.concatenate([group[listed], other[listed & second]])
    count = rng.integers(1, 4, len(artist)) + 4 * (np.arange(len(artist)) < listed.sum())
    order = np.argsort(artist, kind="stable")
    text = pc.binary_join_element_wise(
        quote_rfc4180(pa.array(catalogue.artists).take(pa.array(artist[order]))),
        quote_rfc4180(pa.array(GENRE_NAMES).take(pa.array(genre[order]))),
        _integers(count[order]),
        ",",
    )
    with path.open("wb") as file:
        file.write(b"artist,genre,count\n")
        write_text(file, pc.binary_join_element_wise(text, "\n", ""))
    return len(artist)
