"""What surrounds the API: compression, other sites, tokens of events, hints, one matcher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from spotify_engine.client import ApiError, Client
from spotify_engine.errors import InputError
from spotify_engine.serving.service import Service
from spotify_engine.serving.settings import ServeSettings, checked
from spotify_engine.store.registry import Registry
from tests.serving.conftest import serving

SITE, OTHER = "https://music.example", "https://elsewhere.example"


@pytest.fixture
def started(
    settings: ServeSettings, registry: Registry, serve: Callable[[Service], str]
) -> Iterator[Callable[..., str]]:
    """Starts a server with other settings; gives its URL."""
    with ExitStack() as stack:

        def start(**other: Any) -> str:
            changed = ServeSettings.model_validate(settings.model_dump() | other)
            return serve(stack.enter_context(serving(changed)))

        yield start


def test_long_answers_are_compressed_for_those_who_take_it(shared_url: str) -> None:
    body = {"tracks": ["Artist 0 - Song 0", "Artist 1 - Song 2"], "k": 10, "explain": True}
    with httpx.Client(base_url=shared_url) as client:
        sizes = {}
        for coding in ("gzip", "identity"):
            answer = client.send(
                client.build_request(
                    "POST", "/v1/playlists/complete", json=body, headers={"Accept-Encoding": coding}
                ),
                stream=True,
            )
            raw = b"".join(answer.iter_raw())
            sizes[coding] = len(raw)
            assert answer.headers.get("content-encoding", "identity") == coding
            assert "accept-encoding" in answer.headers.get("vary", "accept-encoding").lower()
        assert sizes["gzip"] < sizes["identity"] / 3
        assert "content-encoding" not in client.get("/healthz").headers, "too short to be worth it"


def test_other_sites_may_not_ask_unless_they_are_named(
    shared_url: str, started: Callable[..., str]
) -> None:
    preflight = {"Origin": SITE, "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "content-type"}  # fmt: skip
    path = "/v1/playlists/complete"
    closed = httpx.options(shared_url + path, headers=preflight)
    assert "access-control-allow-origin" not in closed.headers

    url = started(cors_origins=(SITE,))
    opened = httpx.options(url + path, headers=preflight)
    assert opened.status_code == 200
    assert opened.headers["access-control-allow-origin"] == SITE
    answer = httpx.post(url + path, json={"k": 1}, headers={"Origin": SITE})
    assert answer.headers["access-control-allow-origin"] == SITE
    assert "access-control-allow-credentials" not in answer.headers
    refused = httpx.options(url + path, headers=preflight | {"Origin": OTHER})
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    # Nor may a page of a named site administer.
    admin = preflight | {"Access-Control-Request-Headers": "authorization"}
    assert httpx.options(f"{url}/v1/versions/rollback", headers=admin).status_code == 400


@pytest.mark.parametrize("origin", ["music.example", "https://music.example/page", "null", ""])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(InputError, match="is not an origin; give one like https"):
        checked({"cors_origins": [origin]}, "flags")


def test_events_take_a_token_where_one_is_wanted(
    tmp_path: Path, started: Callable[..., str]
) -> None:
    file = tmp_path / "events_token"
    file.write_text("plum pudding\n")
    url = started(events_token=file)
    for token in (None, "another"):
        with Client(url, events_token=token) as client, pytest.raises(ApiError) as caught:
            client.play("u", "id0", 60_000)
        assert caught.value.status == 401
        assert "the events token is missing or wrong" in caught.value.problem.detail
    with Client(url, token="plum pudding", events_token="plum pudding") as client:
        assert client.play("u", "id0", 60_000).stored == 1
        assert client.complete(["id0"], k=1).recommendations, "asking needs none"
        with pytest.raises(ApiError, match="admin"):
            client.rollback("playlists")


@pytest.mark.parametrize(
    ("path", "body", "field", "message"),
    [
        ("playlists/complete", {"track": ["id0"]}, "track", "did you mean tracks?"),
        ("playlists/complete", {"tracks": [], "limit": 3}, "limit",
         "known: tracks, title, playlist, exclude, k, explain"),
        ("playlists/complete", {"tracks": [{"name": "a", "artist": "b", "artists": "c"}]},
         "tracks.0.artists", "did you mean artist?"),
        ("sessions/next", {"User": "u", "recent": []}, "User", "did you mean user?"),
        ("recommend", {"session": {"recents": ["id0"]}}, "session.recents", "did you mean recent?"),
        ("events", {"events": [{"type": "play", "user": "u", "track": "t", "ms_playd": 1}]},
         "events.0.ms_playd", "did you mean ms_played?"),
    ],
)  # fmt: skip
def test_an_unknown_field_brings_the_one_that_may_be_meant(
    shared_url: str, path: str, body: dict[str, Any], field: str, message: str
) -> None:
    answer = httpx.post(f"{shared_url}/v1/{path}", json=body)
    assert answer.status_code == 422
    said = {each["field"]: each["message"] for each in answer.json()["errors"]}
    assert said[field] == f"there is no such field; {message}"


def test_completing_recognises_tracks_as_reading_does_and_says_so(shared_url: str) -> None:
    written = [
        "Artist 0 - Song 0", "Song 4 by Artist 2", "ARTIST 4 – Song 8 (Remastered 2011)",
        "Nobody at all - Song 99",
    ]  # fmt: skip
    with Client(shared_url) as client:
        answer = client.complete(written, k=3, explain=True)
        plain = client.complete(["id0", "id4", "id8"], k=3, explain=True)
    assert [each.id for each in answer.seeds] == ["id0", "id4", "id8"]
    assert [(each.text, each.how) for each in answer.recognised] == [
        (written[1], "exact"), (written[2], "variant"),
    ]  # fmt: skip
    assert answer.unmatched == [written[3]]
    assert [(each.id, each.score) for each in answer.recommendations] == [
        (each.id, each.score) for each in plain.recommendations
    ]
    assert plain.recognised == []


def test_what_is_left_out_and_what_is_told_is_recognised_too(own_client: Client) -> None:
    best = own_client.complete(["id0", "id2"], k=1).recommendations[0]
    swapped = f"{best.name} - {best.artist}"
    without = own_client.complete(["id0", "id2"], k=1, exclude=[swapped])
    assert without.recommendations[0].id != best.id
    told = own_client.add("mine", "Song 4 by Artist 2")
    assert told.unmatched == []
    assert [each.id for each in own_client.complete([], playlist="mine", explain=True).seeds] == [
        "id4"
    ]


def test_a_track_can_be_looked_up(shared_url: str) -> None:
    with Client(shared_url) as client:
        track = client.track("id0")
        assert (track.name, track.artist, track.pipeline) == ("Song 0", "Artist 0", "playlists")
        assert track.genres == ["rock"]
        assert track.audio is not None
        with pytest.raises(ApiError, match="no track of this id"):
            client.track("nothing like it?")


def test_one_seed_has_even_attention_and_several_of_this_model_have_not(shared_url: str) -> None:
    with Client(shared_url) as client:
        assert client.complete(["id0"], explain=True).even_attention is True
        assert client.complete(["id0", "id3", "id13"], explain=True).even_attention is False
        assert client.complete(["id0"]).even_attention is None


def test_every_call_is_summed_up_in_words(shared_url: str) -> None:
    paths = httpx.get(f"{shared_url}/openapi.json").json()["paths"]
    for path, calls in paths.items():
        for call in calls.values():
            assert len(call["summary"].split()) >= 3, path
            assert call["description"].endswith((".", "?")), path
            for parameter in call.get("parameters", []):
                assert parameter.get("description"), (path, parameter["name"])


@pytest.fixture
def own_client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client
