"""The playlists file: who listens to what, in the dialect and with the faults of the real one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from spotify_engine.invented_names import (
    GENRE_NAMES,
    escape_playlist_field,
    playlist_titles,
    write_text,
)
from spotify_engine.playlists.synthetic.catalogue import InventedCatalogue, SampleConfig

_CHUNK_ROWS = 500_000
# Shares of rows of the playlists file, as counted in the real one.
_NULL_ARTIST, _NULL_TRACK, _NULL_TITLE = 33e3 / 12.9e6, 101 / 12.9e6, 140e3 / 12.9e6


@dataclass(frozen=True)
class PlaylistPlan:
    """The plan of each playlist before its tracks are drawn; all arrays are ``[playlists]``.

    Attributes:
        user: int, ascending, so that a user's playlists stand together in the file.
        length: int, wanted tracks.
        groups: int ``[playlists, 3]``, the group of each of its three scenes; the first is main.
        scenes: int ``[playlists, 3]``, the first artist of each scene.
        scene_size: int ``[groups]``, artists a scene.
        titles: the playlist names; empty where the name is missing.
    """

    user: np.ndarray
    length: np.ndarray
    groups: np.ndarray
    scenes: np.ndarray
    scene_size: np.ndarray
    titles: list[str]


def plan_playlists(config: SampleConfig, catalogue: InventedCatalogue) -> PlaylistPlan:
    """Draw whose playlists there are, and how long and of which groups they are."""
    rng = np.random.default_rng((config.seed, 2))
    n = config.playlists
    activity = rng.lognormal(0, 0.9, config.users)
    more = rng.choice(config.users, size=n - config.users, p=activity / activity.sum())
    user = np.sort(np.concatenate([np.arange(config.users), more]))
    raw = rng.lognormal(0, 1.0 if config.rows / n > 40 else 0.5, n)
    length = np.maximum(2, np.round(raw * config.rows / raw.sum())).astype(np.int64)
    length = np.minimum(length, max(10, config.tracks // 20))

    tastes = rng.choice(config.groups, size=(config.users, 4), p=catalogue.group_share)
    choice = np.minimum(rng.geometric(0.5, size=(n, 2)) - 1, 3)
    groups = tastes[user[:, None], choice[:, [0, 0, 1]]]
    group_size = np.diff(catalogue.group_start)
    scene_size = np.clip(group_size // 4, 2, 12)
    number = (group_size // scene_size)[groups] * rng.random((n, 3)) ** 2.2
    scenes = catalogue.group_start[groups] + number.astype(np.int64) * scene_size[groups]

    genres = [GENRE_NAMES[g] for g in groups[:, 0]]
    titles = playlist_titles(rng, user, genres, config.genre_title_share)
    for unnamed in range(50, n, round(1 / _NULL_TITLE)):
        titles[unnamed] = ""
    return PlaylistPlan(user, length, groups, scenes, scene_size, titles)


def draw_tracks(
    rng: np.random.Generator,
    playlists: np.ndarray,
    lengths: np.ndarray,
    plan: PlaylistPlan,
    catalogue: InventedCatalogue,
    config: SampleConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw ``lengths`` tracks for each of ``playlists`` (both int ``[n]``).

    Returns:
        (playlist, track), both int64 ``[about sum(lengths)]``, unordered; a repeated pair is rare.
    """
    playlist = np.repeat(playlists, lengths)
    total = len(playlist)
    # Long playlists would exhaust their scenes, so they lean on the whole group instead.
    scene_share = config.scene_share * np.minimum(1, np.sqrt(60 / plan.length[playlist]))
    source = rng.random(total)
    slot = np.minimum(rng.geometric(0.5, total) - 1, 2)
    group = plan.groups[playlist, slot]
    anywhere = source > 1 - config.noise_share
    group[anywhere] = rng.choice(config.groups, size=int(anywhere.sum()), p=catalogue.group_share)
    first, last = catalogue.group_start[group], catalogue.group_start[group + 1] - 1
    u = rng.random(total)
    in_scene = plan.scenes[playlist, slot] + (plan.scene_size[group] * u**1.6).astype(np.int64)
    in_group = first + ((last - first + 1) * u**2.1).astype(np.int64)
    artist = np.minimum(np.where(source < scene_share, in_scene, in_group), last)
    start, end = catalogue.track_start[artist], catalogue.track_start[artist + 1]
    track = start + ((end - start) * rng.random(total) ** 2.2).astype(np.int64)

    key = np.sort(playlist * config.tracks + track)
    repeated = np.concatenate([[False], key[1:] == key[:-1]])
    key = key[~repeated | (rng.random(total) < 0.03)]
    return key // config.tracks, key % config.tracks


def _walk(
    rng: np.random.Generator,
    playlist: np.ndarray,
    track: np.ndarray,
    catalogue: InventedCatalogue,
) -> np.ndarray:
    """The order of the rows in which each playlist goes through its groups, one after the other.

    Groups come in any order, artists about as they are numbered, their tracks at random.
    """
    artist = catalogue.track_artist[track].astype(np.int64)
    group = catalogue.artist_group[artist]
    visits, visit = np.unique(playlist * len(catalogue.group_share) + group, return_inverse=True)
    when = rng.random(len(visits))[visit]
    place = artist + rng.normal(0, 1.0, len(artist))
    walked: np.ndarray = np.lexsort((place, when, playlist))
    return walked


