"""The configuration of generated listening: how much there is, and how people listen."""

from __future__ import annotations

from datetime import date

from pydantic import BaseModel, ConfigDict, Field, model_validator

from spotify_engine.invented_names import GENRE_NAMES


class Mixture(BaseModel):
    """How often each of six ways of choosing the next song is taken; normalised to sum to 1.

    The first three need a song before; at the start of a session the others share their part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    album: float = Field(0.10, ge=0)
    """The track after the last one by the same artist."""
    artist: float = Field(0.15, ge=0)
    """Another song of a recent artist."""
    follow: float = Field(0.25, ge=0)
    """A song of an artist who often comes after a recent one."""
    genre: float = Field(0.22, gt=0)
    """A song of a genre that suits taste, hour and the mood of the session."""
    favourite: float = Field(0.23, ge=0)
    """One of the user's own favourites, those that suit the hour first."""
    popular: float = Field(0.05, gt=0)
    """Any song, by its popularity."""

    @property
    def weights(self) -> tuple[float, ...]:
        """In the order above, summing to 1."""
        values = tuple(self.model_dump().values())
        return tuple(value / sum(values) for value in values)


class ListenerType(BaseModel):
    """The habits that users of one type have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(ge=0)
    """Part of the users; the shares of the three types are normalised."""
    sessions: float = Field(gt=0)
    """Mean number of sessions over the whole time."""
    length: float = Field(gt=1)
    """Mean number of songs a session aims at; it ends early when the next session is near."""
    skip: float = Field(ge=0, le=1)
    """Chance that a song is skipped which doesn't suit the user's taste at all."""
    genres: tuple[int, int] = (2, 5)
    """Fewest and most genres a user likes."""
    favourites: int = Field(ge=1)
    """Songs that the user comes back to."""
    mixture: Mixture = Mixture()

    @model_validator(mode="after")
    def _a_range(self) -> ListenerType:
        low, high = self.genres
        if not 1 <= low <= high:
            raise ValueError(f"genres is [{low}, {high}]; give [fewest, most], at least 1")
        return self


class ListenerTypes(BaseModel):
    """The three types of users."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    casual: ListenerType = ListenerType(
        share=0.6, sessions=20, length=8, skip=0.30, genres=(2, 4), favourites=15,
        mixture=Mixture(favourite=0.27, popular=0.08, genre=0.20, follow=0.22),
    )  # fmt: skip
    regular: ListenerType = ListenerType(
        share=0.3, sessions=50, length=11, skip=0.40, genres=(3, 7), favourites=30
    )
    power: ListenerType = ListenerType(
        share=0.1, sessions=110, length=15, skip=0.55, genres=(6, 12), favourites=48,
        mixture=Mixture(favourite=0.18, popular=0.03, genre=0.26, follow=0.28),
    )  # fmt: skip

    @property
    def all(self) -> tuple[ListenerType, ...]:
        """In the order of ``schema.USER_TYPES``."""
        return (self.casual, self.regular, self.power)

    @model_validator(mode="after")
    def _somebody(self) -> ListenerTypes:
        if sum(each.share for each in self.all) <= 0:
            raise ValueError("the shares of the types are all 0; give one of them a share")
        return self


