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
        return torch.repeat_interleave(torch.arange(len(counts)), counts)


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
    destination = neighbours.destination[:, None].expand_as(logits)
    shape = (len(neighbours.indptr) - 1, logits.shape[1])
    # The maximum only keeps exp() from overflowing; no gradient flows through it.
    top = logits.new_zeros(shape).scatter_reduce(
        0, destination, logits.detach(), "amax", include_self=False
    )
    weights = (logits - top.gather(0, destination)).exp()
    total = logits.new_zeros(shape).scatter_add(0, destination, weights)
    return weights / total.gather(0, destination)


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
        """What every destination sees of the sources: computed once, used by all of them."""
        values = self.value(sources).view(-1, self.heads, self.channels)
        return Projected(values, (values * self.key).sum(-1))

    def forward(
        self, projected: Projected, destinations: Tensor, neighbours: Neighbours
    ) -> tuple[Tensor, Tensor]:
        logits = F.leaky_relu(
            projected.keys[neighbours.source] + self.query(destinations)[neighbours.destination],
            self.negative_slope,
        )
        attention = segment_softmax(logits, neighbours)
        weights = F.dropout(attention, self.dropout, self.training)
        out = [
            F.embedding_bag(
                neighbours.source,
                projected.values[:, head].contiguous(),
                neighbours.indptr[:-1],
                mode="sum",
                per_sample_weights=weights[:, head].contiguous(),
            )
            for head in range(self.heads)
        ]
        return torch.cat(out, dim=1), attention
