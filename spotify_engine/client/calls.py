"""The calls that a server answers; both clients have each of these functions as a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, unquote

import httpx
from pydantic import BaseModel, ValidationError

from spotify_engine.errors import InputError
from spotify_engine.pipelines import Pipeline
from spotify_engine.reading.formats.kinds import ExportFormat
from spotify_engine.serving.api.answers import (
    Answer,
    EventsAnswer,
    Exported,
    Health,
    ReadAnswer,
    TrackDetails,
    TracksAnswer,
    UnifiedAnswer,
    VersionOut,
    VersionsAnswer,
)
from spotify_engine.serving.api.requests import (
    AddEvent,
    CompleteRequest,
    Event,
    EventsRequest,
    ExportRequest,
    NextRequest,
    PlayEvent,
    PlaylistInput,
    ReadRequest,
    RecommendRequest,
    RollbackRequest,
    SessionInput,
    TrackName,
)

BUSY = 503

TrackLike = str | tuple[str, str]
"""A track's id, URI or link, a text like ``Artist - Title``, or (artist, name)."""
At = datetime | int | None
"""When: a datetime (UTC if it names no zone) or seconds since 1970; None: now."""

A = TypeVar("A", bound=BaseModel)


@dataclass(frozen=True)
class Call(Generic[A]):
    """One request, and how its answer is read.

    Attributes:
        repeatable: doing it twice is as good as once, so that it may be sent again when nobody
            knows whether it arrived.
        token: which one it needs.
        fine: statuses besides 2xx that bring an answer and no problem.
        read: how a good answer is read that is no JSON; it raises LookupError or ValueError if
            it can't be.
    """

    method: str
    path: str
    answer: type[A]
    json: Any = None
    params: Mapping[str, str | int] = field(default_factory=dict)
    repeatable: bool = True
    token: Literal["admin", "events"] | None = None
    fine: tuple[int, ...] = ()
    read: Callable[[httpx.Response], A] | None = None


def _made(message: type[A], **fields: Any) -> A:
    try:
        return message.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or message.__name__
        raise InputError(f"{place}: {first['msg']}") from None


def _listed(name: str, tracks: Sequence[TrackLike]) -> list[str | TrackName]:
    # A text is a sequence, too, of its characters.
    if isinstance(tracks, str):
        raise InputError(f"{name}: give a list, as [{tracks!r}]")
    return [_asked(name, each) for each in tracks]


def _asked(name: str, track: TrackLike) -> str | TrackName:
    if isinstance(track, str):
        return track
    if len(track) != 2:
        raise InputError(f"{name}: {track!r} should be (artist, name)")
    return _made(TrackName, artist=track[0], name=track[1])


def _text(track: TrackLike) -> str:
    return track if isinstance(track, str) else " - ".join(track)


def _post(path: str, message: BaseModel, answer: type[A], **how: Any) -> Call[A]:
    content = message.model_dump(mode="json", exclude_none=True)
    return Call("POST", path, answer, json=content, **how)


def complete(
    self: object,
    tracks: Sequence[TrackLike],
    title: str | None = None,
    k: int = 10,
    exclude: Sequence[TrackLike] = (),
    playlist: str | None = None,
    explain: bool = False,
) -> Call[Answer]:
    """The k tracks that complete a playlist best.

    Args:
        title: helps when little is known of the tracks.
        exclude: more tracks not to recommend.
        playlist: an id of yours; tracks that events added to it count as well.

    Raises:
        InputError: an argument can't be used; nothing was sent.
        ApiError: the server refuses, with the reason; Overloaded: it is busy.
        Unreachable: the server doesn't answer.
    """
    request = _made(
        CompleteRequest, tracks=_listed("tracks", tracks), title=title, k=k,
        exclude=_listed("exclude", exclude), playlist=playlist, explain=explain,
    )  # fmt: skip
    return _post("/v1/playlists/complete", request, Answer)


def next(
    self: object,
    user: str | None = None,
    recent: Sequence[str] = (),
    at: At = None,
    k: int = 10,
    explain: bool = False,
    exclude: Sequence[str] = (),
) -> Call[Answer]:
    """The k songs most likely to be next.

    Args:
        user: an id; plays that events told of it count as well.
        recent: ids of this session's songs, the last one last.
        exclude: ids of more songs not to recommend.

    Raises: as :meth:`complete`.
    """
    request = _made(
        NextRequest, user=user, recent=_listed("recent", recent), at=at, k=k, explain=explain,
        exclude=_listed("exclude", exclude),
    )  # fmt: skip
    return _post("/v1/sessions/next", request, Answer)


