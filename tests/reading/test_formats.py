"""Playlists as people have them, each format by a small example of what is nasty in it."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.errors import InputError
from spotify_engine.reading.formats.entries import Entry, Pasted
from spotify_engine.reading.formats.kinds import FORMATS
from spotify_engine.reading.formats.reader import MAX_BYTES, read_playlists
from spotify_engine.reading.formats.writer import Written, file_name, write_playlist

ONE, TWO = "6habFhsOp2NvshLv26DqMb", "2TpxZ7JUBn3uw46aR7qd6V"


def only(pasted: Pasted) -> list[Entry]:
    [playlist] = pasted.playlists
    return playlist.entries


def named(pasted: Pasted) -> list[tuple[str | None, str | None, tuple[str, ...]]]:
    return [(each.id, each.name, each.artists) for each in only(pasted)]


def test_links_uris_and_bare_ids() -> None:
    text = f"""
spotify:track:{ONE}
https://open.spotify.com/intl-de/track/{TWO}?si=abc <https://open.spotify.com/track/{ONE}>
{TWO}
https://open.spotify.com/playlist/37i9dQZF1DXcBWIGoYBM5M
spotify:artist:2ye2Wgw4gimLv2eAKyk1NB
https://youtu.be/dQw4w9WgXcQ
spotify:local:The+Band:Album:A%20Song:213
"""
    pasted = read_playlists(text)
    assert [each.id for each in only(pasted)] == [ONE, TWO, ONE, TWO, None]
    assert [each.line for each in only(pasted)] == [2, 3, 3, 4, 8]
    local = only(pasted)[-1]
    assert (local.name, local.artists) == ("A Song", ("The Band",))
    assert [(each.line, each.why) for each in pasted.unread] == [
        (5, "a link to a playlist, not to a track"),
        (6, "a link to an artist, not to a track"),
        (7, "a link, but not to a Spotify track"),
    ]


def test_exportify_net_joins_artists_by_semicolons_after_a_bom() -> None:
    text = (
        "\ufeffTrack URI,Track Name,Album Name,Artist Name(s),Release Date\r\n"
        f'spotify:track:{ONE},"Creep, ""live""",Pablo Honey,"Tyler, The Creator;Kali Uchis",93\r\n'
        "spotify:local:::Gone:1,Gone,,,\r\n"
        ",,,Nobody,\r\n"
    )
    pasted = read_playlists(text.encode(), "road_trip.csv")
    assert (pasted.format, pasted.title) == ("Exportify CSV", "road trip")
    assert named(pasted) == [
        (ONE, 'Creep, "live"', ("Tyler, The Creator", "Kali Uchis")),
        (None, None, ()),
    ]
    assert [(each.line, each.why) for each in pasted.unread] == [(4, "no track's name")]


@pytest.mark.parametrize(
    "header",
    [
        '"Track URI","Track Name","Artist URI(s)","Artist Name(s)"',
        '"Track-URI","Track-Name","Künstler-URI(n)","Künstlername(n)"',
        '"トラックURI","トラック名","アーティストURI","アーティスト名"',
        '"رابط الأغنية","اسم الأغنية","روابط الفنانين","أسماء الفنانين"',
    ],
)
def test_exportify_app_translates_its_header_and_escapes_commas(header: str) -> None:
    artists = "spotify:artist:4V8LLVI7PbaPR0K2TGSxFF, spotify:artist:1U1el3k54VvEUzo3ybLPlM"
    text = (
        f'{header}\n"spotify:track:{ONE}","See You Again","{artists}",'
        '"Tyler\\, The Creator, Kali Uchis"\n'
    )
    pasted = read_playlists(text)
    assert pasted.format == "Exportify CSV"
    assert named(pasted) == [(ONE, "See You Again", ("Tyler, The Creator", "Kali Uchis"))]


def test_tunemymusic_may_hold_several_playlists_and_videos_without_an_artist() -> None:
    text = (
        "Track name,Artist name,Album,Playlist name,Type,ISRC,Spotify - id\n"
        f"Creep,Radiohead,Pablo Honey,One,Playlist,GB123,{ONE}\n"
        '"A, B - C (Official Video)",,,Two,Playlist,,\n'
    )
    one, two = read_playlists(text).playlists
    assert read_playlists(text).format == "TuneMyMusic CSV"
    assert read_playlists(text).title is None
    assert (one.title, two.title) == ("One", "Two")
    assert one.entries == [Entry("Radiohead - Creep", 2, ONE, "Creep", ("Radiohead",))]
    assert two.entries == [Entry("A, B - C (Official Video)", 3)]


