from io import StringIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from spotify_engine.errors import InputError
from spotify_engine.playlists.completing.completion import complete_playlist, find_playlist


@pytest.fixture(scope="module")
def recommender(make_recommender):
    return make_recommender()


def printed(completion):
    console = Console(width=200, record=True, file=StringIO())
    console.print(completion.table())
    return console.export_text()


def test_table_shows_rank_track_score_and_reasons_in_short(recommender):
    completion = complete_playlist(recommender, ["id0", "id3", "nothing"], "Mine", 4)
    assert completion.remarks() == ["not in the catalogue: nothing"]
    text = printed(completion)
    assert "Mine: 2 known tracks" in text
    for number, each in enumerate(completion.recommended, start=1):
        (line,) = [line for line in text.splitlines() if f" {each.name} " in line[:60]]
        assert line.split()[1] == str(number)
        assert f"{each.score:.2f}" in line
        explanation = completion.explanations[number - 1]
        seeds = [each.name for each in explanation.reasons if each.kind == "seed"]
        assert ('like "' in line) == bool(seeds)
        assert all(f'"{name}"' in line for name in seeds[:2])
        assert ", ".join(explanation.matched_genres[:2]) in line


@pytest.mark.parametrize("title", ["[/b] sad", "[red]", "[bold]x[/bold]"])
def test_titles_are_not_markup(recommender, title):
    assert f"{title}: 1 known track" in printed(complete_playlist(recommender, ["id0"], title, 2))


def test_explanations_are_those_of_the_recommended(recommender):
    completion = complete_playlist(recommender, ["id0", "id3"], None, 3)
    assert [recommender.ids[e.row] for e in completion.explanations] == [
        each.id for each in completion.recommended
    ]
    for explanation, each in zip(completion.explanations, completion.recommended, strict=True):
        assert explanation.score == pytest.approx(each.score, abs=1e-4)
    assert completion.texts() == [e.text for e in completion.explanations]
    assert "New playlist: 2 known tracks" in printed(completion)


def test_fallback_is_said_and_can_not_be_plotted(recommender, tmp_path):
    completion = complete_playlist(recommender, ["nothing"], "rock", 3)
    assert "[title genres] Popular of the genres" in printed(completion)
    assert "title genres: no track is known; popular" in printed(completion)
    assert completion.explanations == []
    assert completion.texts()[0].startswith('Recommending "Song')
    with pytest.raises(InputError, match="there is no attention"):
        completion.plot(tmp_path / "heat.png")


def test_artists_that_stand_in_are_said_explained_and_drawn(recommender, tmp_path):
    completion = complete_playlist(recommender, ["Artist 3 - New", "Nobody - X"], None, 3)
    assert completion.remarks() == [
        "not in the catalogue, its artist Artist 3 stands in: Artist 3 - New",
        "not in the catalogue: Nobody - X",
    ]
    text = printed(completion)
    assert "0 known tracks, 1 known by artist" in text
    assert "artist: no track is in a training playlist" in text
    assert 'like "New"' in text
    for each, text in zip(completion.recommended, completion.texts(), strict=True):
        named = any(reason.name == "New" for reason in each.reasons)
        assert ("only the artist Artist 3 is known" in text) == named
    completion.plot(tmp_path / "heat.png")
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")
    unheard = complete_playlist(recommender, ["id0", "id24", "id25"], None, 3)
    assert unheard.remarks() == [
        "in no training playlist, known by artist and sound: 2 (Song 24, Song 25)"
    ]
    mixed = complete_playlist(recommender, ["id0", "Artist 3 - New"], None, 3)
    assert "1 known track, 1 known by artist" in printed(mixed)
    assert "artist: no track" not in printed(mixed)


def test_plot_writes_a_png_or_says_why_not(recommender, tmp_path):
    completion = complete_playlist(recommender, ["id0", "id3"], None, 3)
    completion.plot(tmp_path / "heat.png")
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")
    for path in (tmp_path / "nowhere" / "heat.png", tmp_path / "heat.nonsense"):
        with pytest.raises(InputError, match="can't be written"):
            completion.plot(path)


@pytest.fixture
def run(tmp_path, world):
    tables = dict(world.tables)
    names = ["Road Trip", "²", "road trip", "3", *tables["playlists"]["name"].to_pylist()[4:]]
    lengths = [9, 9, 11, *[9] * 37]
    for name, values in (("name", names), ("n_tracks", pa.array(lengths, pa.int32()))):
        place = tables["playlists"].schema.get_field_index(name)
        tables["playlists"] = tables["playlists"].set_column(place, name, [values])
    (tmp_path / "tables").mkdir()
    for name, table in tables.items():
        pq.write_table(table, tmp_path / "tables" / f"{name}.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "row"),
    [("0", 0), ("39", 39), ("Mix 7", 7), ("  mix 7 ", 7), ("ROAD TRIP", 2), ("²", 1), ("3", 3)],
)
def test_finds_a_playlist_by_number_or_name(run, world, wanted, row):
    ids, name = find_playlist(run, wanted)
    pairs = world.tables["playlist_tracks"].to_pandas()
    assert ids == [f"id{t}" for t in pairs[pairs.playlist == row].track]
    assert name == pq.read_table(run / "tables" / "playlists.parquet")["name"][row].as_py()


def test_no_such_playlist_names_some_that_are_alike(run):
    with pytest.raises(
        InputError, match=r"no playlist 'trip' in .*alike: 'Road Trip', 'road trip'"
    ):
        find_playlist(run, "trip")
    with pytest.raises(InputError, match=r"give a name or a number \(0 to 39\)"):
        find_playlist(run, "99")


def test_not_a_run(tmp_path):
    with pytest.raises(InputError, match="give --run the directory of a finished run"):
        find_playlist(tmp_path, "0")
