"""Predicts next songs from one version and from what was played since."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spotify_engine.catalogue import Catalogue
from spotify_engine.recommendation import Recommendation
from spotify_engine.serving.api.answers import (
    Answer,
    Described,
    Neighbour,
    RecommendationOut,
    SessionExplanationOut,
)
from spotify_engine.serving.api.requests import NextRequest, SessionInput
from spotify_engine.serving.settings import EngineSettings
from spotify_engine.sessions.queries import unix_seconds
from spotify_engine.sessions.recommend.explain import SongExplanation
from spotify_engine.sessions.recommender import MAX_RECENT, SessionRecommender
from spotify_engine.shares import standings
from spotify_engine.store.events import EventStore, Play, StoreUnavailable
from spotify_engine.track_ids import track_id


@dataclass(frozen=True)
class Heard:
    """The plays of a user, from stored events.

    Attributes:
        before: ids, before this session.
        now: ids, in this session, last one last.
    """

    before: list[str]
    now: list[str]


def split_plays(plays: Sequence[Play], at_ms: int, pause_ms: float) -> Heard:
    """Tell this session's plays from those before it.

    Args:
        plays: oldest first; those after ``at_ms`` don't count.
        pause_ms: a longer time between two plays, or between the last and ``at_ms``, ends a
            session.
    """
    past = [play for play in plays if play.at <= at_ms]
    first, later = len(past), at_ms
    while first and later - past[first - 1].at <= pause_ms:
        first -= 1
        later = past[first].at
    ids = [play.track for play in past]
    return Heard(ids[:first], ids[first:])


class SessionEngine:
    """Wraps a recommender for serving."""

    def __init__(
        self,
        recommender: SessionRecommender,
        version: str,
        settings: EngineSettings,
        events: EventStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Serve a version.

        Args:
            clock: seconds since 1970.
        """
        self.recommender, self.version, self.settings = recommender, version, settings
        self.events, self.clock = events, clock
        self.catalogue = Catalogue(
            recommender.ids, recommender.names, recommender.artists, recommender.plays
        )
        self._standing = standings(recommender.plays)
        self._pause_ms = settings.session_minutes * 60_000

    def answer(self, requests: Sequence[NextRequest]) -> list[Answer | StoreUnavailable]:
        """Answer each, in order; one whose events can't be read fails without the others."""
        answers: list[Answer | StoreUnavailable] = []
        for request in requests:
            try:
                answers.append(self._answer(request))
            except StoreUnavailable as error:
                answers.append(error)
        return answers

    def known(self, given: SessionInput) -> tuple[int, int, bool]:
        """(songs of the session that are known, all of them, whether the user is known)."""
        heard = self._heard(given, self._moment(given))
        songs = list({track_id(song): song for song in (*heard.now, *given.recent)}.values())
        user = given.user is not None and (bool(heard.before) or self.recommender.knows(given.user))
        return len(self.recommender.resolve(songs).rows), len(songs), user

    def describe(self, row: int) -> Described:
        """The details of a song besides its name."""
        return Described(
            genres=self.recommender.explainer.genres_of(row),
            popularity=int(self.recommender.plays[row]),
            above=int(self._standing[row]),
        )

    def unknown(self, tracks: Sequence[str]) -> list[str]:
        """Those that are not in the catalogue."""
        return self.recommender.resolve(tracks).unknown

    def _answer(self, request: NextRequest) -> Answer:
        recommender = self.recommender
        at = self._moment(request)
        heard = self._heard(request, at)
        given = {track_id(song) for song in request.recent}
        recent = [*(song for song in heard.now if track_id(song) not in given), *request.recent]
        recent = recent[-MAX_RECENT:]
        unmatched = recommender.resolve(
            dict.fromkeys([*heard.before, *recent, *request.exclude])
        ).unknown
        asked = (request.user, recent, int(at), request.k, heard.before, request.exclude)
        found: list[tuple[Recommendation, SongExplanation | None]]
        if request.explain:
            found = recommender.next_explained(*asked)
        else:
            found = [(each, None) for each in recommender.next(*asked)]
        out = []
        for each, explanation in found:
            out.append(RecommendationOut.of(each, recommender.ids, reasons=request.explain))
            if explanation is not None:
                out[-1].explanation = self._explanation(explanation)
            if request.explain:
                row = self.catalogue.row(each.id)
                assert row is not None
                for name, value in self.describe(row):
                    setattr(out[-1], name, value)
        fallbacks = {each.fallback for each, _ in found}
        return Answer(
            pipeline="sessions",
            version=self.version,
            fallback=fallbacks.pop() if len(fallbacks) == 1 else None,
            recommendations=out,
            unmatched=unmatched,
            learned=len(heard.before) + len(heard.now),
        )

    def _moment(self, given: SessionInput) -> float:
        return self.clock() if given.at is None else unix_seconds(given.at)

    def _heard(self, given: SessionInput, at: float) -> Heard:
        if given.user is None or not self.settings.events:
            return Heard([], [])
        plays = self.events.plays(given.user, self.settings.events)
        return split_plays(plays, int(at * 1000), self._pause_ms)

    def _explanation(self, each: SongExplanation) -> SessionExplanationOut:
        ids, names = self.recommender.ids, self.recommender.names
        return SessionExplanationOut(
            terms=dict(each.terms),
            percent=dict(each.percent),
            neighbours=[
                Neighbour(id=ids[song], name=names[song], attention=weight)
                for song, weight in each.neighbours
            ],
            even_attention=each.even_attention,
            genre=dict(each.genre),
            text=each.text,
        )
