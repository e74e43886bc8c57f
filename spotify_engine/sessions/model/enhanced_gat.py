"""The Enhanced GAT: two layers over all relations, and scores that know of genres."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from spotify_engine.learning.attention import BipartiteGAT
from spotify_engine.learning.devices import device_of
from spotify_engine.sessions.model.basic_gat import (
    Encoded,
    GenreParts,
    Relations,
    SessionGAT,
    normalised,
)
from spotify_engine.sessions.schema import (
    GENRE,
    HAS_GENRE,
    LISTENS_TO,
    NODE_TYPES,
    PREFERS,
    REVERSE,
    SONG,
    USER,
    EdgeType,
)


class EnhancedGATConfig(BaseModel):
    """Settings of :class:`EnhancedGAT`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: int = Field(32, ge=2, le=1024)
    """Of embeddings and of the last layer."""
    hidden: int = Field(64, ge=4, le=1024)
    """Of the first layer."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """On states, while training."""
    alpha: float = Field(0.8, ge=0, le=1)
    """Weight of the collaborative score; the genre score has the rest."""


HEADS = (4, 2)


class EnhancedGAT(SessionGAT):
    r"""Graph attention over users, songs, artists and genres.

    .. math::
        final(u, s) = \alpha\, u \cdot s + (1 - \alpha)\, \gamma \sum_g a_{ug} b_{sg}

    u and s are the last of two layers (64 dimensions with 4 heads, then 32 with 2; batch norm and
    dropout between) plus the node's own embedding; a is the user's attention over genres, in which
    the affinity of ``prefers`` counts beside what is learned; b are the song's genres. Every genre
    adds ``a b`` to the genre score, so an explanation is the score taken apart.
    """

    def __init__(
        self, nodes: Mapping[str, int], relations: Iterable[EdgeType], config: EnhancedGATConfig
    ) -> None:
        super().__init__()
        self.config, self.nodes = config, dict(nodes)
        present = tuple(relations)
        self.embedding = nn.ModuleDict()
        for kind in NODE_TYPES:
            table = nn.Embedding(nodes[kind], config.dim)
            nn.init.normal_(table.weight, std=0.1)
            self.embedding[kind] = table
        self.first = _layer(present, config.dim, config.hidden, HEADS[0])
        self.norm = nn.ModuleDict({kind: nn.BatchNorm1d(config.hidden) for kind in NODE_TYPES})
        self.own = nn.ModuleDict(
            {kind: nn.Linear(config.dim, config.hidden, bias=False) for kind in NODE_TYPES}
        )
        # What is scored are users and songs; only relations that end there have a second layer.
        scored = tuple(kind for kind in present if kind[2] in (USER, SONG))
        self.second = _layer(scored, config.hidden, config.dim, HEADS[1])
        for conv in self.second.values():
            assert isinstance(conv, BipartiteGAT)
            nn.init.normal_(conv.value.weight, std=0.02)
        self.query = nn.Linear(config.dim, config.dim, bias=False)
        self.affinity = nn.Parameter(torch.tensor(1.0))
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def encode(
        self, x_dict: Mapping[str, Tensor], relations: Relations, hidden: Tensor | None = None
    ) -> Encoded:
        """States of users and songs from an attention of its own for each kind of edge."""
        found = {kind: relations.get(kind, hidden) for kind in relations.kinds}
        dropout = self.config.dropout
        states = {kind: F.dropout(x, dropout, self.training) for kind, x in x_dict.items()}
        total = {kind: self.own[kind](x) for kind, x in states.items()}
        for kind, conv in _convs(self.first, found):
            message, _ = conv(
                conv.project(states[kind[0]]), states[kind[2]], found[kind].neighbours,
                found[kind].weight,
            )  # fmt: skip
            total[kind[2]] = total[kind[2]] + message
        middle = {
            kind: F.dropout(F.elu(self._normed(kind, x)), dropout, self.training)
            for kind, x in total.items()
            if len(x)
        }
        last = {kind: states[kind] for kind in (USER, SONG)}
        device = device_of(self)
        attended = (
            torch.zeros((2, 0), dtype=torch.int64, device=device),
            torch.zeros(0, device=device),
        )
        for kind, conv in _convs(self.second, found):
            message, attention = conv(
                conv.project(middle[kind[0]]), middle[kind[2]], found[kind].neighbours,
                found[kind].weight,
            )  # fmt: skip
            last[kind[2]] = last[kind[2]] + message
            if kind == REVERSE[LISTENS_TO]:
                user = found[kind].neighbours.destination
                share = normalised(attention.mean(1), user, self.nodes[USER])
                attended = (torch.stack([user, found[kind].neighbours.source]), share)
        genres = self._genres(last[USER], x_dict[GENRE], found, relations)
        return Encoded(last[USER], last[SONG], attended, genres)

    def _normed(self, kind: str, x: Tensor) -> Tensor:
        norm = self.norm[kind]
        assert isinstance(norm, nn.BatchNorm1d)
        if len(x) == 1:  # no spread to learn from
            return F.batch_norm(
                x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        normed: Tensor = norm(x)
        return normed

    def _genres(
        self,
        users: Tensor,
        genres: Tensor,
        found: Mapping[EdgeType, object],
        relations: Relations,
    ) -> GenreParts:
        n_genres = self.nodes[GENRE]
        affinity = users.new_zeros(self.nodes[USER], n_genres)
        if PREFERS in found:
            prefers = relations.get(PREFERS)
            edges = prefers.neighbours
            affinity[edges.source, edges.destination] = prefers.weight
        songs = users.new_zeros(self.nodes[SONG], n_genres)
        if HAS_GENRE in found:
            edges = relations.get(HAS_GENRE).neighbours
            songs[edges.source, edges.destination] = 1.0
        songs = songs / songs.sum(1, keepdim=True).clamp(min=1)
        logits = self.query(users) @ genres.T + self.affinity * torch.log(affinity + 0.05)
        return GenreParts(logits.softmax(dim=1), songs, self.log_scale.exp())

    def score(self, encoded: Encoded, users: Tensor) -> Tensor:
        """Score all songs for users ``[n]`` by both terms: float ``[n, songs]``."""
        collaborative, genre = self.parts(encoded, users)
        return self.config.alpha * collaborative + (1 - self.config.alpha) * genre

    def parts(self, encoded: Encoded, users: Tensor) -> tuple[Tensor, Tensor]:
        """(collaborative, genre) scores, each ``[users, songs]``."""
        genres = encoded.genres
        assert genres is not None
        collaborative = encoded.users[users] @ encoded.songs.T
        return collaborative, genres.scale * genres.attention[users] @ genres.songs.T


def _layer(kinds: Iterable[EdgeType], width: int, out: int, heads: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {"__".join(kind): BipartiteGAT(width, width, out, heads) for kind in kinds}
    )


def _convs(
    layer: nn.ModuleDict, found: Mapping[EdgeType, object]
) -> list[tuple[EdgeType, BipartiteGAT]]:
    """The relations of a layer that this graph has."""
    convs = []
    for kind in found:
        name = "__".join(kind)
        if name in layer:
            conv = layer[name]
            assert isinstance(conv, BipartiteGAT)
            convs.append((kind, conv))
    return convs
