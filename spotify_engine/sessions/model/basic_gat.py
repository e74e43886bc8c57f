"""The Basic GAT: graph attention over users, songs and artists; what both GATs have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from spotify_engine.errors import InputError
from spotify_engine.learning.attention import GAT, Neighbours
from spotify_engine.learning.devices import device_of, moved
from spotify_engine.sessions.schema import ARTIST, BY, LISTENS_TO, REVERSE, SONG, USER, EdgeType

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData

LEAST_WEIGHT = 1e-3  # of an edge: a song skipped at once is still a neighbour
Attention = tuple[Tensor, Tensor]


class Relation(NamedTuple):
    """The edges of one relation, by destination.

    Attributes:
        neighbours: int64, see :class:`Neighbours`.
        weight: float32 ``[edges]``, above 0.
    """

    neighbours: Neighbours
    weight: Tensor


class Relations:
    """The relations of a graph sorted by destination, once, so that a step only leaves edges out.

    Args:
        data: as ``build_session_graph`` makes it.
    """

    def __init__(self, data: HeteroData) -> None:
        self.nodes = {kind: int(data[kind].num_nodes) for kind in data.node_types}
        self.kinds: tuple[EdgeType, ...] = tuple(data.edge_types)
        self._edges: dict[EdgeType, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        for kind in self.kinds:
            source, destination = data[kind].edge_index
            order = torch.argsort(destination, stable=True)
            if "edge_attr" in data[kind]:
                weight = data[kind].edge_attr[:, -1].clamp(min=LEAST_WEIGHT)
            else:
                weight = torch.ones(len(source))
            self._edges[kind] = (source[order], destination[order], weight[order], order)

    def to(self, device: torch.device) -> None:
        """Move all edges to where the model is that reads them."""
        self._edges = moved(self._edges, device)

    def edges(self, kind: EdgeType) -> Tensor:
        """int64 ``[2, edges]``, in the graph's order, as ``hidden`` counts them."""
        source, destination, _, order = self._edges[kind]
        found = torch.empty((2, len(order)), dtype=torch.int64, device=order.device)
        found[:, order] = torch.stack([source, destination])
        return found

    def get(self, kind: EdgeType, hidden: Tensor | None = None) -> Relation:
        """One relation; ``hidden`` (bool ``[listens_to edges]``) takes out those plays' edges."""
        source, destination, weight, order = self._edges[kind]
        if hidden is not None and kind in (LISTENS_TO, REVERSE[LISTENS_TO]):
            keep = ~hidden[order]
            source, destination, weight = source[keep], destination[keep], weight[keep]
        indptr = rows_of(destination, self.nodes[kind[2]])
        return Relation(Neighbours(indptr, source), weight)


class GenreParts(NamedTuple):
    """The parts of the genre score.

    Attributes:
        attention: float32 ``[users, genres]``, how much each user attends to each genre; rows sum
            to 1.
        songs: float32 ``[songs, genres]``, the genres of each song as shares that sum to 1.
        scale: float32 scalar above 0.
    """

    attention: Tensor
    songs: Tensor
    scale: Tensor


class Encoded(NamedTuple):
    """Encoded nodes, all at once, from which scores are computed.

    Attributes:
        users, songs: float32 ``[n, width]``.
        attention: float32 ``[listens_to edges in use]``, how much a user attends to each song,
            sums to 1 over a user's songs; beside int64 ``[2, edges]`` (user, song).
        genres: of an Enhanced GAT.
    """

    users: Tensor
    songs: Tensor
    attention: Attention
    genres: GenreParts | None = None


class SessionGAT(nn.Module):
    """The common base of both GATs: embeddings, scores and :meth:`recommend`."""

    embedding: nn.ModuleDict

    @abstractmethod
    def encode(
        self, x_dict: Mapping[str, Tensor], relations: Relations, hidden: Tensor | None = None
    ) -> Encoded:
        """Run the layers over the whole graph.

        Args:
            x_dict: first states by node type, as :meth:`x_dict` gives them.
            hidden: bool ``[listens_to edges]``, edges that are to be predicted.
        """

    @abstractmethod
    def score(self, encoded: Encoded, users: Tensor) -> Tensor:
        """``[users, songs]`` for int64 user rows."""

    def x_dict(self) -> dict[str, Tensor]:
        """First states of all nodes, by type."""
        return {kind: table.weight for kind, table in self.tables()}

    def tables(self) -> list[tuple[str, nn.Embedding]]:
        """The embedding table of each kind of node."""
        found = []
        for kind, table in self.embedding.items():
            assert isinstance(table, nn.Embedding)
            found.append((kind, table))
        return found

    @torch.no_grad()
    def start_from(self, embeddings: Mapping[str, Tensor]) -> None:
        """Begin with these first states, float32 ``[nodes, embedding_dim]`` by node type."""
        for kind, table in self.tables():
            table.weight.copy_(embeddings[kind])

    @torch.no_grad()
    def recommend(
        self, user_idx: int, x_dict: Mapping[str, Tensor], graph: HeteroData, k: int = 10
    ) -> tuple[Tensor, Tensor, Attention]:
        """The k songs that suit a user best, among those not heard in the graph.

        A user beyond the graph is cold: default embedding, the mean of all users.

        Returns:
            (song ids int64 ``[k]``, best first; scores ``[k]``; (edge_index int64 ``[2, e]`` of
            (user, song), weights ``[e]`` that sum to 1: the songs that the user attends to)

        Raises:
            InputError: k is below 1, or the user is negative.
        """
        if k < 1:
            raise InputError(f"k is {k}; ask for at least 1 recommendation")
        if user_idx < 0:
            raise InputError(f"user_idx is {user_idx}; users count from 0")
        was_training = self.training
        self.eval()
        encoded = self.encode(x_dict, Relations(graph))
        self.train(was_training)
        edges, weights = encoded.attention
        if user_idx < len(encoded.users):
            mine = edges[0] == user_idx
            scores = self.score(encoded, torch.tensor([user_idx]))[0]
        else:
            mine = torch.zeros(len(weights), dtype=torch.bool)
            average = encoded._replace(users=encoded.users.mean(0, keepdim=True))
            scores = self.score(average, torch.tensor([0]))[0]
        edges, weights = edges[:, mine], weights[mine]
        scores = scores.index_fill(0, edges[1], -torch.inf)
        best = scores.topk(min(k, int(scores.isfinite().sum())))
        return best.indices, best.values, (edges, weights)


