"""The k best tracks for a playlist vector out of a large catalogue, exactly or nearly so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from scipy import sparse
from usearch.index import Index as Graph
from usearch.index import MetricKind

Found = tuple[np.ndarray, np.ndarray]
"""Rows int64 ``[<= k]`` and scores float32 ``[<= k]``, best first; of equal ones, the lower row."""

BLOCK = 64
ROWS_AT_ONCE = 65_536  # tracks at a time, so that the float32 vectors needn't be in memory
HALF = 2.0**-8  # relative rounding error of bfloat16
LOWEST = float(np.finfo(np.float32).min)
SLACK = 1e-5  # float32 sums, relative to the lengths of both vectors


class Index(Protocol):
    """Finds the tracks of largest ``q . t + bias_t + added``."""

    def search(
        self,
        queries: np.ndarray,
        added: sparse.csr_array | None,
        hidden: Sequence[np.ndarray],
        ks: Sequence[int],
    ) -> list[Found]:
        """Find the best tracks.

        Args:
            queries: float32 ``[n, width]``.
            added: ``[n, tracks]``, a term of few tracks' scores.
            hidden: for each query, rows that are not to be found.
            ks: how many for each; fewer are found when the catalogue is exhausted.
        """
        ...


class ExactIndex:
    """Screens all tracks in bfloat16, which halves the bytes to read.

    Those that rounding can't rule out are ranked in float32: the result is what sorting all float32
    scores gives.

    For vectors t and q with roundings t' and q', ``|q.t - q'.t'| <= |q - q'| |t| + |q'| |t - t'|``
    (Cauchy-Schwarz), and the product itself is rounded once more.
    """

    def __init__(self, vectors: np.ndarray, bias: np.ndarray) -> None:
        """Index vectors.

        Args:
            vectors: float32 ``[tracks, width]``, may be memory-mapped.
            bias: float32 ``[tracks]``.
        """
        self.vectors, self.bias = vectors, bias
        n, width = vectors.shape
        padded = -(-n // BLOCK) * BLOCK
        self.screen = torch.zeros(padded, width, dtype=torch.bfloat16)
        self.longest, self.rounded_off = 0.0, 0.0
        for start in range(0, n, ROWS_AT_ONCE):
            part = torch.from_numpy(np.array(vectors[start : start + ROWS_AT_ONCE]))
            half = part.bfloat16()
            self.screen[start : start + len(part)] = half
            if len(part):
                self.longest = max(self.longest, float(part.norm(dim=1).max()))
                off = (part - half.float()).norm(dim=1).max()
                self.rounded_off = max(self.rounded_off, float(off))
        self.padded_bias = torch.full((padded,), -torch.inf)
        self.padded_bias[:n] = torch.from_numpy(np.array(bias))

    def search(
        self,
        queries: np.ndarray,
        added: sparse.csr_array | None,
        hidden: Sequence[np.ndarray],
        ks: Sequence[int],
    ) -> list[Found]:
        """See :class:`Index`."""
        exact = torch.from_numpy(queries)
        half = exact.bfloat16()
        product = (half @ self.screen.T).float()
        length = half.float().norm(dim=1)
        error = (exact - half.float()).norm(dim=1) * self.longest + length * self.rounded_off
        largest = torch.maximum(product.amax(1), -product.amin(1))
        error += HALF * largest + SLACK * length * self.longest
        product += self.padded_bias
        scores = product.numpy()
        for i, rows in enumerate(hidden):
            scores[i, rows] = -np.inf
        if added is not None:
            scores[np.repeat(np.arange(len(queries)), np.diff(added.indptr)), added.indices] += (
                added.data
            )
        best = product.view(len(queries), -1, BLOCK).amax(2)
        found = []
        for i, k in enumerate(ks):
            # The k best blocks hold k scores at least as high as the k-th best block's.
            blocks = best[i]
            least = float(blocks.topk(k).values[-1]) if k <= len(blocks) else -np.inf
            # Whatever is hidden, or fills up the last block, is at -inf, below every score.
            floor = max(least - 2 * float(error[i]), LOWEST)
            rows = np.flatnonzero(scores[i] >= floor)
            found.append(_rank(self.vectors, self.bias, queries[i], row_of(added, i), rows, k))
        return found


class ApproximateIndex:
    """A navigable small-world graph (usearch, after Malkov and Yashunin, 2018) proposes tracks.

    Those and the ones with an added term are ranked exactly.

    Attributes:
        recall: share of the true 10 best that were found for the samples.
    """

    MORE = 8  # candidates for each track asked for
    AT_LEAST = 128

    def __init__(
        self, vectors: np.ndarray, bias: np.ndarray, samples: np.ndarray, threads: int = 1
    ) -> None:
        """Index vectors.

        Args:
            vectors, bias: as of :class:`ExactIndex`.
            samples: float32 ``[n, width]``, queries like those that are to be expected; recall is
                measured on them.
            threads: to build with.
        """
        self.vectors, self.bias = vectors, bias
        n, width = vectors.shape
        self.graph = Graph(ndim=width + 1, metric=MetricKind.IP, dtype="f16", expansion_search=256)
        for start in range(0, n, ROWS_AT_ONCE):
            part = np.array(vectors[start : start + ROWS_AT_ONCE], np.float32)
            joined = np.concatenate([part, bias[start : start + ROWS_AT_ONCE, None]], axis=1)
            self.graph.add(np.arange(start, start + len(part)), joined, threads=threads)
        self.recall = self._recall(samples) if len(samples) else 1.0

    def search(
        self,
        queries: np.ndarray,
        added: sparse.csr_array | None,
        hidden: Sequence[np.ndarray],
        ks: Sequence[int],
    ) -> list[Found]:
        """See :class:`Index`."""
        found = []
        for i, k in enumerate(ks):
            query = np.append(queries[i], np.float32(1))
            wanted = min(max(self.MORE * k, self.AT_LEAST) + len(hidden[i]), len(self.bias))
            near = self.graph.search(query, wanted, threads=1).keys.astype(np.int64)
            term = row_of(added, i)
            rows = np.setdiff1d(np.union1d(near, term[0]), hidden[i])
            found.append(_rank(self.vectors, self.bias, queries[i], term, rows, k))
        return found

    def _recall(self, samples: np.ndarray, k: int = 10) -> float:
        nothing = [np.zeros(0, np.int64)] * len(samples)
        ours = self.search(samples, None, nothing, [k] * len(samples))
        hits = 0
        truth = ExactIndex(self.vectors, self.bias)
        for query, mine in zip(samples, ours, strict=True):
            [(rows, _)] = truth.search(query[None], None, nothing[:1], [k])
            hits += len(np.intersect1d(rows, mine[0]))
        return hits / (len(samples) * min(k, len(self.bias)))


def row_of(added: sparse.csr_array | None, i: int) -> tuple[np.ndarray, np.ndarray]:
    """(columns ascending, values) of a row."""
    if added is None:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    part = slice(added.indptr[i], added.indptr[i + 1])
    order = np.argsort(added.indices[part])
    return added.indices[part][order], added.data[part][order]


def _rank(
    vectors: np.ndarray,
    bias: np.ndarray,
    query: np.ndarray,
    added: tuple[np.ndarray, np.ndarray],
    rows: np.ndarray,
    k: int,
) -> Found:
    """The k best of ``rows`` (ascending) by their float32 scores."""
    scores = vectors[rows] @ query + bias[rows]
    columns, values = added
    if len(columns) and len(rows):
        place = np.minimum(np.searchsorted(rows, columns), len(rows) - 1)
        there = rows[place] == columns
        scores[place[there]] += values[there]
    order = np.argsort(-scores, kind="stable")[:k]
    return rows[order], scores[order].astype(np.float32)
