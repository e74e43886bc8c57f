"""What people write is the track they mean, or none: never another one without a word."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotify_engine.names import bare, without_version
from spotify_engine.playlists.recommend.lookup import Lookup
from spotify_engine.playlists.recommend.outcomes import Outcome, summary
from spotify_engine.playlists.recommend.recognising import Recogniser, misspelt
from spotify_engine.reading.formats.entries import Entry
from spotify_engine.reading.formats.kinds import ExportFormat
from spotify_engine.reading.formats.reader import read_playlists
from spotify_engine.reading.formats.writer import Written, write_playlist

TRACKS = [
    ("6habFhsOp2NvshLv26DqMb", "Radiohead", "Karma Police"),
    ("t1", "Radiohead", "No Surprises - Remastered"),
    ("t2", "Stone Temple Pilots", "Creep"),
    ("t3", "Sigur Rós", "Sæglópur"),
    ("t4", "Tyler, The Creator", "See You Again (feat. Kali Uchis)"),
    ("t5", "Simon & Garfunkel", "Mrs. Robinson"),
    ("t6", "AC/DC", "T.N.T."),
    ("t7", "Ben E. King", "Stand by Me"),
    ("t8", "The Beatles", "Revolution 9"),
    ("t9", "The Beatles", "Here Comes the Sun"),
    ("t10", "The Beatles", "Here Comes the Sun (Live)"),
    ("t11", "!!!", "Pardon My Freedom"),
    ("t12", "Jay-Z", "99 Problems"),
    ("t13", "Godspeed You! Black Emperor", "Storm - Levez vos skinny fists"),
    ("t14", "Дельфин", "Весна"),
    ("t15", "Nirvana", "Smells Like Teen Spirit"),
]
IDS, ARTISTS, NAMES = ([each[i] for each in TRACKS] for i in range(3))


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    names = list(dict.fromkeys(ARTISTS))
    tracks = pa.table({"id": IDS, "name": NAMES, "artist_name": ARTISTS})
    lookup = Lookup(tracks, pa.table({"name": names}), np.ones(len(names), bool))
    return Recogniser(lookup, IDS, NAMES, ARTISTS, np.arange(len(IDS))[::-1])


def one(recogniser: Recogniser, text: str) -> Outcome:
    [outcome] = recogniser.recognise([Entry(text, 1)])
    return outcome


@pytest.mark.parametrize(
    ("text", "how", "row"),
    [
        ("radiohead - KARMA POLICE", "exact", 0),
        ("spotify:track:6habFhsOp2NvshLv26DqMb", "exact", 0),
        ("https://open.spotify.com/intl-de/track/6habFhsOp2NvshLv26DqMb?si=1", "exact", 0),
        ("t3", "exact", 3),
        ("1. Radiohead – Karma Police", "exact", 0),
        ("12) Radiohead — Karma Police 4:21", "exact", 0),
        ("• Radiohead\tKarma Police\t4:21", "exact", 0),
        ("Karma Police by Radiohead", "exact", 0),
        ("Stand by Me by Ben E. King", "exact", 7),
        ("Ben E. King - Stand by Me", "exact", 7),
        ("“Karma Police” by Radiohead", "exact", 0),
        ('Radiohead - "Karma Police"', "exact", 0),
        ("99 Problems by Jay-Z", "exact", 12),
        ("Jay-Z - 99 Problems", "exact", 12),
        ("Godspeed You! Black Emperor - Storm - Levez vos skinny fists", "exact", 13),
        ("Karma Police - Radiohead", "variant", 0),
        ("Sigur Ros - Saeglopur", "variant", 3),
        ("Tyler, The Creator & Kali Uchis - See You Again", "variant", 4),
        ("Tyler, the Creator feat. Kali Uchis - See You Again", "variant", 4),
        ("Simon and Garfunkel - Mrs Robinson", "variant", 5),
        ("ACDC - TNT", "fuzzy", 6),
        ("AC DC - TNT", "variant", 6),
        ("AC/DC - T N T", "fuzzy", 6),
        ("Radiohead - No Surprises", "variant", 1),
        ("Radiohead - Karma Police (2017 Remaster) [Official Video]", "variant", 0),
        ("Beatles - Here Comes the Sun - Remastered 2009", "variant", 9),
        ("The Beatles - Here Comes The Sun (Live at Home)", "variant", 10),
        ("Radiohed - Karma Police", "fuzzy", 0),
        ("Nirvana - Smels Like Teen Spirit", "fuzzy", 15),
        ("Nirvana - Smells Liek Teen Spirti", "fuzzy", 15),
        ("Radiohead - Creep", "by artist", None),
        ("Creep - Radiohead", "by artist", None),
        ("The Beatles - Revolution 1", "by artist", None),
        ("The Beatles - Revolution", "by artist", None),
        ("Nirvana - Smells Like Teen Spirit (Tori Remix)", "by artist", None),
        ("Somebody - Karma Police", "not found", None),
        ("Karma Police", "not found", None),
        ("Stone Temple Pilot - Sleep", "not found", None),
        ("Дельфин - Весна", "exact", 14),
        ("-", "not found", None),
    ],
)
def test_how_a_text_is_recognised(
    recogniser: Recogniser, text: str, how: str, row: int | None
) -> None:
    found = one(recogniser, text)
    assert (found.how, found.row) == (how, row)


def test_another_artists_song_is_the_nearest_and_no_more(recogniser: Recogniser) -> None:
    found = one(recogniser, "Radiohead - Creep")
    assert (found.artist, found.name) == ("Radiohead", "Creep")
    missing = one(recogniser, "Somebody - Karma Police")
    assert missing.nearest == 0
    assert recogniser.asked([found, missing]) == [
        ("Radiohead", "Creep"), "Somebody - Karma Police",
    ]  # fmt: skip


def test_columns_are_not_swapped_and_the_first_of_joined_artists_counts(
    recogniser: Recogniser,
) -> None:
    entries = [
        Entry("x", 1, "0" * 22, "See You Again", ("Tyler, The Creator, Kali Uchis",)),
        Entry("x", 2, None, "Radiohead", ("Karma Police",)),
        Entry("x", 3, "spotify:track:nope", "Karma Police", ("Guest", "Radiohead")),
    ]
    assert [(each.how, each.row) for each in recogniser.recognise(entries)] == [
        ("variant", 4), ("not found", None), ("exact", 0),
    ]  # fmt: skip


def test_a_summary_in_words(recogniser: Recogniser) -> None:
    lines = ["t1", "Radiohed - Karma Police", "Radiohead - Creep", "x", "y"]
    outcomes = recogniser.recognise(Entry(text, 1) for text in lines)
    assert summary(outcomes) == "2 known (1 by likeness), 1 by their artist, 2 not found"
    assert summary(outcomes[:1]) == "1 known, 0 by their artist, 0 not found"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("she loves you", "he loves you"),
        ("creep", "creed"),
        ("love", "live"),
        ("symphony no 5", "symphony no 6"),
        ("shine on part i", "shine on part ii"),
        ("summer of 68", "summer of 69"),
        ("no surprises", "surprises"),
    ],
)
def test_other_names_are_no_misspellings(name: str, other: str) -> None:
    assert misspelt(name, other) == misspelt(other, name) == 0


def test_likeness_is_told() -> None:
    assert misspelt("night swimming", "nightswimming") > 95
    assert 85 <= misspelt("bohemian rapsody", "bohemian rhapsody") < 100


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Creep - Remastered 2011", "creep"),
        ("Creep (feat. X) - Live at Y", "creep"),
        ("Creep [Official Music Video]", "creep"),
        ("Creep ft. X", "creep"),
        ("Live and Let Die", "live and let die"),
        ("Love Story (Taylor’s Version)", "love story taylors version"),
        ("Creep - Acoustic", "creep acoustic"),
        ("(Live)", "live"),
        ("Feat. Nobody", "feat nobody"),
        ("!!!", "!!!"),
    ],
)
def test_names_without_what_is_said_of_a_version(name: str, short: str) -> None:
    assert without_version(name) == short
    assert bare(bare(name)) == bare(name)


LETTERS = st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp", "Cn", "Co"))
NAME = (
    st.text(LETTERS, min_size=1, max_size=20)
    .map(lambda text: " ".join(text.split()))
    .filter(lambda text: any(map(str.isalpha, text)))
)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(NAME, NAME), min_size=1, max_size=4, unique_by=lambda x: bare(" ".join(x))),
    st.sampled_from(["exportify", "soundiiz", "m3u", "text"]),
)
def test_a_written_playlist_is_recognised_as_the_same_tracks(
    pairs: list[tuple[str, str]], format: ExportFormat
) -> None:
    artists, names = [each[0] for each in pairs], [each[1] for each in pairs]
    ids = [f"id{i}" for i in range(len(pairs))]
    tracks = pa.table({"id": ids, "name": names, "artist_name": artists})
    lookup = Lookup(tracks, pa.table({"name": artists}), np.ones(len(pairs), bool))
    recogniser = Recogniser(lookup, ids, names, artists, np.zeros(len(pairs)))
    written = [Written(*each) for each in zip(ids, names, artists, strict=True)]
    [playlist] = read_playlists(write_playlist(written, "x", format)).playlists
    found = recogniser.recognise(playlist.entries)
    assert [each.row for each in found] == list(range(len(pairs)))
