"""The requests of the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from spotify_engine.errors import hint
from spotify_engine.pipelines import Pipeline
from spotify_engine.reading.formats.kinds import FORMATS, ExportFormat

MAX_TRACKS = 1_000
MAX_K = 100
MAX_EVENTS = 1_000
MAX_TEXT = 500
MAX_PASTED = 1_000_000
LAST_SECOND = 253_402_300_799  # of the year 9999
DAY_MS = 86_400_000


def readable(text: str) -> str:
    """The text, if people can read it.

    Raises:
        ValueError: a control character, or half of a surrogate pair.
    """
    for place, character in enumerate(text):
        code = ord(character)
        if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000:
            raise ValueError(f"has a control character (U+{code:04X}) at place {place}")
    return text


Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(readable)]
Title = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(readable)]


def _named(value: Any) -> Any:
    """A field that was left blank names nobody."""
    return None if isinstance(value, str) and not value.strip() else value


def somebody(text: str) -> str:
    """A user's id, without spaces around it.

    Raises:
        ValueError: nobody is named.
    """
    if not text.strip():
        raise ValueError("is blank; give an id, or leave the event out")
    return text


Id = Annotated[Text, AfterValidator(somebody), Field(json_schema_extra={"pattern": r"\S"})]
OptionalId = Annotated[Title | None, BeforeValidator(_named)]
ListLength = Annotated[int, Field(strict=True, ge=1, le=MAX_K, description="how many to recommend")]
Flag = Annotated[bool, Field(strict=True)]


def _written(value: Any) -> Any:
    """A number is seconds, whatever a date could be read from it."""
    if isinstance(value, int | float):
        raise ValueError("is not an ISO 8601 date")
    return value


Moment = Annotated[
    Annotated[datetime, BeforeValidator(_written)]
    | Annotated[int, Field(strict=True, ge=0, le=LAST_SECOND)],
    Field(description="ISO 8601 (UTC if it names no zone) or seconds since 1970"),
]


class Message(BaseModel):
    """A part of a request: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def unknown_field(given: Mapping[str, Any], field: str, whole: type[BaseModel] | None) -> str:
    """A message about a key that a part of a request doesn't have, with the one that may be meant.

    Args:
        given: the part as it was sent.
        whole: what the request should be, if the part is all of it.
    """
    models = list(_messages(Message)) if whole is None else [whole]
    # Its other keys tell which part it is, as far as they are right.
    right = {key for key in given if any(key in model.model_fields for model in models)}
    alike = [model for model in models if right <= model.model_fields.keys()] or models
    known = list(dict.fromkeys(name for model in alike for name in model.model_fields))
    return f"there is no such field; {hint(field.lower(), known)}"


def _messages(model: type[Message]) -> list[type[Message]]:
    found = []
    for each in model.__subclasses__():
        found += [each, *_messages(each)]
    return found


class TrackName(Message):
    """A track by its name and first artist."""

    name: Text
    artist: Text


Track = Annotated[
    Text | TrackName,
    Field(description='an id, Spotify URI or link, "Artist - Title", or {name, artist}'),
]


class PlaylistInput(Message):
    """A playlist to complete."""

    tracks: list[Track] = Field(default=[], max_length=MAX_TRACKS)
    title: Title | None = None
    playlist: OptionalId = Field(
        None, description="id of yours; tracks that events added to it count as well"
    )
    exclude: list[Track] = Field(
        default=[], max_length=MAX_TRACKS, description="more tracks not to recommend"
    )


class SessionInput(Message):
    """A listening session to go on with."""

    user: OptionalId = Field(
        None, description="id; events that were sent for it count as well; blank: nobody is named"
    )
    recent: list[Text] = Field(
        default=[],
        max_length=MAX_TRACKS,
        description="ids, URIs or links of this session's songs, last one last",
    )
    at: Moment | None = Field(None, description="when; now, if left out")
    exclude: list[Text] = Field(
        default=[], max_length=MAX_TRACKS, description="more songs not to recommend"
    )


class CompleteRequest(PlaylistInput):
    """Which tracks complete this playlist?"""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"tracks": [{"name": "Title", "artist": "Artist"}], "title": "Evening", "k": 5}
            ]
        },
    )

    k: ListLength = 10
    explain: Flag = False


class NextRequest(SessionInput):
    """Which song comes next?"""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"user": "u0000017", "recent": ["t0000285", "t0003389"], "k": 5}]
        },
    )

    k: ListLength = 10
    explain: Flag = False


class RecommendRequest(Message):
    """Whatever is known, a playlist, a session or both; the pipeline that knows more answers."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "playlist": {"tracks": ["Artist - Title"], "title": "Evening"},
                    "session": {"user": "u0000017", "recent": ["t0000285"]},
                    "k": 5,
                }
            ]
        },
    )

    playlist: PlaylistInput | None = None
    session: SessionInput | None = None
    k: ListLength = 10
    explain: Flag = False

    @model_validator(mode="after")
    def _something(self) -> RecommendRequest:
        if self.playlist is None and self.session is None:
            raise ValueError("give a playlist, a session or both")
        return self


class PlayEvent(Message):
    """A user has played a song."""

    type: Literal["play"]
    user: Id
    track: Text
    ms_played: Annotated[int, Field(strict=True, ge=0, le=DAY_MS)]
    at: Moment | None = Field(None, description="when; now, if left out")


class AddEvent(Message):
    """A track was added to a playlist."""

    type: Literal["add"]
    playlist: Id
    track: Text
    at: Moment | None = Field(None, description="when; now, if left out")


Event = Annotated[PlayEvent | AddEvent, Field(discriminator="type")]


class EventsRequest(Message):
    """Events to store; they are stored durably before the answer."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {"type": "play", "user": "u0000017", "track": "t0000285",
                         "ms_played": 51912},
                        {"type": "add", "playlist": "my-evening", "track": "Artist - Title"},
                    ]
                }
            ]
        },
    )  # fmt: skip

    events: list[Event] = Field(min_length=1, max_length=MAX_EVENTS)


class ReadRequest(Message):
    """A playlist as somebody has it: pasted, or the text of a file."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"text": "1. Artist - Title\nTitle by Artist", "filename": "evening.txt"}]
        },
    )

    text: str = Field(
        min_length=1,
        max_length=MAX_PASTED,
        description="Spotify links or URIs, Artist - Title a line, CSV (Exportify, TuneMyMusic, "
        "Soundiiz), JSON (a Spotify account export, the Million Playlist Dataset) or M3U",
    )
    filename: Title | None = Field(
        None, description="names the playlist if the format has no name for it"
    )


class ExportRequest(Message):
    """A playlist to be written for another program."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "tracks": ["Artist - Title", {"name": "Title", "artist": "Other"}],
                    "title": "Evening",
                    "format": "soundiiz",
                }
            ]
        },
    )

    tracks: list[Track] = Field(min_length=1, max_length=MAX_TRACKS, description="in order")
    title: Title | None = None
    format: ExportFormat = Field(
        description="; ".join(f"{name}: {each.said}" for name, each in FORMATS.items())
    )


class RollbackRequest(Message):
    """Which pipeline goes back to its previous version."""

    pipeline: Pipeline
