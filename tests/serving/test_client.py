"""Both clients against the real application."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spotify_engine.client import ApiError, AsyncClient, Client, Overloaded
from spotify_engine.serving.api.requests import PlayEvent, PlaylistInput, SessionInput
from spotify_engine.serving.service import Service
from spotify_engine.store.registry import Registry


def test_it_answers_what_the_recommenders_do(url: str, service: Service) -> None:
    playlists = service.served.engines["playlists"].recommender
    sessions = service.served.engines["sessions"].recommender
    user, recent = sessions.user_ids[1], sessions.ids[4:6]
    with Client(url) as client:
        assert client.ready().status == "ok"
        answer = client.complete(
            ["id1", ("Artist 3", "Song 6"), "Artist 4 - New", "no such"], k=4, exclude=["id8"]
        )
        expected = playlists.complete(
            ["id1", ("Artist 3", "Song 6"), "Artist 4 - New"], k=4, exclude=["id8"]
        )
        assert [each.id for each in answer.recommendations] == [each.id for each in expected]
        assert [each.score for each in answer.recommendations] == pytest.approx(
            [each.score for each in expected], abs=1e-5
        )
        assert (answer.unmatched, answer.by_artist) == (["no such"], ["Artist 4 - New"])
        following = client.next(user, recent, at=1_740_000_000, k=3)
        wanted = sessions.next(user, recent, 1_740_000_000, k=3)
        assert [each.id for each in following.recommendations] == [each.id for each in wanted]
        both = client.recommend(
            PlaylistInput(tracks=["id1"]), SessionInput(user=user, recent=recent), k=2, explain=True
        )
        assert both.pipeline in ("playlists", "sessions")
        assert both.why
        assert both.recommendations[0].explanation is not None
        assert client.tracks("Song 12", k=1).tracks[0].id == "id12"
        found = client.tracks(sessions.names[7], k=3, pipeline="sessions")
        assert sessions.names[7] in [each.name for each in found.tracks]


def test_events_count_at_once(url: str, service: Service) -> None:
    with Client(url) as client:
        assert client.add("mine", ("Artist 6", "Song 12")).stored == 1
        assert client.add("mine", "no such").unmatched == ["no such"]
        answer = client.complete([], playlist="mine")
        assert answer.learned == 2
        same = client.complete(["id12", "no such"])
        assert answer.recommendations == same.recommendations
        song = service.served.engines["sessions"].recommender.ids[3]
        plays = [
            PlayEvent(type="play", user="new", track=song, ms_played=60_000, at=at)
            for at in (1_740_000_000, 1_740_000_060)
        ]
        assert client.events(plays).stored == 2
        assert client.play("new", song, 1_000, at=1_740_000_100).stored == 1
        assert client.next("new", at=1_740_000_200).learned == 3


def test_versions_and_the_token(
    url: str, registry: Registry, bundles: dict[str, Any], settings: Any
) -> None:
    second = registry.publish(bundles["other_playlists"])
    first = registry.current("playlists")
    token = settings.admin_token.read_text().strip()
    with Client(url) as nobody, pytest.raises(ApiError, match="401") as refused:
        nobody.activate(second.id)
    assert refused.value.status == 401
    with Client(url, token=token) as admin:
        assert admin.activate(second.id).served
        assert admin.complete([]).version == second.id
        assert admin.rollback("playlists").id == first.id
        current = [each.id for each in admin.versions().versions if each.current]
        assert first.id in current
        with pytest.raises(ApiError, match="404") as unknown:
            admin.activate("../../etc")
        assert unknown.value.status == 404


def test_many_at_once(url: str) -> None:
    async def go() -> list[Any]:
        async with AsyncClient(url) as client:
            return await asyncio.gather(
                *(client.complete([f"id{i}"], k=3, explain=True) for i in range(20))
            )

    with Client(url) as client:
        for i, answer in enumerate(asyncio.run(go())):
            alone = client.complete([f"id{i}"], k=3, explain=True)
            assert [each.id for each in answer.recommendations] == [
                each.id for each in alone.recommendations
            ]
            for each in answer.recommendations:
                assert sum(each.explanation.seeds) + each.explanation.bias == pytest.approx(
                    each.score, abs=1e-4
                )


def test_what_is_not_served_is_said(serve: Any, settings: Any, tmp_path: Any) -> None:
    service = Service(settings.model_copy(update={"registry": tmp_path / "empty"}))
    service.start()
    with Client(serve(service), retries=0) as client:
        assert client.ready().status == "starting"
        with pytest.raises(Overloaded, match="no version of playlists is served") as caught:
            client.complete([])
        assert caught.value.retry_after == 2
    service.close()
