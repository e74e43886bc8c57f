"""The API over real HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.playlists.schema import AUDIO_COLUMNS
from spotify_engine.serving.service import Service
from spotify_engine.serving.settings import ServeSettings
from spotify_engine.sessions.recommender import SessionRecommender
from spotify_engine.store.registry import Registry
from tests.serving.conftest import TOKEN

ADMIN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def client(shared_url: str) -> httpx.Client:
    return httpx.Client(base_url=shared_url, timeout=30)


@pytest.fixture
def own(url: str) -> httpx.Client:
    """Of a server that no other test uses."""
    return httpx.Client(base_url=url, timeout=30)


@pytest.fixture(scope="module")
def recommender(bundles: dict[str, Path]) -> PlaylistRecommender:
    return PlaylistRecommender.load(bundles["playlists"])


@pytest.fixture(scope="module")
def sessions(bundles: dict[str, Path]) -> SessionRecommender:
    return SessionRecommender.load(bundles["sessions"])


def ask(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def complete(client: httpx.Client, **body: Any) -> dict[str, Any]:
    return ask(client, "/v1/playlists/complete", **body)


def ids(answer: dict[str, Any]) -> list[str]:
    return [each["id"] for each in answer["recommendations"]]


@pytest.mark.parametrize(
    ("tracks", "title"),
    [
        (["id0", "id3"], None),
        (["Artist 3 - New"], None),
        (["id0", "Artist 7 - New", "nobody - nothing"], "x"),
        ([], "Jazz evening"),
        ([], "rock"),
        ([], None),
        (["nobody - nothing"], None),
    ],
)
@pytest.mark.parametrize("explain", [False, True])
def test_completion_is_the_recommenders(
    client: httpx.Client,
    recommender: PlaylistRecommender,
    tracks: list[str],
    title: str | None,
    explain: bool,
) -> None:
    answer = complete(client, tracks=tracks, title=title, k=7, explain=explain, exclude=["id5"])
    expected = recommender.complete(tracks, title, 7, ["id5"])
    assert ids(answer) == [each.id for each in expected]
    np.testing.assert_allclose(
        [each["score"] for each in answer["recommendations"]],
        [each.score for each in expected],
        atol=1e-5,
    )
    assert {each["fallback"] for each in answer["recommendations"]} == {answer["fallback"]}
    assert answer["fallback"] == expected[0].fallback
    assert answer["unmatched"] == recommender.resolve(tracks).unknown
    assert answer["ms"] > 0
    for each in answer["recommendations"] if explain else ():
        reasons = sum(reason["contribution"] for reason in each["reasons"])
        assert reasons == pytest.approx(each["score"], abs=1e-4)
    if not explain:
        assert not any(each["reasons"] for each in answer["recommendations"])


def test_tracks_are_known_in_every_form(client: httpx.Client, sessions: SessionRecommender) -> None:
    link = "https://open.spotify.com/intl-de/track/{}?si=x"
    expected = complete(client, tracks=["id3", "id0"], exclude=["id5"], k=20)
    for first in ("Duo – One — Alive ‐ Live", {"artist": "Duo – One", "name": "ＡLIVE – live"}):
        given = {"tracks": [first, link.format("id0")], "exclude": ["spotify:track:id5"]}
        answer = complete(client, **given, k=20)
        assert answer["recommendations"] == expected["recommendations"]
        assert answer["unmatched"] == answer["by_artist"] == []
    song, other = sessions.ids[:2]
    after = ask(client, "/v1/sessions/next", recent=[link.format(song), f"spotify:track:{other}"])
    assert ids(after) == ids(ask(client, "/v1/sessions/next", recent=[song, other]))
    assert after["unmatched"] == []
    for pipeline, id_ in (("playlists", "id3"), ("sessions", song)):
        params = {"q": link.format(id_), "pipeline": pipeline}
        tracks = client.get("/v1/tracks", params=params).json()["tracks"]
        assert [each["id"] for each in tracks] == [id_]


def test_events_may_name_tracks_in_every_form(
    own: httpx.Client, sessions: SessionRecommender
) -> None:
    song, other = sessions.ids[:2]
    events = [
        {"type": "play", "user": "new", "track": f"spotify:track:{song}", "ms_played": 9},
        {"type": "add", "playlist": "mine", "track": "Duo — One – Alive - Live"},
    ]
    assert ask(own, "/v1/events", events=events)["unmatched"] == []
    added = complete(own, tracks=["id0"], playlist="mine")
    assert ids(added) == ids(complete(own, tracks=["id0", "id3"]))
    # What was played and is given as recent, too, was played once, and last.
    after = ask(own, "/v1/sessions/next", user="new", recent=[other, song])
    assert ids(after) == ids(ask(own, "/v1/sessions/next", user="newer", recent=[other, song]))


def test_an_explanation_says_what_each_seed_adds(client: httpx.Client) -> None:
    answer = complete(client, tracks=["id0", "id3", "Artist 7 - New"], explain=True, k=5)
    assert [seed["id"] for seed in answer["seeds"]] == ["id0", "id3", None]
    assert sum(seed["attention"] for seed in answer["seeds"]) == pytest.approx(1, abs=1e-5)
    assert answer["genres"] == {"rock": pytest.approx(2 / 3), "jazz": pytest.approx(1 / 3)}
    assert answer["by_artist"] == ["Artist 7 - New"]
    for each in answer["recommendations"]:
        explained = each["explanation"]
        assert sum(explained["seeds"]) + explained["bias"] == pytest.approx(each["score"], abs=1e-4)
        parts = sum(explained["parts"].values()) + explained["bias"]
        assert parts == pytest.approx(each["score"], abs=1e-4)


def test_paths_and_parts_are_the_same_sum(client: httpx.Client) -> None:
    answer = complete(client, tracks=["id0", "id4", "id12"], k=4, explain=True)
    for each in answer["recommendations"]:
        why = each["explanation"]
        assert sorted(path["seed"] for path in why["paths"]) == [0, 1, 2]
        for path in why["paths"]:
            whole = path["listening"] + path["artists"] + path["item_item"] + path["second_stage"]
            assert whole == pytest.approx(why["seeds"][path["seed"]], abs=1e-5)
        for kind in ("artists", "item_item"):
            total = sum(path[kind] for path in why["paths"])
            assert total == pytest.approx(why["parts"][kind], abs=1e-5)


def test_a_track_is_described_alike_everywhere(
    client: httpx.Client, recommender: PlaylistRecommender
) -> None:
    answer = complete(client, tracks=["id0"], k=3, explain=True)
    tracks = recommender.tables["tracks"].to_pylist()
    for each in (*answer["recommendations"], *answer["seeds"]):
        found = client.get(f"/v1/tracks/{each['id']}").json()
        for field in ("name", "artist", "genres", "popularity", "above", "audio"):
            assert found[field] == each[field], field
        [row] = [row for row in tracks if row["id"] == each["id"]]
        assert found["popularity"] == recommender.popularity[tracks.index(row)]
        audio = found["audio"] or {}
        for name in AUDIO_COLUMNS:
            known = row[name] is not None and not np.isnan(row[name])
            assert (name in audio) == known
        if "tempo" in audio:
            assert audio["tempo"] == pytest.approx(250 * row["tempo"], abs=1e-3)
    plain = complete(client, tracks=["id0"], k=1)["recommendations"][0]
    assert plain["genres"] == []
    assert plain["audio"] is None


def test_a_track_that_is_not_there_is_not_found(client: httpx.Client) -> None:
    for pipeline in ("playlists", "sessions"):
        answer = client.get("/v1/tracks/nothing", params={"pipeline": pipeline})
        assert answer.status_code == 404
        assert answer.json()["errors"][0]["field"] == "track"
    song = ask(client, "/v1/sessions/next", k=1, explain=True)["recommendations"][0]
    found = client.get(f"/v1/tracks/{song['id']}", params={"pipeline": "sessions"}).json()
    assert (found["name"], found["genres"]) == (song["name"], song["genres"])
    assert found["genres"]


def test_tracks_by_name_and_artist_are_the_same_as_by_id(client: httpx.Client) -> None:
    by_id = complete(client, tracks=["id8", "id9"])
    by_name = complete(
        client, tracks=[{"name": "Song 8", "artist": "artist 4"}, "Artist 4 - Song 9"]
    )
    assert ids(by_id) == ids(by_name)


def test_next_song_is_the_recommenders(client: httpx.Client, sessions: SessionRecommender) -> None:
    user, recent, at = sessions.user_ids[1], sessions.ids[3:5], 1_736_700_000
    answer = ask(
        client, "/v1/sessions/next", user=user, recent=[*recent, "x"], at=at, k=6, explain=True
    )
    expected = sessions.next(user, recent, at, 6)
    assert ids(answer) == [each.id for each in expected]
    assert answer["unmatched"] == ["x"]
    for each in answer["recommendations"]:
        explained = each["explanation"]
        assert sum(explained["terms"].values()) == pytest.approx(each["score"], rel=1e-4)
        assert sum(explained["percent"].values()) == 100
    by_iso = ask(client, "/v1/sessions/next", user=user, recent=recent, at="2025-01-12T16:40:00Z")
    assert ids(by_iso)[:6] == ids(answer)


@pytest.mark.parametrize("nobody", ["", "  ", "\u2003"])
def test_a_blank_user_is_nobody(client: httpx.Client, service: Service, nobody: str) -> None:
    """No field that was left blank is an unknown user, and nothing is stored for it."""
    sessions = service.served.engines["sessions"].recommender
    recent, at = sessions.ids[3:5], 1_736_700_000
    blank = ask(client, "/v1/sessions/next", user=nobody, recent=recent, at=at, explain=True)
    none = ask(client, "/v1/sessions/next", recent=recent, at=at, explain=True)
    assert blank | {"ms": 0} == none | {"ms": 0}
    unified = ask(client, "/v1/recommend", session={"user": nobody, "recent": recent, "at": at})
    assert unified["fallback"] == none["fallback"] == "session"
    event = {"type": "play", "user": nobody, "track": recent[0], "ms_played": 1}
    refused = client.post("/v1/events", json={"events": [event]})
    assert refused.status_code == 422
    assert "user" in refused.json()["errors"][0]["field"]
    kept = ask(client, "/v1/playlists/complete", playlist=nobody, tracks=["id0"])
    assert kept["learned"] == 0


def test_a_new_user_gets_what_is_popular(client: httpx.Client) -> None:
    answer = ask(client, "/v1/sessions/next", user="nobody")
    assert answer["fallback"] == "popularity"


def test_plays_count_at_once(client: httpx.Client, sessions: SessionRecommender) -> None:
    now = int(time.time())
    songs = sessions.ids[5:8]
    before = ask(client, "/v1/sessions/next", user="new", at=now)
    stored = ask(
        client,
        "/v1/events",
        events=[
            {"type": "play", "user": "new", "track": song, "ms_played": 1000, "at": now - 90 + i}
            for i, song in enumerate(songs)
        ],
    )
    assert stored == {"stored": 3, "unmatched": []}
    after = ask(client, "/v1/sessions/next", user="new", at=now, k=100)
    assert (before["learned"], after["learned"]) == (0, 3)
    assert (before["fallback"], after["fallback"]) == ("popularity", "session")
    assert ids(after) == [each.id for each in sessions.next(None, songs, now, 100)]
    # A day later they are history, and may be recommended again.
    later = ask(client, "/v1/sessions/next", user="new", at=now + 86_400, k=100)
    assert later["fallback"] == "history"
    assert set(songs) <= set(ids(later))
    assert ids(later) == [
        each.id for each in sessions.next(None, (), now + 86_400, 100, history=songs)
    ]


def test_added_tracks_count_at_once(client: httpx.Client) -> None:
    wanted = complete(client, tracks=["id0", "id3"])
    stored = ask(
        client,
        "/v1/events",
        events=[
            {"type": "add", "playlist": "mine", "track": track, "at": 5}
            for track in ("id0", "Artist 1000 - x", "Duo - One - Alive - Live")
        ],
    )
    assert stored == {"stored": 3, "unmatched": ["Artist 1000 - x"]}
    answer = complete(client, tracks=[], playlist="mine")
    assert answer["learned"] == 3
    assert answer["unmatched"] == ["Artist 1000 - x"]
    assert ids(answer) == ids(wanted)
    assert ids(complete(client, tracks=[], playlist="another's")) != ids(wanted)


@pytest.mark.parametrize(
    ("playlist", "session", "pipeline"),
    [
        ({"tracks": ["id0", "id1"]}, None, "playlists"),
        (None, {"recent": [3]}, "sessions"),
        ({"tracks": ["id0", "id1", "id2"]}, {"recent": [3, 4]}, "playlists"),
        ({"tracks": ["id0"]}, {"recent": [3]}, "sessions"),
        ({"tracks": ["nobody"]}, {"recent": [3]}, "sessions"),
        ({"tracks": ["nobody"], "title": "rock"}, {"recent": []}, "playlists"),
        ({"tracks": []}, {"recent": []}, "playlists"),
    ],
)
def test_the_pipeline_that_knows_more_answers(
    client: httpx.Client,
    sessions: SessionRecommender,
    playlist: Any,
    session: Any,
    pipeline: str,
) -> None:
    if session is not None:
        session = {"recent": [sessions.ids[i] for i in session["recent"]], "at": 0}
    answer = ask(client, "/v1/recommend", playlist=playlist, session=session, k=4)
    assert answer["pipeline"] == pipeline
    assert answer["why"]
    path, part = ("playlists/complete", playlist), ("sessions/next", session)
    where, body = path if pipeline == "playlists" else part
    assert ids(answer) == ids(ask(client, f"/v1/{where}", **body, k=4))


def test_search_finds_the_misspelt(client: httpx.Client) -> None:
    def find(q: str, **more: Any) -> list[str]:
        answer = client.get("/v1/tracks", params={"q": q, **more})
        assert answer.status_code == 200
        return [track["id"] for track in answer.json()["tracks"]]

    assert find("song 17")[0] == "id17"
    assert find("sogn 17", k=3)[0] == "id17"
    assert set(find("artist 9", k=2)) == {"id18", "id19"}
    assert find("ALÍVE", k=1) == ["id3"]
    assert len(find("so", k=4)) == 4
    assert find("qqqqqq") == []


BAD = [
    ("/v1/playlists/complete", {"k": 0}, "k"),
    ("/v1/playlists/complete", {"k": 10**9}, "k"),
    ("/v1/playlists/complete", {"k": "10"}, "k"),
    ("/v1/playlists/complete", {"k": 1.5}, "k"),
    ("/v1/playlists/complete", {"tracks": ["x"] * 10_000}, "tracks"),
    ("/v1/playlists/complete", {"tracks": "id0"}, "tracks"),
    ("/v1/playlists/complete", {"tracks": ["id0", 5]}, "tracks.1"),
    ("/v1/playlists/complete", {"tracks": ["a\0b"]}, "tracks.0"),
    ("/v1/playlists/complete", {"tracks": ["a" * 501]}, "tracks.0"),
    ("/v1/playlists/complete", {"tracks": [{"name": "x"}]}, "tracks.0.artist"),
    ("/v1/playlists/complete", {"title": "\u202a\x1b[31m"}, "title"),
    ("/v1/playlists/complete", {"colour": "red"}, "colour"),
    ("/v1/playlists/complete", {"explain": 1}, "explain"),
    ("/v1/playlists/complete", [], "body"),
    ("/v1/sessions/next", {"at": "yesterday"}, "at"),
    ("/v1/sessions/next", {"at": -1}, "at"),
    ("/v1/sessions/next", {"recent": [""]}, "recent.0"),
    ("/v1/recommend", {}, "body"),
    ("/v1/recommend", {"playlist": {"k": 5}}, "playlist.k"),
    ("/v1/events", {"events": []}, "events"),
    ("/v1/events", {"events": [{"type": "like"}]}, "events.0"),
    ("/v1/events", {"events": [{"type": "play", "user": "u", "track": "t"}]},
     "events.0.ms_played"),
    ("/v1/events", {"events": [{"type": "play", "user": "u", "track": "t", "ms_played": -1}]},
     "events.0.ms_played"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "field"), BAD)
def test_what_is_wrong_is_named(client: httpx.Client, path: str, body: Any, field: str) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert field in [each["field"] for each in said["errors"]], said
    assert "Traceback" not in answer.text
    assert "spotify_engine" not in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 422),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"k": 1' + b"0" * 5_000 + b"}", 400),
        (b'{"tracks": ["\\ud800"]}', 422),
        (b'{"k": NaN}', 422),
        (b'{"title": "' + b"x" * 5_000_000 + b'"}', 413),
    ],
)
def test_broken_bodies_are_refused(client: httpx.Client, body: bytes, status: int) -> None:
    answer = client.post(
        "/v1/playlists/complete", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status
    assert answer.json()["status"] == status


POSTS = ["/v1/playlists/complete", "/v1/sessions/next", "/v1/recommend", "/v1/events",
         "/v1/versions/rollback"]  # fmt: skip


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"},
     {"Content-Type": "multipart/form-data; boundary=x"}, {"Content-Type": "text/json"},
     {"Content-Type": "application/jsonx"}, {"Content-Type": "json"}, {"Content-Type": ""},
     {"Content-Type": "application/json; charset=iso-8859-1"},
     {"Content-Type": "application/json; charset=utf-16"},
     {"Content-Type": "application/json; charset=nonsense"},
     {"Content-Type": "application/json", "Content-Encoding": "gzip"}],
)  # fmt: skip
def test_a_body_that_is_not_sent_as_json_is_refused(
    client: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    answer = client.post(path, content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == 415
    wrong = headers.get("Content-Encoding") or headers.get("Content-Type") or "is missing"
    assert wrong in said["detail"]
    assert "; send " in said["detail"], "what to do"


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"',
     "application/json; charset=us-ascii", "application/json; profile=x", "application/ld+json",
     "application/problem+json; charset=utf8"],
)  # fmt: skip
def test_json_may_say_more_of_itself(client: httpx.Client, kind: str) -> None:
    for path, body in ((POSTS[0], {}), (POSTS[1], {}), (POSTS[2], {"session": {}})):
        answer = client.post(path, content=json.dumps(body), headers={"Content-Type": kind})
        assert answer.status_code == 200
    # Wrong in other ways than its type.
    for path, status in ((POSTS[3], 422), (POSTS[4], 401)):
        answer = client.post(path, content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == status


@pytest.mark.parametrize("path", POSTS[:4])
def test_a_missing_body_is_called_missing(client: httpx.Client, path: str) -> None:
    answer = client.post(path)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "body: Field required"


GETS = ["/", "/docs", "/openapi.json", "/static/page.css", "/static/page.js", "/static/icon.svg",
        "/swagger/swagger-ui.css", "/healthz", "/readyz", "/metrics", "/v1/tracks?q=song",
        "/v1/versions"]  # fmt: skip


@pytest.mark.parametrize("path", GETS)
def test_what_can_be_got_can_be_asked_for_its_head(client: httpx.Client, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
    varies = {"date"} | ({"content-length"} if path == "/metrics" else set())
    if got.headers.get("transfer-encoding") == "chunked":  # long files are compressed bit by bit
        varies.add("transfer-encoding")
    else:
        assert "content-length" in got.headers.keys() & head.headers.keys()
    assert {k: v for k, v in head.headers.items() if k not in varies} == {
        k: v for k, v in got.headers.items() if k not in varies
    }
    options = client.options(path)
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["allow"] == "GET, HEAD, OPTIONS"
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        refused = client.request(method, path)
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS"
        assert refused.json()["detail"] == (
            f"{method} is not possible here; GET, HEAD, OPTIONS are"
        )


@pytest.mark.parametrize("path", [*POSTS, "/v1/versions/playlists-1/activate"])
def test_what_is_posted_has_no_head(client: httpx.Client, path: str) -> None:
    options = client.options(path)
    assert (options.status_code, options.headers["allow"]) == (204, "OPTIONS, POST")
    for method in ("GET", "HEAD", "PUT"):
        refused = client.request(method, path)
        assert (refused.status_code, refused.headers["allow"]) == (405, "OPTIONS, POST")
        assert method == "HEAD" or refused.json()["status"] == 405


def test_a_head_of_nothing_is_nothing(client: httpx.Client) -> None:
    for path in ("/nothing", "/static/nothing.js", "/v1/tracks"):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert got.json()["status"] == got.status_code


def test_a_long_body_without_a_length_is_refused(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/events",
        content=(b"x" * 65_536 for _ in range(40)),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("trick", ["' OR 1=1 --", "../../etc/passwd", "%00", "${jndi:x}", "\u202e"])
def test_tricks_in_ids_are_ids_like_others(client: httpx.Client, trick: str) -> None:
    answer = complete(client, tracks=[trick], playlist=trick, title=trick)
    assert answer["fallback"] in ("popularity", "title")
    assert answer["unmatched"] == [trick]
    ask(client, "/v1/sessions/next", user=trick, recent=[trick])
    event = {"type": "play", "user": trick, "track": trick, "ms_played": 1}
    assert ask(client, "/v1/events", events=[event])["unmatched"] == [trick]
    assert client.get("/v1/tracks", params={"q": trick}).status_code == 200
    path = f"/v1/versions/{httpx.URL('http://x', path='/' + trick).raw_path.decode()[1:]}/activate"
    assert client.post(path, headers=ADMIN).status_code in (404, 422)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN},
     {"Authorization": "Basic " + TOKEN}, {"Authorization": "Bearer \xe9"}],
)  # fmt: skip
def test_admin_calls_need_the_token(
    own: httpx.Client, registry: Registry, headers: dict[str, str]
) -> None:
    version = registry.current("playlists")
    assert version is not None
    sent = [(name, value.encode("latin-1")) for name, value in headers.items()]
    for path, body in (
        (f"/v1/versions/{version.id}/activate", None),
        ("/v1/versions/rollback", {"pipeline": "playlists"}),
    ):
        answer = own.post(path, json=body, headers=sent)
        assert answer.status_code == 401
        assert TOKEN not in answer.text


def test_versions_are_activated_and_rolled_back(
    own: httpx.Client, registry: Registry, bundles: dict[str, Path]
) -> None:
    first = registry.current("playlists")
    second = registry.publish(bundles["other_playlists"], {"run": "another"})
    assert first is not None
    listed = own.get("/v1/versions").json()["versions"]
    served = {each["id"]: (each["current"], each["served"]) for each in listed}
    assert served[second.id] == (False, False)
    assert served[first.id] == (True, True)
    moved = own.post(f"/v1/versions/{second.id}/activate", headers=ADMIN)
    assert moved.status_code == 200
    assert moved.json()["lineage"] == {"run": "another"}
    assert complete(own, tracks=["id0"])["version"] == second.id
    back = own.post("/v1/versions/rollback", headers=ADMIN, json={"pipeline": "playlists"})
    assert back.json()["id"] == first.id
    assert complete(own, tracks=["id0"])["version"] == first.id
    refused = own.post("/v1/versions/rollback", headers=ADMIN, json={"pipeline": "sessions"})
    assert refused.status_code == 409


def test_an_activation_loads_a_version_once(
    own: httpx.Client,
    registry: Registry,
    bundles: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = registry.publish(bundles["other_playlists"])
    loads: list[Path | str] = []
    load = PlaylistRecommender.load

    def counted(bundle: Path | str) -> PlaylistRecommender:
        loads.append(bundle)
        return load(bundle)

    monkeypatch.setattr(PlaylistRecommender, "load", counted)
    assert own.post(f"/v1/versions/{second.id}/activate", headers=ADMIN).status_code == 200
    assert loads == [second.path]
    assert complete(own, tracks=["id0"])["version"] == second.id


def test_a_damaged_version_is_refused_and_the_old_one_serves_on(
    own: httpx.Client, registry: Registry, bundles: dict[str, Path], settings: ServeSettings
) -> None:
    first = registry.current("playlists")
    second = registry.publish(bundles["other_playlists"])
    assert first is not None
    weights = second.path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    answer = own.post(f"/v1/versions/{second.id}/activate", headers=ADMIN)
    assert answer.status_code == 409
    assert "weights.safetensors" in answer.json()["detail"]
    assert str(settings.registry.parent) not in answer.text
    assert registry.current("playlists") == first
    assert complete(own, tracks=["id0"])["version"] == first.id


def test_other_replicas_follow(
    own: httpx.Client, registry: Registry, bundles: dict[str, Path]
) -> None:
    """As after an activation by another process."""
    second = registry.publish(bundles["other_sessions"])
    registry.activate(second.id)
    deadline = time.monotonic() + 20
    while ask(own, "/v1/sessions/next")["version"] != second.id:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_health_and_metrics(own: httpx.Client, registry: Registry) -> None:
    version = registry.current("playlists")
    assert version is not None
    assert own.get("/healthz").json()["status"] == "ok"
    ready = own.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["versions"]["playlists"] == version.id
    complete(own, tracks=["id0"])
    complete(own, tracks=[])
    own.post("/v1/playlists/complete", json={"k": 0})
    text = own.get("/metrics").text
    route = 'route="/v1/playlists/complete"'
    assert f'spotify_engine_requests_total{{{route},status="200"}} 2.0' in text
    assert f'spotify_engine_requests_total{{{route},status="422"}} 1.0' in text
    assert 'spotify_engine_answers_total{fallback="popularity",pipeline="playlists"} 1.0' in text
    assert f'spotify_engine_version{{pipeline="playlists",version="{version.id}"}} 1.0' in text
    assert f"spotify_engine_request_seconds_count{{{route}}} 3.0" in text
    assert 'spotify_engine_index_recall{pipeline="playlists"} 1.0' in text


def test_without_versions_it_says_so(settings: ServeSettings, serve: Callable[[Any], str]) -> None:
    service = Service(settings)
    service.start()
    client = httpx.Client(base_url=serve(service))
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    answer = client.post("/v1/playlists/complete", json={"tracks": []})
    assert answer.status_code == 503
    assert "playlists" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    service.close()


def test_a_damaged_current_version_starts_with_the_previous_one(
    settings: ServeSettings, registry: Registry, bundles: dict[str, Path]
) -> None:
    first = registry.current("playlists")
    second = registry.activate(registry.publish(bundles["other_playlists"]).id)
    (second.path / "item_vectors.npy").write_bytes(b"")
    service = Service(settings)
    service.start()
    assert first is not None
    assert service.served.engines["playlists"].version == first.id
    assert "item_vectors.npy" in service.served.failures["playlists"]
    service.close()


def test_a_lost_event_store_is_503_where_it_matters(
    own: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spotify_engine.store.events import StoreUnavailable

    def lost(*_: Any) -> None:
        raise StoreUnavailable("the event store does not answer")

    for name in ("append", "plays", "added", "ping"):
        monkeypatch.setattr(service.events, name, lost)
    assert own.get("/readyz").status_code == 503
    event = {"type": "add", "playlist": "p", "track": "t"}
    for path, body in (
        ("/v1/events", {"events": [event]}),
        ("/v1/playlists/complete", {"playlist": "p"}),
        ("/v1/sessions/next", {"user": "u"}),
    ):
        answer = own.post(path, json=body)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
    complete(own, tracks=["id0"])


def test_pages_allow_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/docs", "/openapi.json", "/static/docs.js", "/swagger/swagger-ui-bundle.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "http" not in client.get("/docs").text
    for path in ("/static/../http.py", "/static/%2e%2e/http.py", "/nothing"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert json.loads(answer.text)["status"] == 404
