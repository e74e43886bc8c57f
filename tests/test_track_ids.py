"""Ids of tracks in every form they come in."""

from __future__ import annotations

import pyarrow as pa
import pytest

from spotify_engine.track_ids import is_spotify_id, linked_track, track_id, track_ids

ID = "4uLU6hMCjMI75M1A2tKUQC"


@pytest.mark.parametrize(
    "given",
    [
        f"spotify:track:{ID}",
        f"SPOTIFY:TRACK:{ID}",
        f"spotify%3Atrack%3A{ID}",
        f"spotify:track:{ID}#1:02",
        f"https://open.spotify.com/track/{ID}",
        f"https://open.spotify.com/track/{ID}/",
        f"https://open.spotify.com/track/{ID}?si=0f&context=spotify%3Aalbum%3Ax",
        f"http://open.spotify.com/intl-pt-BR/track/{ID}?si=x#y",
        f"HTTPS://Open.Spotify.com/Track/{ID}",
        f"open.spotify.com/embed/track/{ID}",
        f"https://play.spotify.com/track/{ID}",
        f"https://api.spotify.com/v1/tracks/{ID}",
        f" <https://open.spotify.com/track/{ID}>\n",
        f"\u202ahttps://open.spotify.com/track/{ID}\u202c",
        f"ｓｐｏｔｉｆｙ：track：{ID}\u200b",
    ],
)
def test_uris_and_links(given: str) -> None:
    assert linked_track(given) == track_id(given) == ID


@pytest.mark.parametrize(
    "given",
    [
        ID,
        "key:6f64d6cc760ce8f6",
        "t0000285",
        f"spotify:album:{ID}",
        f"https://open.spotify.com/album/{ID}",
        f"https://example.com/track/{ID}",
        f"https://example.com/?u=spotify.com/track/{ID}",
        "https://open.spotify.com/track/",
        "spotify:track:",
        f"Queen - spotify:track:{ID}",
        "",
    ],
)
def test_anything_else_is_itself(given: str) -> None:
    assert linked_track(given) is None
    assert track_id(f"\ufeff {given}\t\u200b") == given


def test_an_array_of_them() -> None:
    texts = [f"spotify:track:{ID}", "a", "", f"https://open.spotify.com/track/{ID}", "key:1"]
    found = track_ids(pa.array(texts, pa.string()))
    assert found.to_pylist() == [ID, "a", "", ID, "key:1"]
    assert track_ids(pa.array(["b\ufeff", " a"], pa.string())).to_pylist() == ["b", "a"]
    assert track_ids(pa.array(["a", ""], pa.string())).to_pylist() == ["a", ""]
    assert track_ids(pa.array([], pa.string())).to_pylist() == []


def test_ids_of_spotify_are_told_from_words() -> None:
    assert is_spotify_id("6habFhsOp2NvshLv26DqMb")
    assert not is_spotify_id("6habFhsOp2NvshLv26DqM")
    assert not is_spotify_id("id0")
    assert not any(map(is_spotify_id, ("counterrevolutionaries", "Counterrevolutionaries")))