def test_soundiiz_separates_by_semicolons() -> None:
    pasted = read_playlists('title;artist;album;isrc\n"Song; part 2";"Tyler, The Creator";;\n')
    assert pasted.format == "Soundiiz CSV"
    assert named(pasted) == [(None, "Song; part 2", ("Tyler, The Creator",))]


def test_rows_of_the_kaggle_file() -> None:
    text = (
        '"user_id", "artistname", "trackname", "playlistname"\n'
        '"u1", "Elvis", "Say \\"Yes\\", now", "Mine"\n'
        '"u2", "Elvis", "Other ""one""", "Mine"\n'
    )
    first, second = read_playlists(text).playlists
    assert first.entries[0].name == 'Say "Yes", now'
    assert second.entries[0].name == 'Other "one"'


def test_an_account_export_in_both_shapes() -> None:
    track = {"trackName": "Creep", "artistName": "Radiohead", "albumName": "Pablo Honey"}
    older = {"track": track, "episode": None, "localTrack": None}
    newer = {
        "track": {**track, "trackUri": f"spotify:track:{ONE}"},
        "localTrack": None,
        "addedDate": "2024-01-01",
    }
    nulls = [
        {"track": None, "episode": {"episodeName": "Talk"}, "localTrack": None},
        {"track": None, "episode": None, "localTrack": {"uri": "spotify:local:A:B:C:1"}},
        {"track": None, "episode": None, "localTrack": None},
    ]
    content = {
        "playlists": [
            {"name": "One", "lastModifiedDate": "2024-01-01", "items": [older, newer, *nulls]},
            {"name": "Empty", "items": []},
        ]
    }
    pasted = read_playlists(json.dumps(content), "Playlist1.json")
    assert (pasted.format, pasted.title) == ("Spotify account export", "One")
    assert named(pasted) == [
        (None, "Creep", ("Radiohead",)),
        (ONE, "Creep", ("Radiohead",)),
        (None, "C", ("A",)),
    ]
    assert [(each.line, each.why) for each in pasted.unread] == [
        (3, "an episode of a podcast"),
        (5, "no track"),
    ]


def test_a_slice_of_the_million_playlists() -> None:
    track = {
        "pos": 0, "artist_name": "Missy Elliott", "track_uri": f"spotify:track:{ONE}",
        "artist_uri": "spotify:artist:2wIVse2owClT7go1WT98tk", "track_name": "Lose Control",
        "album_name": "The Cookbook", "duration_ms": 226863,
    }  # fmt: skip
    content = {"info": {}, "playlists": [{"name": "Throwbacks", "pid": 0, "tracks": [track]}]}
    pasted = read_playlists(json.dumps(content))
    assert (pasted.format, pasted.title) == ("Million Playlist Dataset", "Throwbacks")
    assert named(pasted) == [(ONE, "Lose Control", ("Missy Elliott",))]


def test_m3u_tells_tracks_by_extinf_links_and_paths() -> None:
    text = f"""#EXTM3U
#PLAYLIST:Evening
#EXTINF:123 tvg-id="a,b" ,Tyler, The Creator - EARFQUAKE
Music/x.mp3
#EXTINF:-1,Radiohead - Creep
https://open.spotify.com/track/{ONE}
C:\\Music\\Radiohead\\OK Computer\\01 - Airbag.flac
Music/02. Elvis - Hurt.mp3
http://radio.example/stream
#EXTINF:1,Last - One"""
    pasted = read_playlists(text, "list.m3u8")
    assert (pasted.format, pasted.title) == ("M3U", "Evening")
    assert [(each.text, each.line, each.id) for each in only(pasted)] == [
        ("Tyler, The Creator - EARFQUAKE", 3, None),
        ("Radiohead - Creep", 5, ONE),
        ("Radiohead - Airbag", 7, None),
        ("Elvis - Hurt", 8, None),
        ("Last - One", 10, None),
    ]
    assert [each.line for each in pasted.unread] == [9]


