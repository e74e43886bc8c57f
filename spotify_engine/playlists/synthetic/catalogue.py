"""The invented catalogue of a stand-in data set: its size, groups, artists and tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from spotify_engine.errors import InputError
from spotify_engine.invented_names import GENRE_NAMES, Namer

_FULL = {
    "users": 15_900,
    "playlists": 161_000,
    "rows": 12_900_000,
    "tracks": 2_400_000,
    "artists": 290_000,
    "feature_rows": 1_204_025,
}


class SampleConfig(BaseModel):
    """The size of a stand-in data set, and the mixture of tastes in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, description="Same seed and sizes, same bytes.")
    users: int = Field(ge=1)
    playlists: int = Field(ge=20)
    rows: int = Field(ge=100, description="Rows of the playlists file, met within a few percent.")
    tracks: int = Field(ge=100, description="Tracks playlists draw from; the rarest go unused.")
    artists: int = Field(ge=20)
    groups: int = Field(ge=2, le=len(GENRE_NAMES), description="Taste groups, one genre each.")
    feature_rows: int = Field(ge=100, description="Rows of the features file.")
    featured_share: float = Field(
        0.1, gt=0, le=1, description="Part of the tracks that the features file has."
    )
    scene_share: float = Field(
        0.6, ge=0, le=1, description="Part of a short playlist drawn from its own few scenes."
    )
    noise_share: float = Field(0.12, ge=0, le=1, description="Part drawn from any group at all.")
    genre_title_share: float = Field(0.3, ge=0, le=0.9, description="Titles that name the genre.")
    ordered: int = Field(
        0,
        ge=0,
        le=1,
        description="1: playlists go from taste to taste, artist by artist; 0: A to Z.",
    )
    malformed_share: float = Field(0.009, ge=0, le=0.04, description="Rows without four fields.")

    @model_validator(mode="after")
    def _consistent(self) -> SampleConfig:
        if self.artists < 4 * self.groups or self.tracks < self.artists:
            raise ValueError("needs artists >= 4 x groups and tracks >= artists")
        if self.playlists < self.users:
            raise ValueError("needs playlists >= users")
        if self.feature_rows < 1.2 * self.featured_share * self.tracks:
            raise ValueError("needs feature_rows >= 1.2 x featured_share x tracks")
        if self.scene_share + self.noise_share > 1:
            raise ValueError("needs scene_share + noise_share <= 1")
        return self

    @classmethod
    def scaled(cls, scale: float = 1.0, **overrides: float) -> SampleConfig:
        """The real files' sizes times ``scale`` (1: 12.9M rows); ``overrides`` replace fields.

        Raises:
            InputError: ``scale`` isn't above 0 and at most 10.
        """
        if not 0 < scale <= 10:
            raise InputError(f"scale: must be above 0 and at most 10, got {scale}")
        sizes = {name: round(full * scale) for name, full in _FULL.items()}
        groups = int(np.clip(150 * np.sqrt(scale), 8, 150))
        return cls.model_validate({**sizes, "groups": groups, **overrides})

    @classmethod
    def demo(cls, **overrides: float) -> SampleConfig:
        """About 1,000 playlists x 25 tracks, 3,000 of them with features: minutes to train on."""
        sizes = {"users": 110, "playlists": 1_030, "rows": 26_500, "tracks": 4_900, "artists": 600}
        features = {"groups": 24, "feature_rows": 4_500, "featured_share": 0.75}
        return cls.model_validate({**sizes, **features, **overrides})


@dataclass(frozen=True)
class InventedCatalogue:
    """Invented artists and their tracks.

    Artists of a group, and tracks of an artist, have consecutive numbers, most popular first.

    Attributes:
        group_start: int64 ``[groups + 1]``, the first artist of each group.
        group_share: float ``[groups]``, sums to 1.
        track_start: int64 ``[artists + 1]``, the first track of each artist.
        track_artist: int32 ``[tracks]``.
        featured: bool ``[tracks]``, in the features file.
        artists: ``[artists]`` names.
        tracks: ``[tracks]`` names.
        namer: makes more names like these; genres are the groups.
    """

    group_start: np.ndarray
    group_share: np.ndarray
    track_start: np.ndarray
    track_artist: np.ndarray
    featured: np.ndarray
    artists: list[str]
    tracks: pa.Array
    namer: Namer

    @property
    def artist_group(self) -> np.ndarray:
        """Int ``[artists]``: the group of each one."""
        return np.repeat(np.arange(len(self.group_share)), np.diff(self.group_start))


def build_catalogue(config: SampleConfig) -> InventedCatalogue:
    """Draw the artists and tracks of a sample."""
    rng = np.random.default_rng((config.seed, 1))
    share = (np.arange(config.groups) + 4.0) ** -0.6
    share /= share.sum()
    per_group = 4 + np.floor(share * (config.artists - 4 * config.groups)).astype(np.int64)
    per_group[0] += config.artists - per_group.sum()
    group_start = np.concatenate([[0], np.cumsum(per_group)])
    rank = np.arange(config.artists) - np.repeat(group_start[:-1], per_group)

    size = (rank + 10.0) ** -0.35 * rng.lognormal(0, 0.8, config.artists)
    per_artist = 1 + np.floor(size / size.sum() * (config.tracks - config.artists)).astype(np.int64)
    per_artist[: config.tracks - per_artist.sum()] += 1
    track_start = np.concatenate([[0], np.cumsum(per_artist)])
    track_artist = np.repeat(np.arange(config.artists, dtype=np.int32), per_artist)
    # Better-known tracks are likelier to have features.
    within = np.arange(config.tracks) - track_start[track_artist]
    likely = 0.3 + 2 / (1 + within)
    featured = rng.random(config.tracks) < likely / likely.mean() * config.featured_share

    namer = Namer(rng, GENRE_NAMES[: config.groups])
    group = np.repeat(np.arange(config.groups), per_group)
    names = namer.tracks(rng, group[track_artist], min(50_021, config.tracks // 9))
    artists = namer.artists(rng, group)
    return InventedCatalogue(
        group_start, share, track_start, track_artist, featured, artists, names, namer
    )