def recommend(
    self: object,
    playlist: PlaylistInput | None = None,
    session: SessionInput | None = None,
    k: int = 10,
    explain: bool = False,
) -> Call[UnifiedAnswer]:
    """From a playlist, a session or both; the answer says which pipeline gave it and why.

    Raises: as :meth:`complete`.
    """
    request = _made(RecommendRequest, playlist=playlist, session=session, k=k, explain=explain)
    return _post("/v1/recommend", request, UnifiedAnswer)


def events(self: object, events: Sequence[Event]) -> Call[EventsAnswer]:
    """Tell what happened; it is stored when this returns.

    Events are never sent twice: when the connection breaks, nobody knows whether they are stored.

    Raises: as :meth:`complete`.
    """
    request = _made(EventsRequest, events=list(events))
    return _post("/v1/events", request, EventsAnswer, repeatable=False, token="events")


def play(self: object, user: str, track: str, ms_played: int, at: At = None) -> Call[EventsAnswer]:
    """Tell that a user played a song for so many milliseconds; otherwise as :meth:`events`."""
    event = _made(PlayEvent, type="play", user=user, track=track, ms_played=ms_played, at=at)
    return events(self, [event])


def add(self: object, playlist: str, track: TrackLike, at: At = None) -> Call[EventsAnswer]:
    """Tell that a track was added to a playlist; otherwise as :meth:`events`."""
    return events(self, [_made(AddEvent, type="add", playlist=playlist, track=_text(track), at=at)])


def tracks(
    self: object, q: str, k: int = 10, pipeline: Pipeline = "playlists"
) -> Call[TracksAnswer]:
    """Find tracks by part of their name or artist; small misspellings are forgiven.

    Raises: as :meth:`complete`.
    """
    return Call(
        "GET", "/v1/tracks", TracksAnswer, params={"q": q, "k": k, "pipeline": pipeline}
    )  # fmt: skip


def track(self: object, id: str, pipeline: Pipeline = "playlists") -> Call[TrackDetails]:
    """One track's genres, popularity and, where they are known, audio features.

    Args:
        id: or a Spotify URI or link.

    Raises: as :meth:`complete`.
    """
    path = f"/v1/tracks/{quote(id, safe='')}"
    return Call("GET", path, TrackDetails, params={"pipeline": pipeline})


def read(self: object, text: str, filename: str | None = None) -> Call[ReadAnswer]:
    """Which tracks a playlist holds that somebody has as a text or file, and which are known.

    Args:
        text: links, ``Artist - Title`` a line, or what is in a CSV, JSON or M3U file.
        filename: names the playlist if the format doesn't.

    Raises: as :meth:`complete`.
    """
    request = _made(ReadRequest, text=text, filename=filename)
    return _post("/v1/playlists/read", request, ReadAnswer)


def export(
    self: object,
    tracks: Sequence[TrackLike],
    title: str | None = None,
    format: ExportFormat = "exportify",
) -> Call[Exported]:
    """A playlist as the text of a file that other programs read.

    Args:
        tracks: in order.
        format: ``exportify`` or ``soundiiz`` (CSV), ``m3u``, ``uris`` or ``text``.

    Raises: as :meth:`complete`.
    """
    request = _made(ExportRequest, tracks=_listed("tracks", tracks), title=title, format=format)
    return _post("/v1/playlists/export", request, Exported, read=_exported)


def _exported(response: httpx.Response) -> Exported:
    named = response.headers["Content-Disposition"].partition("filename*=UTF-8''")[2]
    left_out = int(response.headers["X-Left-Out"])
    return Exported(text=response.content.decode(), filename=unquote(named), left_out=left_out)


def versions(self: object) -> Call[VersionsAnswer]:
    """All registered versions, newest first.

    Raises: as :meth:`complete`.
    """
    return Call("GET", "/v1/versions", VersionsAnswer)


def activate(self: object, id: str) -> Call[VersionOut]:
    """Have a version served, by every replica as soon as it has loaded it; needs the token.

    Raises: as :meth:`complete`.
    """
    path = f"/v1/versions/{quote(id, safe='')}/activate"
    return Call("POST", path, VersionOut, token="admin")


def rollback(self: object, pipeline: Pipeline) -> Call[VersionOut]:
    """Have a pipeline's previous version served again; needs the token.

    Raises: as :meth:`complete`.
    """
    request = _made(RollbackRequest, pipeline=pipeline)
    return _post("/v1/versions/rollback", request, VersionOut, repeatable=False, token="admin")


def ready(self: object) -> Call[Health]:
    """Whether the server can answer; when it can't, that is the answer and no error.

    Raises:
        Unreachable: the server doesn't answer at all.
    """
    return Call("GET", "/readyz", Health, fine=(BUSY,))