def _malformed(kind: int, user: str, artist: str, track: str, title: str) -> str:
    """A line that doesn't hold four fields; all but the last kind end with their own line."""
    match kind % 40:
        case k if k < 12:
            return f'"{user}","{artist}","{track}"\n'
        case k if k < 18:
            return f'"{user}","{title}"\n'
        case k if k < 30:
            return f'"{user}","{artist}","{track}","{title}","{artist}"\n'
        case k if k < 36:
            return f'"{user}","{artist[:3]}"x, y","{track}","{title}"\n'
        case k if k < 39:
            return f'"{user}","x,"{track}","{title}"\n'
        case _:
            return f'"{user}","{artist}","{track}","{title}\n'


def _faulty_lines(
    rng: np.random.Generator,
    first_row: int,
    columns: tuple[pa.Array, pa.Array, pa.Array, pa.Array],
    config: SampleConfig,
) -> tuple[np.ndarray, list[str]]:
    """Which rows of a chunk (bool ``[rows]``) to replace, and the lines put there."""
    n = len(columns[0])
    rows = np.arange(first_row, first_row + n)
    fault = np.zeros(n, np.int8)
    fault[rng.random(n) < 0.01] = 1  # only looks different: case, blanks around
    fault[rng.random(n) < config.malformed_share] = 2
    fault[rows % round(1 / max(_NULL_ARTIST, 4 / config.rows)) == 17] = 3
    fault[rows % round(1 / max(_NULL_TRACK, 4 / config.rows)) == 29] = 4
    chosen = pa.array(np.flatnonzero(fault))
    cells = (column.take(chosen).to_pylist() for column in columns)
    lines = []
    for code, kind, user, artist, track, title in zip(
        fault[fault > 0], rng.integers(0, 1000, len(chosen)), *cells, strict=True
    ):
        if code == 2:
            lines.append(_malformed(int(kind), user, artist, track, title))
            continue
        if code == 1:
            artist = artist.upper() if kind % 2 else f" {artist}"
            track = f"{track}  " if kind % 3 == 0 else track
        artist, track = ("" if code == 3 else artist), ("" if code == 4 else track)
        lines.append(f'"{user}","{artist}","{track}","{title}"\n')
    return fault > 0, lines


def write_playlists(
    path: Path, config: SampleConfig, catalogue: InventedCatalogue
) -> tuple[int, np.ndarray]:
    """Write the playlists file.

    Rows of a playlist are in alphabetical order of the track name, as in the real file; with
    ``ordered``, they go from taste group to taste group, and in each from artist to artist.

    Returns:
        (rows written, malformed ones included; bool ``[tracks]``, which occur).
    """
    plan = plan_playlists(config, catalogue)
    order = np.asarray(pc.sort_indices(pc.utf8_lower(catalogue.tracks))).astype(np.int64)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    track_text = escape_playlist_field(catalogue.tracks)
    artist_text = escape_playlist_field(pa.array(catalogue.artists))
    title_text = escape_playlist_field(pa.array(plan.titles))
    user_text = pa.array(
        [
            hashlib.blake2b(f"{config.seed}:{u}".encode(), digest_size=16).hexdigest()
            for u in range(config.users)
        ]
    )
    ends = np.cumsum(plan.length)
    chunk_of = (ends - 1) // _CHUNK_ROWS
    seen = np.zeros(config.tracks, bool)
    written, more = 0, 1.12  # how much is drawn for a row that is wanted
    with path.open("wb") as file, tqdm(total=config.rows, unit="row", desc=path.name) as bar:
        file.write(b'"user_id", "artistname", "trackname", "playlistname"\n')
        for chunk in range(int(chunk_of[-1]) + 1):
            rng = np.random.default_rng((config.seed, 3, chunk))
            playlists = np.flatnonzero(chunk_of == chunk)
            lengths = np.round(plan.length[playlists] * more).astype(np.int64)
            playlist, track = draw_tracks(rng, playlists, lengths, plan, catalogue, config)
            if config.ordered:
                walked = _walk(rng, playlist, track, catalogue)
                playlist, track = playlist[walked], track[walked]
            else:
                key = np.sort(playlist * config.tracks + rank[track])
                playlist, track = key // config.tracks, order[key % config.tracks]
            seen[track] = True
            columns = (
                user_text.take(pa.array(plan.user[playlist])),
                artist_text.take(pa.array(catalogue.track_artist[track])),
                track_text.take(pa.array(track)),
                title_text.take(pa.array(playlist)),
            )
            lines = pc.binary_join_element_wise(
                '"', columns[0], '","', columns[1], '","', columns[2], '","', columns[3], '"\n', ""
            )
            faulty, replacements = _faulty_lines(rng, written, columns, config)
            write_text(file, pc.replace_with_mask(lines, pa.array(faulty), pa.array(replacements)))
            written += len(track)
            # Repeated draws were dropped; make up for them in what is still to come.
            more *= (ends[playlists[-1]] / written) ** 2
            bar.update(len(track))
    return written, seen
