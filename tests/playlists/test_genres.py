from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.errors import InputError
from spotify_engine.playlists.schema import TABLES
from spotify_engine.playlists.tables.genre_vocabulary import GenreVocabulary
from spotify_engine.playlists.tables.genres import (
    GenreConfig,
    mine_artist_genres,
    read_artist_genres,
)
from spotify_engine.ragged import Ragged

SMALL = GenreVocabulary({name: [] for name in ("metal", "jazz", "rap", "soul")})
ANY_VOTE = GenreConfig(min_artists=1)


def rows(genres: pa.Table, artist_genres: pa.Table) -> list[tuple[int, str, float]]:
    names = genres["name"].to_pylist()
    return [
        (row["artist"], names[row["genre"]], pytest.approx(row["weight"]))
        for row in artist_genres.to_pylist()
    ]


# Tracks 0..4 by artists 0, 0, 1, 2, 2.
ARTIST = np.array([0, 0, 1, 2, 2], dtype=np.int32)
TITLES = ["Metal", "my metal & jazz", "road trip", "jazz"]
TRAIN = [[0, 1, 2], [1, 3], [0, 4], [3, 4]]


def mine(titles: list[str], train: list[list[int]], config: GenreConfig, n_artists: int = 3):
    return mine_artist_genres(titles, Ragged.from_lists(train), ARTIST, n_artists, config, SMALL)


def test_mining_counts_playlists_not_tracks() -> None:
    genres, artist_genres = mine(TITLES, TRAIN, ANY_VOTE)
    assert genres.schema == TABLES["genres"]
    assert artist_genres.schema == TABLES["artist_genres"]
    assert genres.to_pydict() == {"genre": [0, 1], "name": ["jazz", "metal"]}
    # Artist 0: metal in two playlists (by three tracks), jazz in one.
    assert rows(genres, artist_genres) == [
        (0, "jazz", 1 / 3),
        (0, "metal", 2 / 3),
        (1, "metal", 1.0),
        (2, "jazz", 2 / 3),
        (2, "metal", 1 / 3),
    ]


def test_held_out_tracks_do_not_vote() -> None:
    full = rows(*mine(TITLES, TRAIN, ANY_VOTE))
    assert (1, "metal", 1.0) in full
    without = [[0, 1], *TRAIN[1:]]  # artist 1's only track in a titled playlist is held out
    assert rows(*mine(TITLES, without, ANY_VOTE)) == [row for row in full if row[0] != 1]


def test_min_votes_min_artists_and_the_cut() -> None:
    assert rows(*mine(TITLES, TRAIN, GenreConfig(min_votes=2, min_artists=1))) == [
        (0, "metal", 1.0),
        (2, "jazz", 1.0),
    ]
    # With one genre an artist, jazz has one artist; without it artist 2 falls back to metal.
    genres, artist_genres = mine(TITLES, TRAIN, GenreConfig(max_genres_per_artist=1))
    assert rows(genres, artist_genres) == [(i, "metal", 1.0) for i in range(3)]
    assert genres["genre"].to_pylist() == [0]


def test_ties_are_broken_by_name() -> None:
    config = GenreConfig(max_genres_per_artist=2, min_artists=1)
    assert rows(*mine(["soul, rap, jazz"], [[0]], config)) == [(0, "jazz", 0.5), (0, "rap", 0.5)]


@pytest.mark.parametrize(("titles", "train"), [([], []), (["road trip"], [[0]]), (["jazz"], [[]])])
def test_nothing_found_gives_empty_tables(titles: list[str], train: list[list[int]]) -> None:
    for table, name in zip(mine(titles, train, ANY_VOTE), ("genres", "artist_genres"), strict=True):
        assert table.num_rows == 0
        assert table.schema == TABLES[name]


def test_titles_must_match_playlists() -> None:
    with pytest.raises(ValueError, match="2 titles for 1"):
        mine(["jazz", "rap"], [[0]], ANY_VOTE)


@given(st.data())
def test_mining_equals_counting_by_hand(data: st.DataObject) -> None:
    names = ["metal", "jazz", "rap", "soul"]
    named = data.draw(st.lists(st.lists(st.sampled_from(names), max_size=3), max_size=8))
    track = st.lists(st.integers(0, 4), max_size=5)
    train = data.draw(st.lists(track, min_size=len(named), max_size=len(named)))
    votes: dict[int, dict[str, int]] = {}
    for genres, tracks in zip(named, train, strict=True):
        for artist in {int(ARTIST[t]) for t in tracks}:
            for genre in set(genres):
                of_artist = votes.setdefault(artist, {})
                of_artist[genre] = of_artist.get(genre, 0) + 1
    expected = []
    for artist, of_artist in sorted(votes.items()):
        top = sorted(sorted(of_artist), key=lambda genre: -of_artist[genre])[:2]
        total = sum(of_artist[genre] for genre in top)
        expected += [(artist, genre, of_artist[genre] / total) for genre in sorted(top)]
    config = GenreConfig(max_genres_per_artist=2, min_artists=1)
    assert rows(*mine([" / ".join(genres) for genres in named], train, config)) == expected


