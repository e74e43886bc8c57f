import numpy as np
from scipy.stats import chisquare, kstest

from spotify_engine.learning.draws import NodeDraws


def test_a_number_belongs_to_its_id_not_to_its_place():
    ids = np.arange(1000)
    drawn = NodeDraws(3, 1).uniform(ids, 5)
    assert (NodeDraws(3, 1).uniform(ids[::-3], 5) == drawn[::-3]).all()
    assert len(np.unique(drawn)) == 1000


def test_keys_and_purposes_draw_independently():
    ids = np.arange(20_000)
    asked = [((1,), ()), ((1,), (0,)), ((1, 0), ()), ((1,), (1,)), ((2,), ()), ((1, 0), (0,))]
    drawn = np.stack([NodeDraws(*key).uniform(ids, *purpose) for key, purpose in asked])
    off_diagonal = np.corrcoef(drawn) - np.eye(len(asked))
    assert np.abs(off_diagonal).max() < 0.03


def test_numbers_are_uniform_and_neighbours_independent():
    for ids in (np.arange(50_000), np.arange(50_000) * 1024, np.arange(50_000) + 2**40):
        drawn = NodeDraws(7).uniform(ids)
        assert 0 <= drawn.min() < drawn.max() < 1
        assert kstest(drawn, "uniform").pvalue > 0.01
        cells = (drawn[:-1] * 10).astype(int) * 10 + (drawn[1:] * 10).astype(int)
        assert chisquare(np.bincount(cells, minlength=100)).pvalue > 0.001
