"""The answers of the HTTP API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from spotify_engine.pipelines import Pipeline
from spotify_engine.playlists.recommend.outcomes import How
from spotify_engine.recommendation import Recommendation


class ReasonOut(BaseModel):
    """A term of a score; those of one recommendation sum to it."""

    kind: str
    text: str
    contribution: float
    attention: float | None = Field(None, description="share of the attention, 0 to 1")
    track: str | None = Field(None, description="id of the seed track that it is about")


class Path(BaseModel):
    """A seed's contribution to a score, by what it shares with the track; they sum to it."""

    seed: int = Field(description="place in the answer's seeds")
    listening: float = Field(description="similar listening, as learned")
    artists: float = Field(description="artists and genres")
    item_item: float = Field(description="playlists that hold both")
    second_stage: float = Field(
        default=0.0, description="attention along the edge between the two: order, pairs, likeness"
    )


class PlaylistExplanation(BaseModel):
    """Why a track suits a playlist; filled in when ``explain`` was asked for."""

    seeds: list[float] = Field(
        description="what each of the answer's seeds adds to the score; with bias they sum to it"
    )
    bias: float = Field(description="the track's own popularity terms")
    attention: list[float] = Field(
        default=[], description="this track's attention to each of the answer's seeds; sums to 1"
    )
    parts: dict[str, float] = Field(
        description="the same sum by what a track's vector is made of, the item-item term and the "
        "second stage"
    )
    influence: dict[str, float] = Field(description="shares of the score's movement; sum to 1")
    matched_genres: dict[str, float] = Field(
        description="genres shared with the playlist: share of its tracks that have them"
    )
    paths: list[Path] = Field(
        default=[], description="the seeds that add or take away most, strongest first"
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
    even_attention: bool = Field(
        description="whether all songs of the user's history get the same attention, which then "
        "tells nothing"
    )
    genre: dict[str, Any] = Field(
        description="collaborative_score, genre_score, final_score, matched_genres, "
        "genre_contributions and genre_influence of the Enhanced GAT"
    )
    text: str


class Described(BaseModel):
    """The details of a track besides its name."""

    genres: list[str] = Field(default=[], description="of its first artist, or of the song")
    popularity: int | None = Field(
        None, description="training playlists that hold it, or training plays"
    )
    above: int | None = Field(
        None, description="percent of all tracks that it is more popular than, rounded down"
    )
    audio: dict[str, float] | None = Field(
        None,
        description="tempo in beats a minute, loudness in dB, others 0 to 1; what isn't known is "
        "left out; None: nothing is known",
    )


class RecommendationOut(Described):
    """One track or song; genres, popularity and audio only when asked to explain."""

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


class Seed(Described):
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
    recognised: list[EntryOut] = Field(
        default=[],
        description="inputs that are written otherwise than the track that they were taken for",
    )
    learned: int = Field(0, description="stored events that counted")
    seeds: list[Seed] = Field(default=[], description="only when asked to explain")
    even_attention: bool | None = Field(
        None,
        description="whether all seeds get the same attention, which then tells nothing; only when "
        "asked to explain",
    )
    genres: dict[str, float] = Field(
        default={}, description="share of the seeds that have each genre; only when explaining"
    )
    ms: float = Field(0.0, description="milliseconds from the request's arrival to the answer")


class UnifiedAnswer(Answer):
    """An answer, and why this pipeline gave it."""

    why: str


class EventsAnswer(BaseModel):
    """The number of events stored, and those of unknown tracks."""

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


class TrackDetails(Described):
    """All that the catalogue says of one track."""

    pipeline: Pipeline
    version: str
    id: str
    name: str
    artist: str


class TracksAnswer(BaseModel):
    """Tracks that were found, best first."""

    pipeline: Pipeline
    version: str
    tracks: list[TrackOut]


class TrackRef(BaseModel):
    """Which track of the catalogue."""

    id: str
    name: str
    artist: str


class EntryOut(BaseModel):
    """A track as it was written, and what it was recognised as."""

    text: str = Field(description="as it was written")
    line: int = Field(description="of the text, from 1; in JSON, the place in its playlist")
    how: How = Field(
        description="exact: its id or names; variant: except for accents, punctuation, the order "
        "of the names or what is said of a version; fuzzy: except for small misspellings; by "
        "artist: only the artist is known; not found"
    )
    score: float | None = Field(None, description="of fuzzy: likeness, 0 to 100")
    track: TrackRef | None = Field(None, description="None: by artist, or not found")
    name: str | None = Field(None, description="by artist: send it on with the artist")
    artist: str | None = Field(None, description="by artist: who it is")
    nearest: TrackRef | None = Field(
        None, description="of one that isn't found: what resembles it most; never taken for it"
    )


class PlaylistOut(BaseModel):
    """A playlist that was read."""

    title: str | None
    entries: list[EntryOut]


class UnreadOut(BaseModel):
    """A line that holds no track."""

    line: int
    text: str
    why: str


class ReadAnswer(BaseModel):
    """The entries of a text, and which of them are known."""

    title: str | None = Field(description="the playlist's; None: it has none, or there are several")
    format: str = Field(description="in words")
    playlists: list[PlaylistOut]
    unread: list[UnreadOut] = Field(description="lines that hold no track, the first 100")
    summary: str = Field(description="32 known, 3 by their artist, 5 not found")
    pipeline: Pipeline
    version: str
    ms: float = Field(0.0, description="milliseconds from the request's arrival to the answer")


class Exported(BaseModel):
    """A playlist's file."""

    text: str
    filename: str
    left_out: int = Field(description="tracks that the format can't hold: they have no Spotify id")


class VersionOut(BaseModel):
    """A registered version."""

    id: str
    pipeline: Pipeline
    created: str
    current: bool = Field(description="to be served, by every replica as soon as it has loaded it")
    previous: bool = Field(description="what a rollback goes back to")
    served: bool = Field(description="what the replica that answers serves now")
    metrics: dict[str, float]
    main: list[str] = Field(
        default=[], description="the metrics to know it by, the first before all others"
    )
    invented: bool = Field(
        False, description="trained on generated data: no such tracks and artists exist"
    )
    trained: str | None = Field(
        None, description="which epoch is served, and whether training helped, in words"
    )
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
    """The problem with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, after RFC 9457."""

    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
