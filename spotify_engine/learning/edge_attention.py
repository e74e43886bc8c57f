"""Attention over the edges from what a listener has heard to what could come next.

The head of both recommenders' second stage: it scores candidates that a first stage found, by how
each of them is connected to each track that is known of the listener.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NEVER = -1e4  # a logit that leaves no attention
SLOPE = 0.2  # of the leaky ReLU, as in GAT
AGES = (0, 1, 2, 3, 4, 6, 9, 14, 24, 49)
"""Upper ends of the classes of age: the last track, the one before it, and so on; older than the
last of them is a class of its own."""


class Edges(NamedTuple):
    """Questions, each with sources (what is known of a listener) and candidates.

    Attributes:
        edges: float ``[Q, S, C, F]``, features of the edge from a source to a candidate; 0 says
            nothing.
        sources: bool ``[Q, S]``, false where a question has fewer sources.
        ages: int64 ``[Q, S]``, classes of :func:`age_classes`.
        candidates: float ``[Q, C, G]``, features of the candidates themselves.
        offered: bool ``[Q, C]``, false where a question has fewer candidates.
    """

    edges: Tensor
    sources: Tensor
    ages: Tensor
    candidates: Tensor
    offered: Tensor


class Contributions(NamedTuple):
    """A score taken apart, exactly.

    Attributes:
        edges: ``[Q, S, C, F - key_only]``, what each source adds through each feature.
        candidates: ``[Q, C, G]``, what each feature of the candidate adds. The score is the sum of
            both.
        attention: ``[Q, S, C, H]``; sums to 1 over the sources.
    """

    edges: Tensor
    candidates: Tensor
    attention: Tensor


def age_classes(ages: Tensor) -> Tensor:
    """Classes of ages (0: the last track; int64, of any shape), by :data:`AGES`."""
    return torch.bucketize(ages, torch.tensor(AGES))


class EdgeAttention(nn.Module):
    r"""Multi-head attention of candidates over a listener's tracks, by features of their edges.

    .. math::
        score(c) = w \cdot z_c + \sum_h \sum_j \alpha_{hj}(c)\, v_h \cdot x_{jc}, \quad
        \alpha_{h \cdot}(c) = \mathrm{softmax}_j(A\, \sigma(B x_{jc} + p_{age(j)}) + q_{age(j)})_h

    where p and q are learned vectors of each class of age: a track just heard may be asked
    otherwise than one long ago.

    This is graph attention of the dynamic kind (GATv2, Brody et al., ICLR 2022) on the bipartite
    graph of tracks heard and candidates: who is attended to depends on who asks. The message is
    linear in x, so that each track's and each feature's share of a score is exact.

    Args:
        edge_features, candidate_features: F and G.
        heads: H.
        hidden: width of what the logits are read from.
        ordered: whether the age of a track means anything; else attention doesn't see it.
        key_only: how many of the last features of an edge attention alone sees: what is the same
            for all candidates is no message to any of them.
    """

    edge_scale: Tensor
    candidate_scale: Tensor

    def __init__(
        self,
        edge_features: int,
        candidate_features: int,
        heads: int = 4,
        hidden: int = 16,
        ordered: bool = True,
        key_only: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("edge_scale", torch.ones(edge_features))
        self.register_buffer("candidate_scale", torch.ones(candidate_features))
        self.ordered = ordered
        self.read = nn.Linear(edge_features, hidden)
        self.key = nn.Linear(hidden, heads)
        classes = len(AGES) + 1 if ordered else 1
        self.age_read = nn.Parameter(torch.zeros(classes, hidden))
        self.age_key = nn.Parameter(torch.zeros(classes, heads))
        self.value = nn.Parameter(torch.full((heads, edge_features - key_only), 0.1))
        self.weight = nn.Parameter(torch.zeros(candidate_features))

    @torch.no_grad()
    def fit_scale(self, questions: Sequence[Edges]) -> None:
        """Divide features by their root mean square where they aren't zero; nothing is centred."""
        for scale, parts in (
            (self.edge_scale, [each.edges.flatten(0, 2) for each in questions]),
            (self.candidate_scale, [each.candidates.flatten(0, 1) for each in questions]),
        ):
            # What is padded is zero.
            number = sum((part != 0).sum(0) for part in parts)
            squares = sum(part.square().sum(0) for part in parts)
            assert isinstance(number, Tensor)
            scale.copy_((squares / number.clamp(min=1)).sqrt())
            scale[scale == 0] = 1

    def attention(self, questions: Edges) -> tuple[Tensor, Tensor]:
        """(attention ``[Q, S, C, H]``, scaled edges)."""
        x = questions.edges / self.edge_scale
        ages = questions.ages if self.ordered else torch.zeros_like(questions.ages)
        hidden = F.leaky_relu(self.read(x) + self.age_read[ages][:, :, None], SLOPE)
        logits = self.key(hidden) + self.age_key[ages][:, :, None]
        logits = logits.masked_fill(~questions.sources[:, :, None, None], NEVER)
        return logits.softmax(dim=1) * questions.sources[:, :, None, None], x

    def forward(self, questions: Edges) -> Tensor:
        """Scores ``[Q, C]``; minus infinity where no candidate is offered."""
        attention, x = self.attention(questions)
        message = x[..., : self.value.shape[1]] @ self.value.T  # [Q, S, C, H]
        scores = (attention * message).sum((1, 3))
        scores = scores + (questions.candidates / self.candidate_scale) @ self.weight
        return scores.masked_fill(~questions.offered, -torch.inf)

    @torch.no_grad()
    def contributions(self, questions: Edges) -> Contributions:
        """Each source's and each feature's share of the scores."""
        attention, x = self.attention(questions)
        by_edge = (attention @ self.value) * x[..., : self.value.shape[1]]
        own = questions.candidates / self.candidate_scale * self.weight
        return Contributions(by_edge, own, attention)


def next_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the targets among the candidates, the mean over targets.

    Args:
        scores: ``[Q, C]``, minus infinity where no candidate is offered.
        targets: bool ``[Q, C]``; questions without any count for nothing.
    """
    logs = scores.log_softmax(dim=1)
    return -logs[targets].sum() / targets.sum().clamp(min=1)
