import json
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from spotify_engine.evaluation.ranking import ranking_metrics
from spotify_engine.evaluation.splits import Split
from spotify_engine.playlists.measure.cold_start import (
    ColdStartConfig,
    _Votes,
    measure_cold_start,
    render_cold_start,
)
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
from spotify_engine.playlists.model.start import StartConfig, find_start
from spotify_engine.playlists.recommend.titles import TitleModel, TitleSettings
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.ragged import Ragged

TITLES = [f"{('rock morning', 'jazz evening')[i % 2]} {'abcde'[i % 5]}" for i in range(40)]
SETTINGS = TitleSettings(letters=0.0, neighbours=8, popularity=0.0)


@pytest.fixture(scope="module")
def split(world):
    """Tracks 24 and 25, which no training playlist has, are the val and test of two playlists."""
    val = [row.tolist() for row in world.val]
    test = [row.tolist() for row in world.test]
    val[1], test[3] = [24], [25]
    lists = Ragged.from_lists
    return Split(world.train, lists(val), lists(test), 26, "given", None)


@pytest.fixture(scope="module")
def recommender(world):
    """As good as a factorisation of the training part, from which training begins."""
    data, scale = world.graph()
    config = PlaylistGATConfig(embedding_dim=8, layers=(8,), heads=(2,))
    torch.manual_seed(0)
    model = PlaylistGAT(GraphShape.of(data), config)
    start, _ = find_start(data, world.train, world.val, config, StartConfig())
    start.apply(model)
    made = PlaylistRecommender.from_training(model, data, world.tables, scale, world.train)
    vectors = made.playlist_vectors(world.train)
    return made.with_titles(TitleModel.fit(TITLES, world.train, vectors, SETTINGS))


@pytest.fixture(scope="module")
def found(recommender, split):
    return measure_cold_start(recommender, TITLES, split, ColdStartConfig())


def test_every_case_is_there_and_says_what_answers(found):
    assert [(row["case"], row["fallback"], row["playlists"]) for row in found] == [
        ("a title like another's alone", "title", 40),
        ("a genre in a title, no title alike", "title genres", 40),
        ("one seed track", None, 40),
        ("artists of the tracks alone", "artist", 40),
        ("seed tracks unseen in training", "artist", 1),
        ("finding tracks unseen in training", None, 1),
    ]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("case", range(4))
def test_where_taste_is_planted_every_case_beats_popularity(found, case):
    """Two groups of twelve tracks, of which a playlist holds nine and hides one."""
    ours, popularity = found[case]["ours"], found[case]["popularity"]
    assert ours["recall@10"] > popularity["recall@10"] + 0.15
    assert ours["ndcg@10"] > 1.3 * popularity["ndcg@10"]


def test_figures_are_those_of_completing_one_playlist_after_the_other(recommender, split, found):
    """The measurement scores batches; users get ``complete``."""

    def measured(complete):
        lists = np.full((40, 10), -1)
        for row in range(40):
            hidden = [f"id{i}" for i in split.known_before_test[row]]
            ids = [int(each.id[2:]) for each in complete(row, hidden)]
            lists[row, : len(ids)] = ids
        return ranking_metrics(lists, split.test, (10,))

    untitled = recommender.with_titles(None)
    by_genres = measured(lambda row, hidden: untitled.complete(["?"], TITLES[row], 10, hidden))
    assert found[1]["ours"]["recall@10"] == pytest.approx(by_genres["recall@10"])
    assert found[1]["ours"]["ndcg@10"] == pytest.approx(by_genres["ndcg@10"])
    by_popularity = measured(lambda row, hidden: recommender.complete([], exclude=hidden))
    assert found[0]["popularity"]["ndcg@10"] == pytest.approx(by_popularity["ndcg@10"])

    def by_titles_of_others(row, hidden):
        known, others = recommender.fallbacks.titles, np.delete(np.arange(40), row)
        titles = [TITLES[i] for i in others]
        model = TitleModel(known.playlists[others], titles, known.vectors[others], SETTINGS)
        return recommender.with_titles(model).complete([], TITLES[row], 10, hidden)

    # Without the row, other words are as rare as its own: weights differ a little, lists hardly.
    by_titles = measured(by_titles_of_others)
    assert found[0]["ours"]["recall@10"] == pytest.approx(by_titles["recall@10"], abs=0.03)
    assert found[0]["ours"]["ndcg@10"] == pytest.approx(by_titles["ndcg@10"], abs=0.03)


def test_a_title_that_only_the_playlist_itself_has_is_not_measured(recommender, split):
    titles = [*TITLES[:-1], "polka"]
    vectors = recommender.playlist_vectors(split.train)
    knows = recommender.with_titles(TitleModel.fit(titles, split.train, vectors, SETTINGS))
    assert knows.complete([], title="polka", k=1)[0].fallback == "title"
    rows = measure_cold_start(knows, titles, split, ColdStartConfig())
    assert rows[0]["playlists"] == 39
    assert rows[1]["playlists"] == 39, "nor does it name a genre"


def test_genres_by_the_playlists_own_title_alone_are_not_counted(recommender, world):
    """Artist 1 is in two playlists named jazz; artists 0 and 2 in one of each name."""
    titles = ["jazz", "jazz", "rock"]
    train = Ragged.from_lists([[0, 2, 1], [2, 4], [0, 4]])
    artist = world.tables["tracks"]["artist"].to_numpy()
    votes = _Votes(recommender.fallbacks, titles, train, artist, 1)
    found = votes.by_own_title_alone(np.array([0, 1, 2]))
    # Tracks 0 and 1 are by artist 0, 2 and 3 by artist 1, 4 and 5 by artist 2.
    assert [np.flatnonzero(row).tolist() for row in found] == [[0, 1], [4, 5], [0, 1, 4, 5]]
    stricter = _Votes(recommender.fallbacks, titles, train, artist, 2)
    assert np.flatnonzero(stricter.by_own_title_alone(np.array([0]))[0]).tolist() == [0, 1, 2, 3]


def test_a_cap_draws_playlists_once_for_both(recommender, split):
    capped = measure_cold_start(recommender, TITLES, split, ColdStartConfig(max_playlists=7))
    assert [row["playlists"] for row in capped] == [7, 7, 7, 7, 1, 1]
    again = measure_cold_start(recommender, TITLES, split, ColdStartConfig(max_playlists=7))
    assert capped == again


def shown(rows):
    console = Console(width=160, record=True, file=StringIO())
    console.print(render_cold_start(rows))
    return console.export_text()


def test_without_titles_or_artists_those_cases_are_left_out(make_recommender, split):
    bare = make_recommender(graph={"artists": False})
    rows = measure_cold_start(bare, [""] * 40, split, ColdStartConfig())
    assert [row["case"] for row in rows][:2] == [
        "a genre in a title, no title alike",
        "one seed track",
    ]
    assert (rows[0]["playlists"], rows[0]["ours"]) == (0, None)
    assert "artists of the tracks alone" not in [row["case"] for row in rows]
    assert "one seed track" in shown(rows)


def test_the_table_has_a_line_for_each_case(found):
    text = shown(found)
    for row in found:
        (line,) = [line for line in text.splitlines() if row["case"] in line]
        assert f"{row['ours']['recall@10']:.4f} / {row['popularity']['recall@10']:.4f}" in line
        assert (row["fallback"] or "seeds") in line
