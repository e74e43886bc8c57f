"""Graph attention from one node type to another, over edges sorted by destination."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Neighbours(NamedTuple):
    """Incoming edges of ``D`` destination nodes in compressed rows.

    Attributes:
        indptr: int64 ``[D + 1]``; the sources of destination ``i`` are
            ``source[indptr[i]:indptr[i + 1]]``.
        source: int64 ``[edges]``, rows of the source matrix.
    """

    indptr: Tensor
    source: Tensor

    @property
    def destination(self) -> Tensor:
        """int64 ``[edges]``: which destination each edge leads to."""
        counts = self.indptr.diff()
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


class Projected(NamedTuple):
    """Source nodes as attention sees them.

    Attributes:
        values: float ``[sources, heads, channels]``.
        keys: float ``[sources, heads]``, their part of the attention logit.
    """

    values: Tensor
    keys: Tensor


def segment_softmax(logits: Tensor, neighbours: Neighbours) -> Tensor:
    """Softmax over the edges of each destination and head, ``[edges, heads]`` in and out."""
    # torch_geometric.utils.softmax gives the same bits, no faster (1M edges, there and back: 1.0 to
    # 1.2 times as long); importing it costs a server 2.7 s and 120 MB a process.
    counts = neighbours.indptr.diff()
    # The maximum only keeps exp() from overflowing; no gradient flows through it.
    top = torch.segment_reduce(logits.detach(), "max", offsets=neighbours.indptr)
    weights = (logits - _spread(top, counts, len(logits))).exp()
    total = torch.segment_reduce(weights, "sum", offsets=neighbours.indptr)
    return weights / _spread(total, counts, len(logits))


def _spread(rows: Tensor, counts: Tensor, edges: int) -> Tensor:
    """A row for each edge, of its destination's."""
    return rows.repeat_interleave(counts, 0, output_size=edges)


class BipartiteGAT(nn.Module):
    r"""Multi-head attention of destination nodes over their source neighbours.

    .. math::
        e_{ij} &= \mathrm{LeakyReLU}(q^T h_i + k^T W h_j), \quad
        \alpha_{ij} = \mathrm{softmax}_j(e_{ij}) \\
        h'_i &= \Vert_{heads} \sum_j \alpha_{ij} W h_j

    This is GAT (Velickovic et al., 2018) with the destination's part of the logit written as one
    vector ``q`` in place of ``a_dst^T W_dst``. The sum runs as one ``embedding_bag``, which never
    holds a message per edge: a layer needs memory for nodes, not for edges x channels.

    Shapes:
        - sources ``[sources, in_source]``, destinations ``[D, in_destination]``
        - output ``[D, heads * channels]``, attention ``[edges, heads]``; a destination without
          neighbours gets zeros
    """

    def __init__(
        self,
        in_source: int,
        in_destination: int,
        out: int,
        heads: int,
        dropout: float = 0.0,
        negative_slope: float = 0.2,
    ) -> None:
        super().__init__()
        if out % heads:
            raise ValueError(f"{out} output dimensions do not divide into {heads} heads")
        self.heads, self.channels = heads, out // heads
        self.dropout, self.negative_slope = dropout, negative_slope
        self.value = nn.Linear(in_source, out, bias=False)
        self.key = nn.Parameter(torch.empty(heads, self.channels))
        self.query = nn.Linear(in_destination, heads, bias=False)
        nn.init.xavier_uniform_(self.value.weight)
        nn.init.xavier_uniform_(self.key)
        nn.init.xavier_uniform_(self.query.weight)

    def project(self, sources: Tensor) -> Projected:
        """Project the sources for all destinations: computed once, used by every one of them."""
        values = self.value(sources).view(-1, self.heads, self.channels)
        return Projected(values, (values * self.key).sum(-1))

    def forward(
        self,
        projected: Projected,
        destinations: Tensor,
        neighbours: Neighbours,
        edge_weight: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``edge_weight``: above 0, ``[edges]``; attention is in proportion to it."""
        queries = self.query(destinations)
        attention = edge_attention(projected.keys, queries, neighbours, edge_weight,
                                   self.negative_slope)  # fmt: skip
        weights = F.dropout(attention, self.dropout, self.training)
        return weighted_sum(projected.values, weights, neighbours), attention


class GAT(nn.Module):
    r"""Graph attention among nodes of one space (Velickovic et al., ICLR 2018), without bias.

    .. math::
        \alpha_{ij} = \mathrm{softmax}_j(\mathrm{LeakyReLU}(a_{dst}^T W h_i + a_{src}^T W h_j)),
        \quad h'_i = \Vert_{heads} \sum_j \alpha_{ij} W h_j

    Shapes:
        - states ``[nodes, width]``, edge_weight ``[edges]`` above 0, in proportion to which
          neighbours are attended to
        - output ``[nodes, heads * channels]``, attention ``[edges, heads]``
    """

    def __init__(
        self, width: int, out: int, heads: int, dropout: float = 0.0, negative_slope: float = 0.2
    ) -> None:
        super().__init__()
        if out % heads:
            raise ValueError(f"{out} output dimensions do not divide into {heads} heads")
        self.heads, self.channels = heads, out // heads
        self.dropout, self.negative_slope = dropout, negative_slope
        self.value = nn.Linear(width, out, bias=False)
        self.source = nn.Parameter(torch.empty(heads, self.channels))
        self.destination = nn.Parameter(torch.empty(heads, self.channels))
        for weight in (self.value.weight, self.source, self.destination):
            nn.init.xavier_uniform_(weight)

    def forward(
        self, states: Tensor, neighbours: Neighbours, edge_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Each node's new state, and the attention of its edges."""
        values = self.value(states).view(-1, self.heads, self.channels)
        keys, queries = (values * self.source).sum(-1), (values * self.destination).sum(-1)
        attention = edge_attention(keys, queries, neighbours, edge_weight, self.negative_slope)
        weights = F.dropout(attention, self.dropout, self.training)
        return weighted_sum(values, weights, neighbours), attention


def edge_attention(
    keys: Tensor,
    queries: Tensor,
    neighbours: Neighbours,
    edge_weight: Tensor | None,
    negative_slope: float,
) -> Tensor:
    """Attention ``[edges, heads]`` from the sources' and destinations' parts of the logits."""
    logits = keys[neighbours.source] + queries[neighbours.destination]
    logits = F.leaky_relu(logits, negative_slope)
    if edge_weight is not None:
        logits = logits + edge_weight.log()[:, None]
    return segment_softmax(logits, neighbours)


def weighted_sum(values: Tensor, weights: Tensor, neighbours: Neighbours) -> Tensor:
    """Sum of each destination's sources, ``[D, heads * channels]``, by ``[edges, heads]``."""
    out = [
        F.embedding_bag(
            neighbours.source,
            values[:, head].contiguous(),
            neighbours.indptr[:-1],
            mode="sum",
            per_sample_weights=weights[:, head].contiguous(),
        )
        for head in range(values.shape[1])
    ]
    return torch.cat(out, dim=1)
