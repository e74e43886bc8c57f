"""Playlists read and written over the API, and by both clients."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from spotify_engine.client import ApiError, AsyncClient, Client
from spotify_engine.errors import InputError


@pytest.fixture(scope="module")
def client(shared_url: str) -> Client:
    return Client(shared_url)


def test_each_line_says_how_it_was_recognised(client: Client) -> None:
    text = "\n".join(
        [
            "1. Artist 0 - Song 0",
            "2. Song 4 by Artist 2",
            "3. Song 6 - Artist 3",
            "4. ARTIST 4 – Song 8 (Remastered 2011)",
            "5. Artist 4 - New",
            "6. Radiohead - Song 9",
            "https://open.spotify.com/album/1cyrv9fpo4ZWmYPoI8oBSS",
        ]
    )
    answer = client.read(text, "my_evening.txt")
    assert answer.summary == "4 known, 1 by their artist, 1 not found"
    assert (answer.title, answer.format) == ("my evening", "a track a line")
    entries = answer.playlists[0].entries
    assert [each.how for each in entries] == [
        "exact", "exact", "variant", "variant", "by artist", "not found",
    ]  # fmt: skip
    known = [each.track.id for each in entries if each.track is not None]
    assert known == ["id0", "id4", "id6", "id8"]
    assert [each.line for each in entries] == [1, 2, 3, 4, 5, 6]
    by_artist, missing = entries[4:]
    assert (by_artist.artist, by_artist.name) == ("Artist 4", "New")
    assert missing.nearest is not None
    assert missing.nearest.name == "Song 9"
    [unread] = answer.unread
    assert (unread.line, unread.why) == (7, "a link to an album, not to a track")


def test_a_playlist_read_is_completed_from_what_was_recognised(client: Client) -> None:
    answer = client.read("title;artist;album;isrc\nSong 4;artist 2;;\nNew;Artist 4;;\n")
    given: list[Any] = [
        each.track.id if each.track else (each.artist, each.name)
        for each in answer.playlists[0].entries
    ]
    completed = client.complete(given, k=2)
    assert (completed.unmatched, completed.by_artist) == ([], ["Artist 4 - New"])


@pytest.mark.parametrize("format", ["exportify", "soundiiz", "m3u", "text"])
def test_what_is_written_is_read_as_the_same_tracks(client: Client, format: Any) -> None:
    ids = ["id3", "id0", "id12"]  # one has dashes in both names
    written = client.export([*ids, ("Nobody", 'No "thing"; or, two')], "Späte/Stunde", format)
    assert written.filename.startswith("Späte Stunde.")
    answer = client.read(written.text, written.filename)
    entries = answer.playlists[0].entries
    assert [each.track.id for each in entries if each.track] == ids
    assert entries[3].text == 'Nobody - No "thing"; or, two'
    assert entries[3].how == "not found"


def test_uris_are_written_of_real_ids_alone(client: Client) -> None:
    real = "6habFhsOp2NvshLv26DqMb"
    written = client.export([f"spotify:track:{real}", "id0"], format="uris")
    assert written.text == f"spotify:track:{real}\n"
    assert written.left_out == 1
    with pytest.raises(ApiError, match="none of the tracks has a Spotify id"):
        client.export(["id0"], format="uris")


def test_a_file_is_named_for_old_and_new_programs(shared_url: str) -> None:
    body = {"tracks": ["id0"], "title": 'Naïve "mix"', "format": "m3u"}
    answer = httpx.post(f"{shared_url}/v1/playlists/export", json=body)
    assert answer.headers["content-type"] == "audio/x-mpegurl; charset=utf-8"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"Na_ve mix.m3u8\"; filename*=UTF-8''Na%C3%AFve%20mix.m3u8"
    )


def test_what_cannot_be_read_or_written_names_the_field(client: Client) -> None:
    for text, said in (
        ("\n \n", "text: the pasted text: no track found; it is empty"),
        ('{"playlists": [', "text: the pasted text: not JSON"),
        ("Artist - Title\n" * 1_001, "1,001 tracks, 1,000 are allowed"),
    ):
        with pytest.raises(ApiError) as refused:
            client.read(text)
        assert refused.value.status == 422
        assert refused.value.problem.errors[0].field == "text"
        assert said in str(refused.value)
    with pytest.raises(ApiError, match=r"tracks\.1: no track of the catalogue has the id 'nope'"):
        client.export(["id0", "nope"])
    with pytest.raises(InputError, match="format"):
        client.export(["id0"], format="xspf")  # type: ignore[arg-type]


def test_the_longest_list_of_unknown_tracks_takes_bounded_work(client: Client) -> None:
    text = "\n".join(f"Nobody {i} - Nothing of {i * 7} - at all" for i in range(1_000))
    started = time.perf_counter()
    answer = client.read(text)
    assert answer.summary == "0 known, 0 by their artist, 1,000 not found"
    assert answer.ms <= 1000 * (time.perf_counter() - started)


def test_it_can_be_awaited(shared_url: str) -> None:
    async def ask() -> tuple[str, str]:
        async with AsyncClient(shared_url) as client:
            read = await client.read("Artist 0 - Song 0")
            return read.summary, (await client.export(["id0"], format="text")).text

    assert asyncio.run(ask()) == (
        "1 known, 0 by their artist, 0 not found",
        "Artist 0 - Song 0\n",
    )
