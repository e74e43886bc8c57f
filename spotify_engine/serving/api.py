"""The messages of the HTTP API: what is asked and what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from spotify_engine.recommendation import Recommendation

MAX_TRACKS = 1_000
MAX_K = 100
MAX_EVENTS = 1_000
MAX_TEXT = 500
LAST_SECOND = 253_402_300_799  # of the year 9999
DAY_MS = 86_400_000

Pipeline = Literal["playlists", "sessions"]


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
K = Annotated[int, Field(strict=True, ge=1, le=MAX_K, description="how many to recommend")]
Flag = Annotated[bool, Field(strict=True)]


def _written(value: Any) -> Any:
    """A number is seconds, whatever a date could be read from it."""
    if isinstance(value, int | float):
        raise ValueError("is not a date as ISO 8601 writes it")
    return value


Moment = Annotated[
    Annotated[datetime, BeforeValidator(_written)]
    | Annotated[int, Field(strict=True, ge=0, le=LAST_SECOND)],
    Field(description="ISO 8601 (UTC if it names no zone) or seconds since 1970"),
]


class Message(BaseModel):
    """A part of a request: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TrackName(Message):
    """A track by its name and first artist."""

    name: Text
    artist: Text


Track = Annotated[Text | TrackName, Field(description='an id, "Artist - Title", or {name, artist}')]


class PlaylistInput(Message):
    """A playlist to complete."""

    tracks: list[Track] = Field(default=[], max_length=MAX_TRACKS)
    title: Title | None = None
    playlist: Text | None = Field(
        None, description="id of yours; tracks that events added to it count as well"
    )
    exclude: list[Track] = Field(
        default=[], max_length=MAX_TRACKS, description="more tracks not to recommend"
    )


class SessionInput(Message):
    """A listening session to go on with."""

    user: Text | None = Field(None, description="id; events that were sent for it count as well")
    recent: list[Text] = Field(
        default=[], max_length=MAX_TRACKS, description="ids of this session's songs, last one last"
    )
    at: Moment | None = Field(None, description="when; now, if left out")


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

    k: K = 10
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

    k: K = 10
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
    k: K = 10
    explain: Flag = False

    @model_validator(mode="after")
    def _something(self) -> RecommendRequest:
        if self.playlist is None and self.session is None:
            raise ValueError("give a playlist, a session or both")
        return self


class PlayEvent(Message):
    """A user has played a song."""

    type: Literal["play"]
    user: Text
    track: Text
    ms_played: Annotated[int, Field(strict=True, ge=0, le=DAY_MS)]
    at: Moment | None = Field(None, description="when; now, if left out")


class AddEvent(Message):
    """A track was added to a playlist."""

    type: Literal["add"]
    playlist: Text
    track: Text
    at: Moment | None = Field(None, description="when; now, if left out")


Event = Annotated[PlayEvent | AddEvent, Field(discriminator="type")]


class EventsRequest(Message):
    """What happened; stored durably before the answer."""

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


class RollbackRequest(Message):
    """Which pipeline goes back to its previous version."""

    pipeline: Pipeline


class ReasonOut(BaseModel):
    """A term of a score; those of one recommendation sum to it."""

    kind: str
    text: str
    contribution: float
    attention: float | None = Field(None, description="share of the attention, 0 to 1")
    track: str | None = Field(None, description="id of the seed track that it is about")


class PlaylistExplanation(BaseModel):
    """Why a track suits a playlist; filled in when ``explain`` was asked for."""

    seeds: list[float] = Field(
        description="what each of the answer's seeds adds to the score; with bias they sum to it"
    )
    bias: float = Field(description="the track's own popularity term")
    parts: dict[str, float] = Field(
        description="the same sum by what a track's vector is made of, and the item-item term"
    )
    influence: dict[str, float] = Field(description="shares of the score's movement; sum to 1")
    matched_genres: dict[str, float] = Field(
        description="genres shared with the playlist: share of its tracks that have them"
    )
    text: str