ARTISTS = pa.table(
    [pa.array([0, 1, 2], pa.int32()), pa.array(["Björk ", "AC/DC", 'The "Q", Band']), [1, 1, 1]],
    schema=pa.schema([("artist", pa.int32()), ("name", pa.string()), ("n_tracks", pa.int64())]),
)


def write(folder: Path, text: str) -> str:
    path = folder / "genres.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_reading_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufeffGenre,artist,count\r\n"
        "Art  Pop,BJÖRK,2\r\n"
        "art pop, björk,1\r\n"
        "trip hop,Björk,1\r\n"
        'rock,"The ""Q"", Band",5\r\n'
        "\r\n"
        "rock,ac/dc,many\r\n"
        "rock,ac/dc,-1\r\n"
        "rock,ac/dc,nan\r\n"
        "rock,ac/dc\r\n"
        ",ac/dc,1\r\n"
        "rock,,1\r\n"
        'rock,"ac/dc,1\r\n'
        "rock,nobody,1\r\n"
        "pop,nobody,1\r\n",
    )
    result = read_artist_genres(path, ARTISTS, ANY_VOTE)
    assert rows(result.genres, result.artist_genres) == [
        (0, "art pop", 0.75),
        (0, "trip hop", 0.25),
        (2, "rock", 1.0),
    ]
    assert result.counts == {
        "rows": 13,
        "rejected": 7,
        "duplicates": 1,
        "known_artists": 2,
        "unknown_artist_rows": 2,
        "unknown_artists": 1,
        "artists_with_genres": 2,
    }
    assert result.rejects.schema == TABLES["rejects"]
    assert result.rejects["line"].to_pylist() == [7, 8, 9, 10, 11, 12, 13]
    assert result.rejects["source"].to_pylist() == ["genres.csv"] * 7
    assert result.rejects["text"][0].as_py() == "rock,ac/dc,many"
    assert result.rejects["reason"].to_pylist() == [
        "no number as count",
        "no count above 0",
        "no number as count",
        "not 3 fields",
        "no genre",
        "no artist",
        "a quote that isn't closed",
    ]
    with pytest.raises(
        InputError, match=r"53.8 % of rows can't be used .limit 50.0 %., 15.4 % have no number"
    ):
        read_artist_genres(path, ARTISTS, ANY_VOTE, 0.5)


def test_a_file_without_counts_counts_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "artist,genre\nbjörk,pop\nbjörk,pop\nbjörk,rock\nac/dc,rock\n")
    result = read_artist_genres(path, ARTISTS, GenreConfig())
    assert rows(result.genres, result.artist_genres) == [(0, "rock", 1.0), (1, "rock", 1.0)]


def test_artists_and_genres_are_found_however_they_are_spelled(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "COUNT , Genre , Artist\n"
        "1,Hip‐Hop,Bjo\u0308rk\n"
        "1,hip-hop,ＢＪÖＲＫ\n"
        "2,Hip Hop,ac∕dc\u200b\n"
        "4,rock,The “Q”\u00a0Band\n"
        '4,rock,"the “Q”,\u00a0band"\n',
    )
    result = read_artist_genres(path, ARTISTS, ANY_VOTE)
    assert rows(result.genres, result.artist_genres) == [
        (0, "hip‐hop", 1.0),
        (1, "hip hop", 1.0),
        (2, "rock", 1.0),
    ]
    assert (result.counts["duplicates"], result.counts["unknown_artists"]) == (1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("artist,genre\n", "has no rows after its header"),
        ("artist;genre\na;b\n", "its columns are separated by semicolons"),
        ("artist,count\na,1\n", "no column 'genre' in its header"),
        ("artist,genre,genre\na,b,c\n", "its header names 'genre' twice"),
        ("artist,genre\nbj\udcf6rk,pop\n", "it looks like Latin-1/Windows-1252: save it as UTF-8"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "genres.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=rf"genres\.csv: .*{said}") as error:
        read_artist_genres(str(tmp_path / "genres.csv"), ARTISTS, GenreConfig(), 0.05)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "has no rows after its header"),
        (
            "Nobody,rock,1\nNo One,pop,2\n",
            "none of its 2 artists is one of the 3 .*'Nobody'.*'Björk '",
        ),
        (
            "Björk,rock,-1\nAC/DC,,2\nAC/DC,,x\n",
            "100 % of rows can't be used, 66.7 % have no genre; first at line 3: 'AC/DC",
        ),
        (
            "Björk,rock,nan\nAC/DC,rock,\n",
            "100 % of rows have no number as count; first at line 2: 'Björk",
        ),
        ("Björk,rock,1\nAC/DC,pop,2\n", "no genre is left for its 2 known .*genres.min_artists=2"),
    ],
)
def test_a_file_that_gives_no_artist_a_genre_is_refused(
    tmp_path: Path, body: str, said: str
) -> None:
    with pytest.raises(InputError, match=rf"genres\.csv: {said}.* leave out --genres") as error:
        read_artist_genres(write(tmp_path, f"artist,genre,count\n{body}"), ARTISTS, GenreConfig())
    assert "\n" not in str(error.value)