def test_plain_lines_keep_what_was_written() -> None:
    text = "1. Radiohead - Creep\r\n\r\n[:SITD:] – Rot\r• Elvis\tHurt\t3:14\n---\n"
    pasted = read_playlists(text, "my list.txt")
    assert (pasted.format, pasted.title) == ("a track a line", "my list")
    assert [(each.line, each.text) for each in only(pasted)] == [
        (1, "1. Radiohead - Creep"), (3, "[:SITD:] – Rot"), (4, "• Elvis\tHurt\t3:14"),
    ]  # fmt: skip
    assert [(each.line, each.why) for each in pasted.unread] == [(5, "has no letter and no digit")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str) -> None:
    text = "Sigur Rós - Sæglópur\nBjörk - Jóga\n"
    assert [each.text for each in only(read_playlists(text.encode(encoding)))] == text.splitlines()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "a.csv: no track found; it is empty"),
        (b"Bj\xf6rk - J\xf3ga", "a.csv: line 1 is not valid UTF-8; save the file as UTF-8"),
        (b"PK\x03\x04" + bytes(2000), "a.csv: no text file"),
        (b"a" * (MAX_BYTES + 1), "a.csv: longer than 16 MiB"),
        (b'{"playlists": [', "a.csv: not JSON (line 1"),
        (b'{"a": 1}', "a.csv: JSON without playlists"),
        (b"[" * 100_000 + b'""', "a.csv: no"),
        (b'Track Name,Artist Name\n"x' + b"y" * (1 << 21), "a.csv: not a CSV file"),
        (b"Track Name,Artist Name\n,Elvis\n", "a.csv: no track found; line 2: no track's name"),
        (b"spotify:album:x", "a.csv: no track found; line 1: a link to an album"),
        (b"A - B\n" * 10_001, "a.csv: 10,001 tracks, 10,000 are allowed"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as refused:
        read_playlists(content, "folder/a.csv")
    assert "\n" not in str(refused.value)


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300)))
def test_whatever_is_given_is_read_or_refused(content: str | bytes) -> None:
    with contextlib.suppress(InputError):
        assert len(read_playlists(content, "x")) > 0


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["playlists", "items", "tracks", "track", "name", "artists", "uri"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_json_of_any_shape_is_read_or_refused(content: Any) -> None:
    with contextlib.suppress(InputError):
        assert len(read_playlists(json.dumps(content), "x.json")) > 0


LETTERS = st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp", "Cn", "Co"))
NAME = (
    st.text(LETTERS, min_size=1, max_size=30)
    .map(lambda text: " ".join(text.split()))
    .filter(lambda text: any(map(str.isalpha, text)))
)
IDS = st.sampled_from([ONE, TWO, "id0", None])
TRACKS = st.lists(st.builds(Written, IDS, NAME, NAME), min_size=1, max_size=5)


@given(TRACKS, NAME)
def test_exportify_csv_is_read_as_it_was_written(tracks: list[Written], title: str) -> None:
    text = write_playlist(tracks, title, "exportify")
    real = [each.id if each.uri else None for each in tracks]
    back = only(read_playlists(text))
    assert [each.id for each in back] == real
    assert [each.name for each in back] == [each.name for each in tracks]
    assert [_joined(each) for each in back] == [_as_artists(each.artist) for each in tracks]


@given(TRACKS)
def test_soundiiz_csv_is_read_as_it_was_written(tracks: list[Written]) -> None:
    back = only(read_playlists(write_playlist(tracks, None, "soundiiz")))
    assert [each.name for each in back] == [each.name for each in tracks]
    assert [_joined(each) for each in back] == [_as_artists(each.artist) for each in tracks]


@given(TRACKS)
def test_m3u_is_read_as_it_was_written(tracks: list[Written]) -> None:
    pasted = read_playlists(write_playlist(tracks, "Späte Stunde", "m3u"))
    assert pasted.title == "Späte Stunde"
    back = only(pasted)
    assert [each.text for each in back] == [f"{each.artist} - {each.name}" for each in tracks]
    assert [each.id for each in back] == [each.id if each.uri else None for each in tracks]


def test_uris_are_of_real_ids_alone() -> None:
    tracks = [Written(ONE, "A", "B"), Written("id0", "C", "D"), Written(TWO)]
    text = write_playlist(tracks, None, "uris")
    assert [each.id for each in only(read_playlists(text))] == [ONE, TWO]
    with pytest.raises(InputError, match="none of the tracks has a Spotify id"):
        write_playlist(tracks[1:2], None, "uris")


def test_files_are_named_after_the_playlist() -> None:
    assert file_name('a/b: "c"?', "m3u") == "a b c.m3u8"
    assert file_name("..", "text") == file_name(None, "text") == "playlist.txt"
    assert {file_name("x", each).rpartition(".")[2] for each in FORMATS} == {"csv", "m3u8", "txt"}


def _joined(entry: Entry) -> str:
    return "".join(filter(str.isalnum, "".join(entry.artists)))


def _as_artists(artist: str) -> str:
    return "".join(filter(str.isalnum, artist))
