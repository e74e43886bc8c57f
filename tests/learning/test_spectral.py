"""Spectral embeddings against a dense singular value decomposition."""

import numpy as np
from scipy import sparse

from spotify_engine.learning.spectral import spectral_embeddings


def random_matrix(rows, columns, seed, density=0.3):
    rng = np.random.default_rng(seed)
    return sparse.csr_array((rng.random((rows, columns)) < density).astype(np.float32))


def test_inner_products_are_those_of_the_dense_decomposition():
    first, second = random_matrix(30, 12, 0), random_matrix(30, 5, 1)
    found = np.vstack(spectral_embeddings([first, second], dim=17))

    def normalised(matrix):
        damped = np.log1p(matrix.toarray())
        rows, columns = damped.sum(1, keepdims=True), damped.sum(0, keepdims=True)
        return damped / np.sqrt(np.maximum(rows, 1e-30)) / np.sqrt(columns)

    dense = np.hstack([normalised(first), normalised(second)])
    _, values, right = np.linalg.svd(dense, full_matrices=False)
    # V S V': what the embeddings' inner products are, before they are scaled.
    expected = (right.T * values) @ right
    scale = np.sqrt(np.diag(expected)[:12]).mean()
    np.testing.assert_allclose(found @ found.T, expected / scale**2, atol=2e-4)
    assert np.isclose(np.linalg.norm(found[:12], axis=1).mean(), 1, atol=1e-5)


def test_columns_that_occur_together_point_the_same_way():
    """Two blocks that share no row: tracks 0-3 with attribute 0, tracks 4-7 with attribute 1."""
    block = np.kron(np.eye(2), np.ones((5, 4))).astype(np.float32)
    attributes = np.kron(np.eye(2), np.full((5, 1), 4)).astype(np.float32)
    tracks, owners = spectral_embeddings(
        [sparse.csr_array(block), sparse.csr_array(attributes)], dim=2
    )
    cosine = (tracks / np.linalg.norm(tracks, axis=1)[:, None]) @ (
        owners / np.linalg.norm(owners, axis=1)[:, None]
    ).T
    np.testing.assert_allclose(cosine, np.kron(np.eye(2), np.ones((4, 1))), atol=1e-4)


def test_empty_columns_and_dimensions_beyond_the_rank_are_zero():
    matrix = sparse.csr_array(np.array([[1, 0, 1], [1, 0, 0]], np.float32))
    (found,) = spectral_embeddings([matrix], dim=6)
    assert found.shape == (3, 6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1], 0, atol=1e-6)
    assert (found[:, 2:] == 0).all()
    assert np.isfinite(found).all()


def test_same_seed_same_embeddings():
    matrix = random_matrix(40, 20, 3)
    once, twice = (spectral_embeddings([matrix], dim=4, seed=1)[0] for _ in range(2))
    np.testing.assert_array_equal(once, twice)
