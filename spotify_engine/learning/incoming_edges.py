"""Edges on compressed rows by destination, and drawing among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from spotify_engine.arrays import Ids
from spotify_engine.learning.draws import NodeDraws


@dataclass(frozen=True)
class IncomingEdges:
    """The edges of one relation, by destination.

    Attributes:
        indptr: int64 ``[destinations + 1]``.
        source: int32 or int64 ``[edges]``.
        edge_id: int64 ``[edges]``, the edge's column in ``edge_index``.
    """

    indptr: Ids
    source: Ids
    edge_id: Ids

    @classmethod
    def from_edge_index(cls, edge_index: Tensor, destinations: int) -> IncomingEdges:
        """Group edges ``[2, edges]`` by their destination."""
        source, destination = edge_index.numpy()
        order = np.argsort(destination, kind="stable")
        indptr = np.zeros(destinations + 1, dtype=np.int64)
        np.cumsum(np.bincount(destination, minlength=destinations), out=indptr[1:])
        return cls(indptr, source[order], order)

    def sample(
        self, nodes: Ids, fanout: int, draws: NodeDraws, relation: int = 0
    ) -> tuple[Ids, Ids]:
        """Draw up to ``fanout`` edges a node, uniformly and without repeats; all when it is -1.

        Args:
            nodes: int ``[n]`` destinations.
            relation: which one this is, so that each draws other numbers.

        Returns:
            (counts int64 ``[n]``, positions int64 ``[counts.sum()]`` into ``source``).
        """
        start = self.indptr[nodes]
        degree = self.indptr[nodes + 1] - start
        counts = degree if fanout < 0 else np.minimum(degree, fanout)
        ends = np.cumsum(counts)
        positions = np.arange(ends[-1] if len(ends) else 0)
        positions += np.repeat(start - ends + counts, counts)
        crowded = np.flatnonzero(degree > counts)
        if len(crowded):
            chosen = _distinct(degree[crowded], fanout, draws, nodes[crowded], relation)
            drawn = chosen + start[crowded][:, None]
            positions[(ends - counts)[crowded][:, None] + np.arange(fanout)] = drawn
        return counts, positions


def _distinct(below: Ids, n: int, draws: NodeDraws, nodes: Ids, relation: int) -> Ids:
    """``n`` distinct ints in ``[0, below)`` for each of ``below``, every subset equally likely.

    Floyd's algorithm, a column at a time (Bentley and Floyd, CACM 30(9), 1987).
    """
    chosen = np.empty((len(below), n), dtype=np.int64)
    for i in range(n):
        last = below - n + i
        draw = (draws.uniform(nodes, relation, i) * (last + 1)).astype(np.int64)
        taken = (chosen[:, :i] == draw[:, None]).any(axis=1)
        chosen[:, i] = np.where(taken, last, draw)
    return chosen
