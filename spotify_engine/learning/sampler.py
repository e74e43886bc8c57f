"""Neighbour sampling on compressed rows, behind PyG's sampler interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.sampler import BaseSampler, HeteroSamplerOutput, NodeSamplerInput

from spotify_engine.learning.attention import Neighbours
from spotify_engine.learning.draws import NodeDraws
from spotify_engine.learning.incoming_edges import IncomingEdges

EdgeType = tuple[str, str, str]


class NeighbourSampler(BaseSampler):
    """Expands seed nodes hop by hop over every relation that leads to them.

    Returned nodes stand in the order of their hop, roots first, without repeats. Edges of a
    relation are sorted by destination. ``fanouts[h]`` bounds the neighbours that a node draws by
    each relation at hop ``h``; -1 draws all.
    """

    def __init__(
        self,
        incoming: Mapping[EdgeType, IncomingEdges],
        num_nodes: Mapping[str, int],
        fanouts: tuple[int, ...],
        seed: int = 0,
    ) -> None:
        self.incoming, self.fanouts = dict(incoming), fanouts
        self.seed, self.calls = seed, 0
        # Local number of each global node, -1 when it is not in the sample. Kept between calls so
        # that a call costs what it touches, not the size of the graph.
        self._local = {kind: np.full(n, -1, dtype=np.int64) for kind, n in num_nodes.items()}

    @classmethod
    def from_data(
        cls,
        data: HeteroData,
        fanouts: tuple[int, ...],
        seed: int = 0,
        relations: Iterable[EdgeType] | None = None,
    ) -> NeighbourSampler:
        """A sampler over the given relations of a graph; over all of them if none are named."""
        sizes = {kind: data[kind].num_nodes for kind in data.node_types}
        incoming = {
            kind: IncomingEdges.from_edge_index(data[kind].edge_index, sizes[kind[2]])
            for kind in data.edge_types
            if relations is None or kind in relations
        }
        return cls(incoming, sizes, fanouts, seed)

    def sample_from_nodes(self, index: NodeSamplerInput, **_: object) -> HeteroSamplerOutput:
        """Sample as PyTorch Geometric's loaders ask for it."""
        return self.sample(index.input_type, index.node.numpy())

    def sample(
        self,
        kind: str,
        roots: np.ndarray,
        late: np.ndarray | None = None,
        draws: NodeDraws | None = None,
    ) -> HeteroSamplerOutput:
        """Sample around nodes of one type.

        Args:
            roots: distinct ids, expanded from the first hop on.
            late: more distinct ids, none of them in ``roots``, that join as if hop one had found
                them: they are expanded one hop less, because their states are needed one layer
                earlier.
            draws: which neighbours a node draws; other ones at each call when left out.
        """
        if draws is None:
            draws = NodeDraws(self.seed, self.calls)
            self.calls += 1
        nodes: dict[str, list[np.ndarray]] = {name: [] for name in self._local}
        totals = dict.fromkeys(self._local, 0)

        def add(name: str, ids: np.ndarray) -> None:
            self._local[name][ids] = np.arange(totals[name], totals[name] + len(ids))
            totals[name] += len(ids)
            nodes[name].append(ids)

        empty = np.zeros(0, dtype=np.int64)
        for name in nodes:
            add(name, np.asarray(roots, dtype=np.int64) if name == kind else empty)
        rows: dict[EdgeType, list[np.ndarray]] = {relation: [] for relation in self.incoming}
        cols: dict[EdgeType, list[np.ndarray]] = {relation: [] for relation in self.incoming}
        edges: dict[EdgeType, list[np.ndarray]] = {relation: [] for relation in self.incoming}
        for hop, fanout in enumerate(self.fanouts):
            frontier = {name: parts[-1] for name, parts in nodes.items()}
            first = {name: totals[name] - len(ids) for name, ids in frontier.items()}
            reached: dict[str, list[np.ndarray]] = {name: [empty] for name in nodes}
            for number, (relation, incoming) in enumerate(self.incoming.items()):
                source_kind, _, destination_kind = relation
                counts, positions = incoming.sample(
                    frontier[destination_kind], fanout, draws, number
                )
                source = incoming.source[positions]
                cols[relation].append(np.repeat(np.arange(len(counts)), counts))
                cols[relation][-1] += first[destination_kind]
                edges[relation].append(incoming.edge_id[positions])
                rows[relation].append(source)
                reached[source_kind].append(source)
            if hop == 0 and late is not None:
                reached[kind].append(late)
            for name, parts in reached.items():
                found = np.unique(np.concatenate(parts))
                add(name, found[self._local[name][found] < 0])
        out = HeteroSamplerOutput(
            node={name: _joined(parts) for name, parts in nodes.items()},
            row={
                relation: torch.from_numpy(self._local[relation[0]][np.concatenate(parts)])
                for relation, parts in rows.items()
            },
            col={relation: _joined(parts) for relation, parts in cols.items()},
            edge={relation: _joined(parts) for relation, parts in edges.items()},
            num_sampled_nodes={name: [len(p) for p in parts] for name, parts in nodes.items()},
            num_sampled_edges={name: [len(p) for p in parts] for name, parts in cols.items()},
        )
        for name, parts in nodes.items():
            for ids in parts:
                self._local[name][ids] = -1
        return out

    def sample_from_edges(self, *_: object, **__: object) -> HeteroSamplerOutput:
        """Refuse: edges are sampled by their end points.

        Raises:
            TypeError: always.
        """
        raise TypeError("this sampler expands nodes; pass both end points of the edges as nodes")

    @property
    def edge_permutation(self) -> None:
        """The order of the edges that sampling uses: their own."""
        return None


def _joined(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))


def neighbours_of(
    out: HeteroSamplerOutput, kind: EdgeType, drop: np.ndarray | None = None
) -> Neighbours:
    """The sampled edges of one relation as compressed rows over its sampled destinations.

    Args:
        out: sorted by destination.
        drop: bool ``[edges of the relation in the graph]``; edges to leave out, by edge id.
    """
    row, col = out.row[kind], out.col[kind]
    if drop is not None:
        keep = torch.from_numpy(~drop[out.edge[kind].numpy()])
        row, col = row[keep], col[keep]
    indptr = torch.zeros(len(out.node[kind[2]]) + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(col, minlength=len(indptr) - 1), 0, out=indptr[1:])
    return Neighbours(indptr, row)
