"""Checks that data looks like listening, with limits, for generated and foreign tables alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table as RichTable
from rich.text import Text
from scipy import sparse

from spotify_engine.sessions.measure.splits import TEST, TemporalSplitConfig, temporal_parts
from spotify_engine.sessions.quality.statistics import DAY, Facts, Measured, facts
from spotify_engine.sessions.schema import SESSIONS_FILE, UNKNOWN_TYPE, USER_TYPES
from spotify_engine.sessions.tables.edges import song_artists
from spotify_engine.sessions.tables.plays import SET_ASIDE

_OVERLAP_SECONDS = 5  # clocks and crossfades


class ValidationConfig(BaseModel):
    """Limits of the checks; shares are parts of 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_rejected: float = Field(0.01, ge=0, le=1)
    """Rows of the sessions file that can't be used."""
    max_repeated: float = Field(0.001, ge=0, le=1)
    """Plays of the same song by the same user at the same second."""
    max_overlap: float = Field(0.02, ge=0, le=1)
    """Plays that start before the user's play before them is over."""
    max_without_artist: float = Field(0.01, ge=0, le=1)
    """Songs without artist."""
    max_without_genre: float = Field(0.05, ge=0, le=1)
    """Songs without genre."""
    max_without_history: float = Field(0.1, ge=0, le=1)
    """Users who never played anything."""
    max_unheard: float = Field(0.5, ge=0, le=1)
    """Songs that nobody played."""
    min_effective_genres: float = Field(3, ge=1)
    """exp(entropy) of the plays' genres."""
    max_hour_share: float = Field(0.25, gt=0, le=1)
    """Plays in the busiest hour of the day; times without a clock are all at midnight."""
    min_hour_contrast: float = Field(1.5, ge=1)
    """Busiest hour over quietest; people sleep, generated or shuffled times may not."""
    completion: tuple[float, float] = (0.2, 0.98)
    """Bounds of the mean completion."""
    min_completion_std: float = Field(0.05, ge=0)
    """Of the completion; a constant says nothing about liking."""
    min_session_plays: float = Field(2, ge=1)
    """Mean plays a session; of single plays there is no next song."""
    min_connected: float = Field(0.95, ge=0, le=1)
    """Users and played songs in the largest connected component of who played what."""
    min_days: float = Field(7, ge=0)
    """Time between the first and the last play."""
    min_tested_users: float = Field(0.5, ge=0, le=1)
    """Users with a test part, of those with a history."""
    min_preference_lift: float = Field(1.2, ge=0)
    """Plays in the user's preferred genres over what the same preferences would be of any user."""


@dataclass(frozen=True)
class Check:
    """One check's outcome.

    Attributes:
        value: what was measured; None where there is nothing to measure it on.
        limit: what it had to be, in words.
        detail: what it means, or what to do.
    """

    name: str
    passed: bool
    value: float | None
    limit: str
    detail: str


@dataclass(frozen=True)
class ValidationReport:
    """All checks, and the distributions that the plots show."""

    checks: list[Check]
    facts: Facts

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            "facts": self.facts,
        }

    def render(self) -> RichTable:
        """One line a check, failed ones first."""
        table = RichTable(title="Data quality")
        for column in ("check", "", "value", "limit", "meaning"):
            table.add_column(column, justify="right" if column == "value" else "left")
        for check in sorted(self.checks, key=lambda each: each.passed):
            value = "-" if check.value is None else f"{check.value:,.4g}"
            outcome = Text("passed", "green") if check.passed else Text("FAILED", "bold red")
            table.add_row(check.name, outcome, value, check.limit, check.detail)
        return table


def validate(
    tables: Mapping[str, pa.Table], config: ValidationConfig | None = None
) -> ValidationReport:
    """Check tables (as ``schema.TABLES``, with at least one event) against the limits."""
    data, config = Measured(tables), config or ValidationConfig()
    return ValidationReport([check(data, config) for check in CHECKS], facts(data))


