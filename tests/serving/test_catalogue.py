"""Search by part of a name or artist."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.catalogue import Catalogue

TRACKS = [
    ("Bohemian Rhapsody", "Queen", 90),
    ("Bohemian Rhapsody - Live", "Queen", 10),
    ("Dancing Queen", "ABBA", 80),
    ("Halo", "Beyoncé", 70),
    ("Für Elise", "Beethoven", 5),
    ("99 Luftballons", "Nena", 30),
    ('7" Single', 'Quote "Q" Man', 1),
    ("東京の夜", "椎名林檎", 3),
    ("Love", "A", 1),
    ("Love", "B", 50),
]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    names, artists, popularity = zip(*TRACKS, strict=True)
    return Catalogue([str(i) for i in range(len(TRACKS))], names, artists, np.array(popularity))


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("bohemian", 0),
        ("bohemian live", 1),
        ("boheminan rapsody", 0),
        ("rhapsody queen", 0),
        ("queen dancing", 2),
        ("dancng quen", 2),
        ("beyonce", 3),
        ("BEYONCÉ", 3),
        ("hal", 3),
        ("fur elise", 4),
        ("luftbalons", 5),
        ("99", 5),
        ('7"', 6),
        ('quote "q"', 6),
        ("東京", 7),
        ("東京の夜", 7),
        ("love", 9),
        ("love a", 8),
        ("b", 0),
    ],
)
def test_the_track_that_is_meant_comes_first(catalogue: Catalogue, query: str, first: int) -> None:
    assert catalogue.search(query, 3)[0] == first


def test_lists_are_no_longer_than_asked(catalogue: Catalogue) -> None:
    assert len(catalogue.search("queen", 2)) == 2
    assert catalogue.search("zzzzzz", 5) == []
    assert catalogue.search("  ", 5) == []


@given(st.text(max_size=40))
def test_no_query_is_an_error(query: str) -> None:
    found = _small().search(query, 5)
    assert len(found) <= 5
    assert len(set(found)) == len(found)


@given(st.sampled_from(range(len(TRACKS))))
def test_a_whole_name_and_artist_finds_its_track(row: int) -> None:
    name, artist, _ = TRACKS[row]
    assert _small().search(f"{name} {artist}", 1) == [row]


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("bohemian rhapsody – live", "bohemian rhapsody - live"),
        ("“quote” q", '"quote" q'),
        ("Ｑｕｅｅｎ", "queen"),
        ("Beyonce\u0301", "beyoncé"),
    ],
)
def test_other_signs_find_the_same(catalogue: Catalogue, query: str, plain: str) -> None:
    assert catalogue.search(query, 5) == catalogue.search(plain, 5) != []


def test_an_id_comes_first_and_a_link_alone() -> None:
    names, artists, popularity = zip(*TRACKS, strict=True)
    ids = [f"id{i}" for i in range(len(TRACKS))]
    ids[3], ids[9] = "queen", "spotify:track:id9"
    catalogue = Catalogue(ids, names, artists, np.array(popularity))
    assert catalogue.search("queen", 4) == [3, *_small().search("queen", 3)]
    assert catalogue.search("spotify:track:queen", 3) == [3]
    assert catalogue.search(" https://open.spotify.com/intl-de/track/id2?si=halo ", 3) == [2]
    assert catalogue.search("id9", 1) == [9]
    # Of a link to something else, no word is searched for.
    assert catalogue.search("https://open.spotify.com/track/halo", 3) == []


_made: list[Catalogue] = []


def _small() -> Catalogue:
    if not _made:
        names, artists, popularity = zip(*TRACKS, strict=True)
        _made.append(Catalogue(["x"] * len(TRACKS), names, artists, np.array(popularity)))
    return _made[0]
