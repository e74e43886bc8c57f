"""The k best tracks, against sorting all scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from spotify_engine.serving.engines.index import ApproximateIndex, ExactIndex, row_of


def catalogue(n: int, width: int, seed: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, width)) * scale
    # Many equal and nearly equal ones: what rounding confuses most.
    vectors[n // 2 :] = vectors[: n - n // 2] * (1 + rng.choice([0, 1e-4], size=(n - n // 2, 1)))
    return vectors.astype(np.float32), rng.normal(size=n).astype(np.float32).round(2)


def by_sorting(
    vectors: np.ndarray,
    bias: np.ndarray,
    query: np.ndarray,
    added: sparse.csr_array | None,
    i: int,
    hidden: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    scores = (vectors @ query + bias).astype(np.float32)
    if added is not None:
        scores += added[[i]].toarray()[0]
    scores[hidden] = -np.inf
    order = np.argsort(-scores, kind="stable")[:k]
    order = order[scores[order] > -np.inf]
    return order, scores[order]


@given(
    n=st.integers(1, 700),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    k=st.integers(1, 100),
    with_added=st.booleans(),
    hide=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_exact_is_what_sorting_gives(
    n: int, width: int, seed: int, scale: float, k: int, with_added: bool, hide: float
) -> None:
    vectors, bias = catalogue(n, width, seed, scale)
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(3, width)).astype(np.float32)
    added = None
    if with_added:
        added = sparse.csr_array(sparse.random(3, n, 0.2, rng=rng, dtype=np.float32))
    hidden = [np.flatnonzero(rng.random(n) < hide) for _ in range(3)]
    found = ExactIndex(vectors, bias).search(queries, added, hidden, [k, 1, k])
    for i, kk in enumerate([k, 1, k]):
        rows, scores = by_sorting(vectors, bias, queries[i], added, i, hidden[i], kk)
        np.testing.assert_allclose(found[i][1], scores, rtol=1e-5, atol=1e-5 * scale)
        # Sums in another order differ in the last digits, which may swap what is all but equal.
        differ = found[i][0] != rows
        assert np.abs(found[i][1] - scores)[differ].max(initial=0) <= 1e-5 * max(scale, 1)
        assert len(set(found[i][0].tolist())) == len(rows)
        assert not set(found[i][0].tolist()) & set(hidden[i].tolist())


def test_of_equal_scores_the_first_track_wins() -> None:
    vectors = np.ones((300, 4), np.float32)
    index = ExactIndex(vectors, np.zeros(300, np.float32))
    [(rows, scores)] = index.search(np.ones((1, 4), np.float32), None, [np.array([0, 2])], [4])
    assert rows.tolist() == [1, 3, 4, 5]
    assert scores.tolist() == [4, 4, 4, 4]


def test_rounding_alone_would_choose_wrongly() -> None:
    """The screening must be wider than k for this catalogue, or it would lose the best track."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=64)
    vectors = (base + rng.normal(size=(5_000, 64)) * 1e-3).astype(np.float32)
    query = base.astype(np.float32)
    bias = np.zeros(5_000, np.float32)
    rows, _ = by_sorting(vectors, bias, query, None, 0, np.zeros(0, int), 10)
    import torch

    coarse = (torch.from_numpy(vectors).bfloat16() @ torch.from_numpy(query).bfloat16()).float()
    assert set(coarse.topk(10).indices.tolist()) != set(rows.tolist())
    [(found, _)] = ExactIndex(vectors, bias).search(query[None], None, [np.zeros(0, int)], [10])
    assert found.tolist() == rows.tolist()


def test_approximate_finds_nearly_all_and_says_how_many() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, 16))
    vectors = (centres[rng.integers(0, 30, 4_000)] + 0.5 * rng.normal(size=(4_000, 16))).astype(
        np.float32
    )
    bias = rng.normal(size=4_000).astype(np.float32)
    samples = vectors[:50] / np.linalg.norm(vectors[:50], axis=1, keepdims=True)
    index = ApproximateIndex(vectors, bias, samples)
    assert 0.9 < index.recall <= 1
    added = sparse.csr_array(([50.0], ([0], [3_999])), shape=(1, 4_000), dtype=np.float32)
    hidden = np.arange(100)
    [(rows, scores)] = index.search(samples[:1], added, [hidden], [10])
    assert rows[0] == 3_999  # no neighbour, but its added term makes it the best
    assert not set(rows.tolist()) & set(hidden.tolist())
    expected, best = by_sorting(vectors, bias, samples[0], added, 0, hidden, 10)
    assert len(np.intersect1d(rows, expected)) >= 9
    assert scores[0] == pytest.approx(best[0], abs=1e-4)


def test_row_of_sorts_columns() -> None:
    matrix = sparse.csr_array(
        (np.array([3.0, 1.0]), np.array([9, 2]), np.array([0, 0, 2])), shape=(2, 10)
    )
    columns, values = row_of(matrix, 1)
    assert (columns.tolist(), values.tolist()) == ([2, 9], [1.0, 3.0])
    assert len(row_of(matrix, 0)[0]) == len(row_of(None, 0)[0]) == 0