def _most(name: str, part: float, whole: float, limit: float, detail: str) -> Check:
    value = float(part) / whole if whole else 0.0
    return Check(name, value <= limit, value, f"at most {limit:g}", detail)


def _least(name: str, value: float | None, limit: float, detail: str) -> Check:
    passed = value is not None and value >= limit
    return Check(name, passed, value, f"at least {limit:g}", detail)


def _not_given(name: str, what: str) -> Check:
    """Of what comes from files that may be missing, there is nothing to check without them."""
    return Check(name, True, None, "-", f"no {what} are given")


def _rejected(data: Measured, config: ValidationConfig) -> Check:
    rejects = data.tables["rejects"].select(["source", "reason"]).to_pylist()
    reasons = Counter(each["reason"] for each in rejects if each["source"] == SESSIONS_FILE)
    aside = sum(reasons.pop(reason, 0) for reason in SET_ASIDE)
    rejected = reasons.total()
    detail = "session rows that can't be used"
    if reasons:
        detail += ": " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
    if aside:
        detail += f"; {aside:,} without a track are set aside"
    return _most("usable rows", rejected, rejected + len(data.user), config.max_rejected, detail)


def _repeated(data: Measured, config: ValidationConfig) -> Check:
    order = np.lexsort((data.song, data.time, data.user))
    same = np.ones(max(len(order) - 1, 0), bool)
    for column in (data.user, data.time, data.song):
        same &= np.diff(column[order]) == 0
    detail = "duplicated plays"
    return _most("no repeated plays", same.sum(), len(order), config.max_repeated, detail)


def _overlap(data: Measured, config: ValidationConfig) -> Check:
    early = data.time[:-1] + data.ms[:-1] / 1000 - _OVERLAP_SECONDS > data.time[1:]
    return _most(
        "one play at a time", (early & data.same_user).sum(), len(data.user), config.max_overlap,
        "plays that start before the previous one is over: shared accounts, or end times",
    )  # fmt: skip


def _artists(data: Measured, config: ValidationConfig) -> Check:
    without = (song_artists(dict(data.tables)) < 0).sum()
    detail = "songs without artist"
    return _most("songs have artists", without, data.n_songs, config.max_without_artist, detail)


def _genres(data: Measured, config: ValidationConfig) -> Check:
    if not data.n_genres:
        return _not_given("songs have genres", "genres")
    without = (np.diff(data.genres_of_song.indptr) == 0).sum()
    detail = "songs without genre"
    return _most("songs have genres", without, data.n_songs, config.max_without_genre, detail)


def _histories(data: Measured, config: ValidationConfig) -> Check:
    return _most(
        "users have histories", (data.plays_of_user == 0).sum(), data.n_users,
        config.max_without_history, "users who only have preferences",
    )  # fmt: skip


def _heard(data: Measured, config: ValidationConfig) -> Check:
    unheard = (data.plays_of_song == 0).sum()
    return _most(
        "songs are heard", unheard, data.n_songs, config.max_unheard, "songs that nobody played"
    )


def _genre_spread(data: Measured, config: ValidationConfig) -> Check:
    if not data.n_genres:
        return _not_given("genres are mixed", "genres")
    share = data.genre_plays[data.genre_plays > 0]
    share = share / share.sum()
    value = float(np.exp(-(share * np.log(share)).sum())) if len(share) else None
    detail = "how many equally popular genres would be just as mixed"
    return _least("genres are mixed", value, config.min_effective_genres, detail)


def _types(data: Measured, config: ValidationConfig) -> Check:
    """Fails when a type is missing or not known, or a more active one plays less."""
    if set(data.types) == {UNKNOWN_TYPE}:
        return _not_given("types differ in activity", "user types")
    means = [
        float(data.plays_of_user[data.types == kind].mean())
        for kind in USER_TYPES
        if (data.types == kind).any()
    ]
    steps = [b / max(a, 1e-9) for a, b in pairwise(means)]
    complete = len(means) == len(USER_TYPES) and set(data.types) == set(USER_TYPES)
    value = min(steps) if steps else None
    return Check(
        "types differ in activity", complete and value is not None and value > 1, value, "above 1",
        "plays per user over those of the next less active type; needs casual, regular and power",
    )  # fmt: skip


