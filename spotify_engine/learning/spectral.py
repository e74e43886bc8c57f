"""Spectral embeddings of items and their attributes: where a graph model's embeddings start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse


def spectral_embeddings(
    matrices: Sequence[sparse.csr_array], dim: int, seed: int = 0, rounds: int = 6
) -> list[np.ndarray]:
    """Embed the columns of several matrices over the same rows in one space.

    Each matrix is normalised by the square roots of its row and column sums, they stand side by
    side, and the right singular vectors, scaled by the roots of the singular values, embed the
    columns: columns that occur together point the same way, whichever matrix they are from. This is
    the low-pass filter of a graph convolution without training (Shen et al., How Powerful is Graph
    Convolution for Recommendation?, CIKM 2021), by randomised subspace iteration (Halko et al.,
    SIAM Review 2011).

    Args:
        matrices: non-negative ``[rows, columns_i]``; playlists x tracks, playlists x artists, ...
        rounds: of subspace iteration.

    Returns:
        float32 ``[columns_i, dim]`` for each matrix, scaled so that the first matrix's rows that
        are not empty have mean norm 1; zeros for empty columns, and beyond the rank.
    """
    joined = sparse.csr_array(sparse.hstack([_normalised(matrix) for matrix in matrices]))
    joined = joined.astype(np.float32)
    transposed = sparse.csr_array(joined.T)
    width = min(dim, *joined.shape)
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((joined.shape[1], width)).astype(np.float32)
    for _ in range(rounds):
        basis = _orthonormal(transposed @ (joined @ _orthonormal(basis)))
    _, values, right = np.linalg.svd(joined @ basis, full_matrices=False)
    found = np.zeros((joined.shape[1], dim), dtype=np.float32)
    found[:, :width] = basis @ right.T * np.sqrt(values)
    parts = np.split(found, np.cumsum([matrix.shape[1] for matrix in matrices])[:-1])
    norms = np.linalg.norm(parts[0], axis=1)
    scale = norms[norms > 0].mean() if norms.any() else 1.0
    return [np.ascontiguousarray(part / scale) for part in parts]


def _normalised(matrix: sparse.csr_array) -> sparse.csr_array:
    """log(1 + x) over the square roots of row and column sums."""
    damped = sparse.csr_array(matrix).log1p()
    roots = []
    for axis in (1, 0):
        total = np.asarray(damped.sum(axis=axis), dtype=np.float64)
        roots.append(np.divide(1, np.sqrt(total), out=np.zeros_like(total), where=total > 0))
    return sparse.csr_array(
        sparse.diags_array(roots[0]) @ damped @ sparse.diags_array(roots[1])
    )


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    q: np.ndarray = torch.linalg.qr(torch.from_numpy(columns))[0].numpy()
    return q
