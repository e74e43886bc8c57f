"""Invented names: true to their genre, told apart, and nobody's."""

from __future__ import annotations

import numpy as np
import pytest

from spotify_engine.invented_names import GENRE_NAMES, Namer

# Names that the words could make by accident, or that a reader would look for first.
REAL = {
    "the beatles", "radiohead", "metallica", "iron maiden", "black sabbath", "judas priest",
    "slayer", "taylor swift", "beyoncé", "drake", "kendrick lamar", "lil wayne", "lil baby",
    "big sean", "young thug", "daft punk", "deadmau5", "avicii", "tiësto", "dua lipa",
    "lady gaga", "adele", "bob marley", "fela kuti", "miles davis", "ella fitzgerald",
    "nina simone", "etta james", "johnny cash", "hank williams", "waylon jennings",
    "dolly parton", "shakira", "bad bunny", "gilberto gil", "caetano veloso", "bts", "blackpink",
    "twice", "arctic monkeys", "the strokes", "the national", "interpol", "coldplay", "oasis",
    "blur", "the clash", "green day", "blink-182", "nirvana", "pearl jam", "the rolling stones",
    "led zeppelin", "pink floyd", "queen", "deep purple", "whitesnake", "marvin gaye",
    "otis redding", "curtis mayfield", "max richter", "enya",
}  # fmt: skip


@pytest.fixture(scope="module")
def namer() -> Namer:
    return Namer(np.random.default_rng(7), GENRE_NAMES)


def of(genre: str, n: int = 400) -> np.ndarray:
    return np.full(n, GENRE_NAMES.index(genre))


@pytest.mark.parametrize(
    ("genre", "words", "others"),
    [
        ("heavy metal", ("Grave", "Throne", "Iron", "Abyss"), ("Truck", "Corazón", "Lullaby")),
        ("country", ("Truck", "Creek", "Barn", "Whiskey"), ("Throne", "Neon", "Corazón")),
        ("deep house", ("Neon", "Sunset", "Pulse", "Ibiza"), ("Truck", "Throne", "Saudade")),
        ("salsa", ("Corazón", "Noche", "Baila", "Luna"), ("Truck", "Throne", "Neon")),
        ("ambient", ("Still", "Rain", "Nocturne", "Lullaby"), ("Throne", "Truck", "Hustle")),
    ],
)
def test_names_sound_like_their_genre_and_not_like_others(
    namer: Namer, genre: str, words: tuple[str, ...], others: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(1)
    names = namer.tracks(rng, of(genre), 10**9).to_pylist() + namer.artists(rng, of(genre))
    text = "\n".join(names)
    assert all(word in text for word in words)
    assert not any(word in text for word in others)


def test_scenes_of_other_languages_are_written_in_them(namer: Namer) -> None:
    rng = np.random.default_rng(2)
    written = {genre: "".join(namer.tracks(rng, of(genre), 10**9).to_pylist())
               for genre in ("k-pop", "j-pop", "mandopop", "fado", "schlager")}  # fmt: skip
    assert any("가" <= letter <= "힣" for letter in written["k-pop"])
    assert any("ぁ" <= letter <= "ん" for letter in written["j-pop"])
    assert any("一" <= letter <= "鿿" for letter in written["mandopop"])
    assert "ção" in written["fado"]
    assert "ü" in written["schlager"]


def test_artists_are_told_apart_and_none_is_real(namer: Namer) -> None:
    names = namer.artists(np.random.default_rng(3), np.arange(40_000) % len(GENRE_NAMES))
    assert len(set(names)) == len(names)
    assert not REAL & {name.lower() for name in names}


def test_an_artist_s_titles_are_nearly_all_different(namer: Namer) -> None:
    titles = namer.tracks(np.random.default_rng(4), of("techno", 60), 10**9).to_pylist()
    assert len(set(titles)) >= 56


def test_the_same_state_gives_the_same_names() -> None:
    first, second = (
        Namer(np.random.default_rng(5), GENRE_NAMES[:9]).tracks(
            np.random.default_rng(6), np.arange(300) % 9, 50
        )
        for _ in range(2)
    )
    assert first.equals(second)
    assert sum("\n" in name for name in first.to_pylist()) == 6


def test_none_are_asked_for(namer: Namer) -> None:
    nothing = np.array([], np.int64)
    assert len(namer.tracks(np.random.default_rng(0), nothing, 5)) == 0
    assert namer.artists(np.random.default_rng(0), nothing) == []