def _hour_share(data: Measured, config: ValidationConfig) -> Check:
    detail = "plays in the busiest hour; times without a clock are all at midnight"
    return _most(
        "times have a clock", data.hours.max(), len(data.user), config.max_hour_share, detail
    )


def _hour_contrast(data: Measured, config: ValidationConfig) -> Check:
    value = float(data.hours.max() / max(data.hours.min(), 1))
    detail = "busiest hour over quietest; people do not listen evenly around the clock"
    return _least("days have a rhythm", value, config.min_hour_contrast, detail)


def _completion_mean(data: Measured, config: ValidationConfig) -> Check:
    low, high = config.completion
    value = float(data.completion.mean())
    return Check(
        "completion is plausible", low <= value <= high, value, f"{low:g} to {high:g}",
        "mean part of a song that is played; near 0 or 1, units may be wrong",
    )  # fmt: skip


def _completion_spread(data: Measured, config: ValidationConfig) -> Check:
    detail = "standard deviation; a constant says nothing about liking"
    value = float(data.completion.std())
    return _least("completion varies", value, config.min_completion_std, detail)


def _session_plays(data: Measured, config: ValidationConfig) -> Check:
    value = len(data.session) / (int(data.session.max()) + 1)
    detail = "mean plays a session; a session of one play has no next song"
    return _least("sessions have sequences", value, config.min_session_plays, detail)


def _connected(data: Measured, config: ValidationConfig) -> Check:
    value = float(data.components[0] / data.components.sum())
    detail = "users and songs in the largest connected component"
    return _least("graph is connected", value, config.min_connected, detail)


def _days(data: Measured, config: ValidationConfig) -> Check:
    value = float(data.time.max() - data.time.min()) / DAY
    return _least("time is long enough", value, config.min_days, "days from first to last play")


def _tested(data: Measured, config: ValidationConfig) -> Check:
    part = temporal_parts(data.user, data.session, TemporalSplitConfig())
    tested = len(np.unique(data.user[part == TEST]))
    value = tested / int((data.plays_of_user > 0).sum())
    detail = "users with a test part; others have too few plays or sessions"
    return _least("users can be tested", value, config.min_tested_users, detail)


def _preferences(data: Measured, config: ValidationConfig) -> Check:
    prefers = data.tables["user_genre_preferences"]
    if not len(prefers):
        return _not_given("preferences show", "preferences")
    shape = (data.n_users, data.n_genres)
    user, genre = prefers["user"].to_numpy(), prefers["genre"].to_numpy()
    stated = sparse.csr_matrix((prefers["affinity"].to_numpy(), (user, genre)), shape=shape)
    counts = sparse.csr_matrix(
        (np.ones(len(data.user)), (data.user, data.song)), shape=(data.n_users, data.n_songs)
    )
    heard = counts @ data.genres_of_song
    agreeing = float(stated.multiply(heard).sum())
    # The same preferences beside everybody's listening, at the user's own number of plays.
    overall = data.genre_plays / max(data.genre_plays.sum(), 1e-9)
    own = np.asarray(heard.sum(axis=1)).ravel()
    expected = float(((stated @ overall) * own).sum())
    value = agreeing / expected if expected > 0 else None
    detail = "plays in preferred genres, over those of users with other preferences"
    return _least("preferences show", value, config.min_preference_lift, detail)


CHECKS: tuple[Callable[[Measured, ValidationConfig], Check], ...] = (
    _rejected,
    _repeated,
    _overlap,
    _artists,
    _genres,
    _histories,
    _heard,
    _genre_spread,
    _types,
    _hour_share,
    _hour_contrast,
    _completion_mean,
    _completion_spread,
    _session_plays,
    _connected,
    _days,
    _tested,
    _preferences,
)