class Neighbour(BaseModel):
    """A song of the user's history, and the attention it gets."""

    id: str
    name: str
    attention: float


class SessionExplanationOut(BaseModel):
    """Why a song may be next; filled in when ``explain`` was asked for."""

    terms: dict[str, float] = Field(description="what each cause adds; they sum to the score")
    percent: dict[str, int] = Field(description="listening, genre, popularity; add up to 100")
    neighbours: list[Neighbour]
    genre: dict[str, Any] = Field(
        description="collaborative_score, genre_score, final_score, matched_genres, "
        "genre_contributions and genre_influence of the Enhanced GAT"
    )
    text: str


class RecommendationOut(BaseModel):
    """One track or song."""

    id: str
    name: str
    artist: str
    score: float
    fallback: str | None = None
    reasons: list[ReasonOut] = Field(default=[], description="only when asked to explain")
    explanation: PlaylistExplanation | SessionExplanationOut | None = None

    @classmethod
    def of(
        cls, each: Recommendation, ids: Sequence[str], reasons: bool = True
    ) -> RecommendationOut:
        """A recommender's answer; ``ids`` of the catalogue, by row."""
        said = [
            ReasonOut(
                kind=reason.kind,
                text=reason.text,
                contribution=reason.contribution,
                attention=reason.attention,
                track=None if reason.track is None else ids[reason.track],
            )
            for reason in each.reasons
        ]
        return cls(
            id=each.id,
            name=each.name,
            artist=each.artist,
            score=each.score,
            fallback=each.fallback,
            reasons=said if reasons else [],
        )


class Seed(BaseModel):
    """A track that was completed from."""

    id: str | None = Field(None, description="None: only the artist is known")
    name: str
    artist: str
    attention: float = Field(description="share of the playlist's attention; all sum to 1")


class Answer(BaseModel):
    """Recommendations, best first, and on what ground they stand."""

    pipeline: Pipeline
    version: str
    fallback: str | None = Field(None, description="what stood in for what is not known")
    recommendations: list[RecommendationOut]
    unmatched: list[str] = Field(default=[], description="inputs that are not in the catalogue")
    by_artist: list[str] = Field(default=[], description="inputs of which only the artist is known")
    learned: int = Field(0, description="stored events that counted")
    seeds: list[Seed] = Field(default=[], description="only when asked to explain")
    genres: dict[str, float] = Field(
        default={}, description="share of the seeds that have each genre; only when explaining"
    )
    ms: float = Field(0.0, description="milliseconds from the request's arrival to the answer")


class UnifiedAnswer(Answer):
    """An answer, and why this pipeline gave it."""

    why: str


class EventsAnswer(BaseModel):
    """What was stored."""

    stored: int
    unmatched: list[str] = Field(
        description="tracks that no served version has; stored, and counted once one has them"
    )


class TrackOut(BaseModel):
    """A track of the catalogue."""

    id: str
    name: str
    artist: str
    popularity: int = Field(description="training playlists that hold it, or training plays")


class TracksAnswer(BaseModel):
    """Tracks that were found, best first."""

    pipeline: Pipeline
    version: str
    tracks: list[TrackOut]


class VersionOut(BaseModel):
    """A registered version."""

    id: str
    pipeline: Pipeline
    created: str
    current: bool = Field(description="to be served, by every replica as soon as it has loaded it")
    previous: bool = Field(description="what a rollback goes back to")
    served: bool = Field(description="what the replica that answers serves now")
    metrics: dict[str, float]
    lineage: dict[str, Any]


class VersionsAnswer(BaseModel):
    """All versions, newest first."""

    versions: list[VersionOut]
    broken: dict[str, str] = Field(description="folders of the registry that can't be read, why")
    failures: dict[str, str] = Field(
        description="by pipeline: why its current version isn't served"
    )


class Health(BaseModel):
    """Whether this replica can answer."""

    status: Literal["ok", "starting", "unavailable"]
    versions: dict[str, str] = Field(default={}, description="by pipeline")
    problems: list[str] = []


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, after RFC 9457."""

    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