class SyntheticConfig(BaseModel):
    """Sizes and shapes of a generated data set. Same seed and configuration, same bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0)
    users: int = Field(1_000, ge=1)
    songs: int = Field(5_000, ge=1)
    artists: int = Field(500, ge=1)
    genres: int = Field(35, ge=1, le=len(GENRE_NAMES))
    days: int = Field(90, ge=7, le=3_650)
    """Length of the time in which sessions start."""
    start: date = date(2025, 1, 6)
    activity: float = Field(1.0, gt=0)
    """Factor on everyone's number of sessions. They start at least 45 minutes apart, so beyond
    about 10, more days or users add more plays than a higher factor."""
    artist_genres: tuple[int, int] = (1, 3)
    """Fewest and most genres of an artist; songs inherit them all."""
    genre_zipf: float = Field(0.8, ge=0)
    """The genre of rank r is popular in proportion to r to the power of minus this."""
    artist_pareto: float = Field(1.2, gt=0)
    """Shape of the Pareto distribution of artists' popularity; smaller is more unequal."""
    song_zipf: float = Field(0.9, ge=0)
    """The same as genre_zipf for the songs of one artist."""
    followers: int = Field(4, ge=1, le=50)
    """Artists that often come after a given one."""
    memory: int = Field(3, ge=1, le=10)
    """Recent songs whose artists move the next choice; each counts half of the one after it."""
    mood: float = Field(0.35, gt=0, le=1)
    """How fast the mood of a session follows its songs: 1 forgets all but the last."""
    mood_floor: float = Field(0.08, gt=0)
    """The weight that genres far from the mood keep; larger is a weaker mood."""
    drift: float = Field(0.35, ge=0, le=1)
    """Part of the mood that moves on to the genres that come after, at every song."""
    rhythm: float = Field(1.2, ge=0)
    """How strongly genres depend on the hour."""
    weekend: float = Field(0.4, ge=0)
    """How strongly genres depend on whether it is the weekend."""
    longest_session: int = Field(40, ge=2, le=200)
    """Songs at most."""
    types: ListenerTypes = ListenerTypes()
    users_per_block: int = Field(1_000, ge=1)
    """Users that are drawn together: a block is what one task generates. It decides which random
    numbers a user gets, so the bytes depend on it, and on nothing else of how work is shared."""

    @model_validator(mode="after")
    def _possible(self) -> SyntheticConfig:
        low, high = self.artist_genres
        if not 1 <= low <= high:
            raise ValueError(
                f"artist_genres is [{low}, {high}]; give [fewest, most], at least 1 each"
            )
        if high > self.genres:
            raise ValueError(
                f"artist_genres asks for up to {high} genres an artist, and there are "
                f"{self.genres}; raise genres or lower artist_genres"
            )
        for name, kind in zip(("casual", "regular", "power"), self.types.all, strict=True):
            if kind.genres[1] > self.genres:
                raise ValueError(
                    f"types.{name}.genres asks for up to {kind.genres[1]} genres a user, and there "
                    f"are {self.genres}; raise genres or lower types.{name}.genres"
                )
        if self.artists < self.genres:
            raise ValueError(
                f"{self.artists} artists can't play all {self.genres} genres; raise artists or "
                "lower genres"
            )
        if self.songs < self.artists:
            raise ValueError(
                f"{self.songs} songs are fewer than {self.artists} artists; raise songs or lower "
                "artists"
            )
        if self.songs < 4 * self.longest_session:
            raise ValueError(
                f"{self.songs} songs are too few for sessions of up to {self.longest_session} "
                "different ones; raise songs to four times that, or lower longest_session"
            )
        return self

    @classmethod
    def tiny(cls, **changes: object) -> SyntheticConfig:
        """Some 2,000 plays of 30 users and 120 songs: for tests and first looks."""
        kinds = {
            "casual": {"share": 0.6, "sessions": 10, "length": 6, "skip": 0.3, "favourites": 8},
            "regular": {"share": 0.3, "sessions": 16, "length": 6, "skip": 0.4, "favourites": 10},
            "power": {"share": 0.1, "sessions": 24, "length": 8, "skip": 0.5, "favourites": 12},
        }
        small = {"users": 30, "songs": 120, "artists": 20, "genres": 6, "days": 30}
        rest = {
            "longest_session": 20,
            "users_per_block": 10,
            "artist_genres": (1, 2),
            "types": kinds,
        }
        return cls.model_validate({**small, **rest, **changes})

    @property
    def blocks(self) -> int:
        """Number of blocks of users."""
        return -(-self.users // self.users_per_block)
