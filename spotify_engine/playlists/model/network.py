"""The network of PlaylistGAT: graph attention over playlists, tracks, artists and genres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from spotify_engine.learning.attention import Neighbours
from spotify_engine.playlists.model.layer import HeteroGATLayer
from spotify_engine.playlists.schema import ARTIST, IN, MADE, PLAYLIST, TRACK, EdgeType

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData

EPSILON = 1e-12  # below any length of a vector that is not zero


class PlaylistGATConfig(BaseModel):
    """Widths and switches of a :class:`PlaylistNetwork`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedding_dim: int = Field(256, ge=1, le=1024)
    """Learned numbers a node brings, beside its features."""
    layers: tuple[int, ...] = Field((256,), min_length=1, max_length=6)
    """Output width of each layer; the last one is the width of p and t in the score."""
    heads: tuple[int, ...] = (4,)
    """Attention heads of each layer."""
    temperature: float = Field(0.1, gt=0, le=10)
    """Where the learned temperature starts by which the cosine of p and t is divided."""
    seed_dropout: float = Field(0.7, ge=0, lt=1)
    """On the track states that a playlist to complete attends to, while training."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Between layers, on node states."""
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    """On attention weights while training."""
    playlist_embedding: bool = False
    """Give each playlist of the graph an embedding, which its tracks' neighbours see. A playlist to
    complete stays its tracks, known or not."""
    skip: bool = True
    """The last layer sees first states beside the state so far: a track's own and its artists'."""

    @model_validator(mode="after")
    def _widths_fit(self) -> PlaylistGATConfig:
        if len(self.heads) != len(self.layers):
            raise ValueError(f"{len(self.heads)} heads given for {len(self.layers)} layers")
        for width, heads in zip(self.layers, self.heads, strict=True):
            if heads < 1 or width % heads:
                raise ValueError(f"a layer of {width} does not divide into {heads} heads")
        return self


class GraphShape(NamedTuple):
    """The shape of a graph: all that is needed to build a model before any data is read.

    Attributes:
        nodes: nodes of each type.
        features: feature columns of each type.
        relations: edge types present.
    """

    nodes: dict[str, int]
    features: dict[str, int]
    relations: tuple[EdgeType, ...]

    @classmethod
    def of(cls, data: HeteroData) -> GraphShape:
        """The shape of a graph."""
        return cls(
            {kind: int(data[kind].num_nodes) for kind in data.node_types},
            {kind: int(data[kind].x.shape[1]) for kind in data.node_types},
            tuple(data.edge_types),
        )


