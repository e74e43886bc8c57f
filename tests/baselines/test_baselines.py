import numpy as np
import pytest
from scipy import sparse

from spotify_engine.baselines import itemknn
from spotify_engine.baselines.bpr import BPR, BPRConfig
from spotify_engine.baselines.ease import EASE, EASEConfig
from spotify_engine.baselines.ials import IALS, IALSConfig
from spotify_engine.baselines.itemknn import ItemKNN, ItemKNNConfig
from spotify_engine.baselines.popularity import Popularity
from spotify_engine.baselines.scorer import TooLarge, playlist_matrix
from spotify_engine.ragged import Ragged

# The default penalty is for vectors with thousands of pairs, not for the two dozen tracks here.
IALS_OF_4 = IALSConfig(factors=4, regularisation=0.03)
BPR_OF_4 = BPRConfig(factors=4, learning_rate=0.05, epochs=300)
IALS_OF_64 = IALSConfig(regularisation=0.03)


def random_playlists(n_playlists=80, n_tracks=30, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 15, n_playlists)
    return Ragged.from_lists([rng.permutation(n_tracks)[:n].tolist() for n in lengths])


@pytest.mark.parametrize(
    "make",
    [ItemKNN, lambda: IALS(IALS_OF_4), lambda: IALS(IALS_OF_64), EASE, lambda: BPR(BPR_OF_4)],
    ids=["itemknn", "ials of 4", "ials of 64", "ease", "bpr"],
)
def test_personal_baseline_conforms(conformance_check, make):
    conformance_check(make)


def test_popularity_conforms(conformance_check):
    conformance_check(Popularity, personal=False)


def test_playlist_matrix_is_binary_and_leaves_the_lists_alone():
    lists = Ragged.from_lists([[2, 0, 2], [], [1]])
    matrix = playlist_matrix(lists, 4)
    assert [row.tolist() for row in lists] == [[2, 0, 2], [], [1]]
    np.testing.assert_array_equal(matrix.toarray(), [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]])


def test_popularity_counts_playlists():
    scorer = Popularity().fit(Ragged.from_lists([[0, 2], [2], [2, 1]]), 4)
    np.testing.assert_array_equal(scorer.score(Ragged.from_lists([[0], []])), [[1, 1, 3, 0]] * 2)


