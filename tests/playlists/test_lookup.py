import numpy as np
import pytest


@pytest.fixture(scope="module")
def recommender(make_recommender):
    return make_recommender()


@pytest.mark.parametrize(
    "asked",
    [
        "id3",
        ("Duo - One", "Alive - Live"),
        ("DUO - one", "  alive - LIVE "),
        "Duo - One - Alive - Live",
        "duo - one - ALIVE - live",
        "spotify:track:id3",
        "Spotify:Track:id3",
        "https://open.spotify.com/track/id3?si=x",
        "http://open.spotify.com/intl-de/track/id3/",
        " open.spotify.com/track/id3#0:42 ",
        "<https://open.spotify.com/embed/track/id3>",
        "Duo - One – Alive - Live",
        "Duo – One — Alive ‐ Live",
        "Ｄｕｏ - One - Alive － Live",
        "Duo - One-Alive - Live",
        "Duo - One -Alive - Live",
        "Duo - One--Alive - Live",
        ("Duo – One", "Alive\u00a0−\u200b\u2009Live"),
    ],
)
def test_a_track_is_found_however_it_is_given(recommender, asked):
    found = recommender.resolve([asked])
    assert found.rows.tolist() == [3]
    assert (found.by_artist, found.unknown) == ([], [])
    assert recommender.complete([asked]) == recommender.complete(["id3"])


def test_resolving_keeps_order_drops_repeats_and_tells_three_kinds_apart(recommender):
    found = recommender.resolve(
        [
            "id8",
            "Artist 0 - Song 1",
            "nothing",
            "Artist 4 - New",
            "id8",
            ("Artist 0", "song 1"),
            ("ARTIST 4", " new "),
            ("Nobody", "Nothing"),
            "nothing",
        ]
    )
    assert found.rows.tolist() == [8, 1]
    assert [(each.name, each.artist, each.asked) for each in found.by_artist] == [
        ("New", 4, "Artist 4 - New")
    ]
    assert found.unknown == ["nothing", "Nobody - Nothing"]
    assert len(found) == 3
    none = recommender.resolve([])
    assert none.rows.dtype == np.int64
    assert len(none) == 0


def test_a_dash_within_a_word_parts_only_what_is_known(recommender):
    found = recommender.resolve(["Artist 4-New", "Artist 4 –New", "Artist 4—Song 9"])
    assert found.unknown == ["Artist 4-New"]
    assert [each.name for each in found.by_artist] == ["New"]
    assert found.rows.tolist() == [9]


def test_a_link_to_something_else_is_unknown_as_it_was_given(recommender):
    links = ["https://open.spotify.com/album/id3", "spotify:track:nowhere", "spotify:artist:id3"]
    assert recommender.resolve(links).unknown == links


def test_name_and_artist_are_not_swapped(recommender):
    assert recommender.resolve(["Song 1 - Artist 0"]).unknown == ["Song 1 - Artist 0"]


def test_of_the_artists_that_a_text_may_name_the_longest_is_meant(recommender):
    (new,) = recommender.resolve(["Duo - One - New - Live"]).by_artist
    assert (new.artist, new.name) == (1, "New - Live")


@pytest.mark.parametrize("asked", ["Artist 4 -  ", ("Artist 4", ""), "Artist 4", "New - Artist 4"])
def test_an_artist_alone_is_no_track(recommender, asked):
    assert len(recommender.resolve([asked])) == 0


def test_an_artist_whom_no_training_playlist_has_stands_in_for_nothing(recommender):
    # Artist 12's own tracks are in no playlist, nor is any on which they are a guest.
    assert recommender.popularity[[24, 25]].sum() == 0
    assert recommender.resolve(["Artist 12 - New"]).unknown == ["Artist 12 - New"]