class PlaylistNetwork(nn.Module):
    """Vectors of playlists and tracks, whose score is ``scale * cos(p, t) + bias_t``.

    States start as [embedding; features]; each :class:`HeteroGATLayer` mixes them along the
    graph's relations. ``t`` is a track's last state and depends on no particular playlist. ``p`` is
    the last layer's attention over the playlist's tracks, so that an unseen playlist needs only its
    tracks (``encoding.fold_in``). Relations and nodes that can't reach a score are not built.
    """

    def __init__(self, shape: GraphShape, config: PlaylistGATConfig) -> None:
        super().__init__()
        self.shape, self.config = shape, config
        read = {TRACK, *(kind for r in self._relations_at(0) for kind in (r[0], r[2]))}
        used = [kind for kind, n in shape.nodes.items() if n and kind in read]
        self.embedding = nn.ModuleDict(
            {
                kind: nn.Embedding(shape.nodes[kind], config.embedding_dim, sparse=True)
                for kind in used
                if kind != PLAYLIST or config.playlist_embedding
            }
        )
        for table in self.embedding.values():
            assert isinstance(table, nn.Embedding)
            nn.init.normal_(table.weight, std=config.embedding_dim**-0.5)
        self.bias = nn.Embedding(shape.nodes[TRACK], 1, sparse=True)
        nn.init.zeros_(self.bias.weight)
        widths = {
            kind: shape.features[kind] + (config.embedding_dim if kind in self.embedding else 0)
            for kind in used
        }
        joins = config.skip
        # How many of the last columns that the last layer reads of a track are its artists'.
        self.artist_columns = widths[ARTIST] if joins and MADE in shape.relations else 0
        self.track_columns = widths[TRACK]
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.layers = nn.ModuleList()
        for depth, (out, heads) in enumerate(zip(config.layers, config.heads, strict=True)):
            relations = self._relations_at(depth)
            last = depth == len(config.layers) - 1
            if last and joins:
                widths[TRACK] += self.artist_columns + (self.track_columns if depth else 0)
            layer = HeteroGATLayer(
                widths, out, heads, relations, config.dropout, config.attention_dropout, last
            )
            self.layers.append(layer)
            widths = dict.fromkeys([TRACK, *(kind[2] for kind in relations)], out)

    def _relations_at(self, depth: int) -> list[EdgeType]:
        """Relations of a layer that can still reach a playlist's or a track's last state."""
        needed = {PLAYLIST, TRACK}
        present: list[EdgeType] = []
        for _ in range(len(self.config.layers) - depth):
            present = [kind for kind in self.shape.relations if kind[2] in needed]
            needed |= {kind[0] for kind in present}
        return present

    def layer(self, depth: int) -> HeteroGATLayer:
        """The layer of one depth, from 0."""
        module = self.layers[depth]
        assert isinstance(module, HeteroGATLayer)
        return module

    @property
    def scale(self) -> Tensor:
        """One over the temperature."""
        return self.log_scale.exp()

    @torch.no_grad()
    def start_from(self, embeddings: Mapping[str, Tensor], value: Tensor, bias: Tensor) -> None:
        """Begin as a factor model: t the track's own vector, p the mean of its tracks' values.

        A track's vector is its embedding plus its artists'; attention begins uniform. What the
        layers before the last one and the last one's neighbours add begins at zero.

        Args:
            embeddings: float ``[nodes, embedding_dim]`` by node type.
            value: float ``[embedding_dim, embedding_dim]``, applied to what a playlist reads.
            bias: float ``[tracks]``.
        """
        for kind, start in embeddings.items():
            table = self.embedding[kind]
            assert isinstance(table, nn.Embedding)
            table.weight.copy_(start)
        self.bias.weight.copy_(bias[:, None])
        if len(self.layers) > 1 and not self.config.skip:
            return  # the last layer does not see the embeddings
        last = self.layer(len(self.layers) - 1)
        own = last.own[TRACK]
        assert isinstance(own, nn.Linear)
        for relation in last.relations:
            if relation != IN:
                last.gat(relation).value.weight.zero_()
        seen = last.gat(IN)
        seen.key.zero_()
        for weight, block in ((own.weight, torch.eye(len(value))), (seen.value.weight, value)):
            weight.zero_()
            out, width = weight.shape
            dim = min(self.config.embedding_dim, out)
            at_artists = width - self.artist_columns
            columns = [at_artists - self.track_columns]
            if self.artist_columns:
                columns.append(at_artists)
            for column in columns:
                weight[:dim, column : column + len(block)] = block[:dim]
        own.bias.zero_()

    def inputs(
        self, kind: str, features: Tensor, ids: Tensor | None, known: Tensor | None = None
    ) -> Tensor:
        """First states ``[n, width]``: embedding (if the type has one) and features.

        Args:
            features: ``[n, features]`` of the nodes asked for.
            ids: int64 ``[n]``; None for nodes that were never seen, whose embedding is zero.
            known: bool ``[n]``; the others' embedding is zero as well. None: all are known.
        """
        if kind not in self.embedding:
            return features
        if ids is None:
            learned = features.new_zeros((len(features), self.config.embedding_dim))
        else:
            learned = self.embedding[kind](ids)
            if known is not None:
                learned = learned * known[:, None]
        return torch.cat([learned, features], dim=1)

    def forward(
        self,
        states: Mapping[str, Tensor],
        neighbours: Mapping[EdgeType, Neighbours],
        reach: list[dict[str, int]],
        playlists: Tensor,
        seeds: Neighbours,
        ranked: int,
    ) -> tuple[Tensor, Tensor, list[dict[EdgeType, Tensor]]]:
        """Playlist and track vectors of a sampled neighbourhood.

        Args:
            states: first states of the sampled nodes, in the order of their hop.
            neighbours: sampled edges.
            reach: for each layer, how many leading nodes of each type still matter after it.
            playlists: ``[B, width]`` first states of the playlists to complete, which are not
                among the sampled nodes.
            seeds: their seed tracks, as rows of the sampled tracks.
            ranked: how many leading sampled tracks get a vector.

        Returns:
            (p ``[B, out]`` of length 1, t ``[ranked, out]`` of length 1 / temperature, whose
            product is the score without bias; attention by layer and edge type of the sampled
            neighbourhood)
        """
        first, attention = states, []
        for depth, counts in enumerate(reach):
            layer = self.layer(depth)
            states = self.with_skip(depth, states, first, neighbours.get(MADE))
            if layer.last:
                # Seeds are read and ranked tracks updated, and most tracks are only one of both.
                counts = {TRACK: ranked}
                projected = layer.project(states, [r for r in layer.relations if r[2] == TRACK])
                read, source = torch.unique(seeds.source, return_inverse=True)
                dropped = F.dropout(states[TRACK][read], self.config.seed_dropout, self.training)
                seen, seeds = layer.gat(IN).project(dropped), Neighbours(seeds.indptr, source)
            else:
                projected = layer.project(states)
                seen = projected[IN]
            playlists, _ = layer.update(PLAYLIST, playlists, {IN: seen}, {IN: seeds})
            updated, weights = {}, {}
            for kind, n in counts.items():
                edges = {
                    relation: Neighbours(
                        neighbours[relation].indptr[: n + 1],
                        neighbours[relation].source[: int(neighbours[relation].indptr[n])],
                    )
                    for relation in layer.relations
                    if relation[2] == kind
                }
                updated[kind], captured = layer.update(kind, states[kind][:n], projected, edges)
                weights.update(captured)
            states = updated
            attention.append(weights)
        tracks = self.scale * F.normalize(states[TRACK], eps=EPSILON)
        return F.normalize(playlists, eps=EPSILON), tracks, attention

    def with_skip(
        self,
        depth: int,
        states: Mapping[str, Tensor],
        first: Mapping[str, Tensor],
        artists: Neighbours | None,
    ) -> Mapping[str, Tensor]:
        """The input of a layer: before the last one, tracks' states are joined by first states.

        Args:
            first: first states of all nodes, of which ``states`` may hold the leading ones.
            artists: of the tracks, over ``first``'s artists; their mean joins last.
        """
        if not (self.config.skip and self.layer(depth).last):
            return states
        tracks = states[TRACK]
        n = len(tracks)
        joined = [tracks, first[TRACK][:n]] if depth else [tracks]
        if artists is not None:
            indptr = artists.indptr[: n + 1]
            joined.append(
                F.embedding_bag(
                    artists.source[: int(indptr[-1])], first[ARTIST], indptr[:-1], mode="mean"
                )
            )
        return {**states, TRACK: torch.cat(joined, dim=1)}

    def reach(self, num_sampled_nodes: Mapping[str, list[int]]) -> list[dict[str, int]]:
        """How many leading sampled nodes of each type each layer must still compute."""
        depth = len(self.config.layers)
        counts = []
        for done in range(1, depth + 1):
            kinds = dict.fromkeys([TRACK, *(r[2] for r in self.layer(done - 1).relations)])
            counts.append(
                {kind: sum(num_sampled_nodes[kind][: depth - done + 1]) for kind in kinds}
            )
        return counts