def test_itemknn_by_hand():
    train = Ragged.from_lists([[0, 1], [0, 1], [0, 2]])
    scorer = ItemKNN(ItemKNNConfig(neighbours=5, shrink=1)).fit(train, 3)
    between_0_and_1 = 2 / (np.sqrt(3 * 2) + 1)
    between_0_and_2 = 1 / (np.sqrt(3 * 1) + 1)
    scores = scorer.score(Ragged.from_lists([[0], [1, 2]]))
    np.testing.assert_allclose(scores[0], [0, between_0_and_1, between_0_and_2], rtol=1e-6)
    np.testing.assert_allclose(scores[1], [between_0_and_1 + between_0_and_2, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("neighbours", [3, 100])
def test_itemknn_in_blocks_equals_the_dense_formula(monkeypatch, neighbours):
    monkeypatch.setattr(itemknn, "PAIRS_AT_ONCE", 60)  # some twenty blocks
    train = random_playlists()
    scorer = ItemKNN(ItemKNNConfig(neighbours=neighbours, shrink=2)).fit(train, 30)
    binary = playlist_matrix(train, 30).toarray()
    shared = binary.T @ binary
    counts = binary.sum(axis=0)
    similarity = shared / (np.sqrt(np.outer(counts, counts)) + 2)
    np.fill_diagonal(similarity, 0)
    for row in similarity:
        row[np.lexsort((np.arange(30), -row))[neighbours:]] = 0
    np.testing.assert_allclose(scorer.similarity.toarray(), similarity.T, rtol=1e-5)


def test_itemknn_of_tracks_that_no_playlist_contains():
    scorer = ItemKNN().fit(Ragged.from_lists([[], []]), 5)
    np.testing.assert_array_equal(scorer.score(Ragged.from_lists([[1]])), np.zeros((1, 5)))


def ials_solution(contained, other, config):
    """Each row's normal equations written out with dense arrays, in float64."""
    solved = np.zeros((len(contained), other.shape[1]))
    for i, row in enumerate(contained):
        mine = other[row > 0]
        ridge = (
            config.regularisation
            * (len(mine) + config.unobserved_weight * len(other)) ** config.scaling
        )
        system = mine.T @ mine + config.unobserved_weight * other.T @ other
        solved[i] = np.linalg.solve(system + ridge * np.eye(other.shape[1]), mine.sum(axis=0))
    return solved


@pytest.mark.parametrize("factors", [3, 8, 40], ids=lambda n: f"{n} factors")
@pytest.mark.parametrize("scaling", [0.0, 1.0])
def test_ials_solves_the_normal_equations(factors, scaling):
    """As solved one by one, whether a row has more tracks than factors or fewer."""
    train = random_playlists()
    config = IALSConfig(factors=factors, scaling=scaling, iterations=2, regularisation=0.05)
    scorer = IALS(config).fit(train, 30)
    tracks = scorer.tracks.numpy().astype(np.float64)
    playlists = ials_solution(playlist_matrix(train, 30).toarray(), tracks, config)
    np.testing.assert_allclose(scorer.score(train), playlists @ tracks.T, rtol=2e-3, atol=1e-4)


def test_ials_lowers_its_loss_every_iteration():
    train = random_playlists(seed=1)
    contained = playlist_matrix(train, 30).toarray().astype(np.float64)
    losses = []
    for iterations in (1, 2, 4, 8):
        config = IALSConfig(factors=5, iterations=iterations, regularisation=0.01)
        tracks = IALS(config).fit(train, 30).tracks.numpy().astype(np.float64)
        playlists = ials_solution(contained, tracks, config)
        product = playlists @ tracks.T
        weight = config.unobserved_weight
        loss = (contained * (1 - product) ** 2).sum() + weight * (product**2).sum()
        for vectors, pairs in ((playlists, contained.sum(1)), (tracks, contained.sum(0))):
            others = contained.size / len(vectors)
            ridge = config.regularisation * (pairs + weight * others)
            loss += (ridge * (vectors**2).sum(axis=1)).sum()
        losses.append(loss)
    assert np.all(np.diff(losses) < 0), losses


def test_ease_is_the_constrained_minimum():
    """Each column solved on its own, with its own track left out of the regression."""
    train = random_playlists()
    scorer = EASE(EASEConfig(regularisation=3)).fit(train, 30)
    contained = playlist_matrix(train, 30).toarray().astype(np.float64)
    expected = np.zeros((30, 30))
    for track in range(30):
        others = np.delete(np.arange(30), track)
        part = contained[:, others]
        system = part.T @ part + 3 * np.eye(29)
        expected[others, track] = np.linalg.solve(system, part.T @ contained[:, track])
    np.testing.assert_allclose(scorer.weights, expected, atol=1e-5)


@pytest.mark.parametrize("n_playlists", [20, 29, 30, 31])
def test_ease_from_the_playlists_side_equals_the_closed_form(n_playlists):
    train = random_playlists(n_playlists, n_tracks=30, seed=5)
    seeds = random_playlists(7, n_tracks=30, seed=6)
    matrix = playlist_matrix(train, 30).toarray().astype(np.float64)
    precision = np.linalg.inv(matrix.T @ matrix + 3 * np.eye(30))
    weights = np.eye(30) - precision / np.diag(precision)
    scores = EASE(EASEConfig(regularisation=3)).fit(train, 30).score(seeds)
    np.testing.assert_allclose(scores, playlist_matrix(seeds, 30) @ weights, atol=2e-5)


def test_ease_refuses_what_does_not_fit():
    assert EASE.needed_gib(2**14, 2**20) == 2, "the smaller side counts"
    assert EASE.needed_gib(2**20, 2**14) == 2
    with pytest.raises(TooLarge, match=r"30 playlists x 40 tracks need .* limit 1e-06 GiB"):
        EASE(memory_gib=1e-6).fit(random_playlists(30, 40), 40)


def test_strongest_prefers_smaller_columns_among_equals():
    matrix = sparse.csr_array(np.array([[1.0, 2, 1, 1], [0, 0, 0, 5]]))
    kept = itemknn._strongest(matrix, 2).toarray()
    np.testing.assert_array_equal(kept, [[1, 2, 0, 0], [0, 0, 0, 5]])