class BasicGATConfig(BaseModel):
    """Settings of :class:`BasicGAT`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: int = Field(32, ge=1, le=1024)
    """Of embeddings and of what the layer makes of them."""
    heads: int = Field(4, ge=1)
    """Attention heads; they share the dimensions."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """On first states while training."""
    self_share: float = Field(0.3, gt=0, lt=1)
    """The weight of a node's own state beside all of its neighbours, where attention is uniform."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} does not divide into {self.heads} heads")
        return self


class BasicGAT(SessionGAT):
    """One GAT layer over users, songs and artists in one space; score(u, s) = u . s.

    Edges count by their weight. A node attends to itself as well, with ``self_share``.
    """

    kinds = (USER, SONG, ARTIST)
    relations = (LISTENS_TO, REVERSE[LISTENS_TO], BY, REVERSE[BY])

    def __init__(self, nodes: Mapping[str, int], config: BasicGATConfig) -> None:
        super().__init__()
        self.config, self.nodes = config, {kind: nodes[kind] for kind in self.kinds}
        self.embedding = nn.ModuleDict()
        for kind, n in self.nodes.items():
            table = nn.Embedding(n, config.dim)
            nn.init.normal_(table.weight, std=0.1)
            self.embedding[kind] = table
        self.gat = GAT(config.dim, config.dim, config.heads)
        # Begin as the mean of neighbours, so that a start from factors is worth something.
        nn.init.eye_(self.gat.value.weight)
        for part in (self.gat.source, self.gat.destination):
            nn.init.normal_(part, std=0.01)

    def encode(
        self, x_dict: Mapping[str, Tensor], relations: Relations, hidden: Tensor | None = None
    ) -> Encoded:
        """States of users and songs from one attention over all kinds of edges."""
        first = dict(zip(self.kinds, np.cumsum([0, *self.nodes.values()]).tolist(), strict=False))
        n = sum(self.nodes.values())
        present = [kind for kind in self.relations if kind in relations.kinds]
        found = [relations.get(kind, hidden) for kind in present]
        device = device_of(self)
        themselves = torch.arange(n, device=device)
        source = torch.cat(
            [
                each.neighbours.source + first[kind[0]]
                for kind, each in zip(present, found, strict=True)
            ]
            + [themselves]
        )
        destination = torch.cat(
            [
                each.neighbours.destination + first[kind[2]]
                for kind, each in zip(present, found, strict=True)
            ]
            + [themselves]
        )
        weight = torch.cat([each.weight for each in found] or [torch.zeros(0, device=device)])
        total = torch.zeros(n, device=device).index_add_(0, destination[: len(weight)], weight)
        own = total * (self.config.self_share / (1 - self.config.self_share))
        weight = torch.cat([weight, torch.where(total > 0, own, 1.0)])
        order = torch.argsort(destination, stable=True)
        indptr = rows_of(destination, n)
        states = torch.cat([x_dict[kind] for kind in self.kinds])
        states = nn.functional.dropout(states, self.config.dropout, self.training)
        source = source[order]
        out, attention = self.gat(states, Neighbours(indptr, source), weight[order])
        users, songs = first[USER], first[SONG]
        end = int(indptr[self.nodes[USER]])  # users come first, and so do the edges to them
        heard = source[:end] >= songs
        to = destination[order][:end][heard]
        edges = torch.stack([to - users, source[:end][heard] - songs])
        share = normalised(attention[:end][heard].mean(1), to, self.nodes[USER])
        return Encoded(
            out[users : users + self.nodes[USER]],
            out[songs : songs + self.nodes[SONG]],
            (edges, share),
        )

    def score(self, encoded: Encoded, users: Tensor) -> Tensor:
        """Score all songs for users ``[n]``: float ``[n, songs]``."""
        return encoded.users[users] @ encoded.songs.T


def rows_of(destination: Tensor, n: int) -> Tensor:
    """int64 ``[n + 1]``: where the edges of each of n destinations begin, once sorted by it."""
    indptr = torch.zeros(n + 1, dtype=torch.int64, device=destination.device)
    torch.cumsum(torch.bincount(destination, minlength=n), 0, out=indptr[1:])
    return indptr


def normalised(weights: Tensor, group: Tensor, n: int) -> Tensor:
    """Weights ``[edges]`` as shares that sum to 1 in each group (int64 ``[edges]``, below n)."""
    total = weights.new_zeros(n).index_add_(0, group, weights.detach())
    return weights.detach() / total[group].clamp(min=1e-12)
