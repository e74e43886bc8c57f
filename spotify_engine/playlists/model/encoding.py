"""A trained model's view of every track, computed once: what completing a playlist needs."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spotify_engine.learning.attention import Neighbours, Projected
from spotify_engine.learning.devices import device_of, moved
from spotify_engine.learning.incoming_edges import IncomingEdges
from spotify_engine.playlists.model.layer import HeteroGATLayer
from spotify_engine.playlists.model.network import EPSILON, PlaylistNetwork
from spotify_engine.playlists.schema import (
    ARTIST,
    CONTAINS,
    IN,
    MADE,
    PLAYLIST,
    TRACK,
    EdgeType,
)
from spotify_engine.ragged import Ragged

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData

# A destination chunk bounds what one attention call holds in memory.
CHUNK = 16_384
# What a track's vector is the sum of: itself, the playlists it is in, its artists (and, through
# them, their genres).
VECTOR_PARTS = ("track", "playlists", "artists")


@dataclass(frozen=True)
class EncodedTracks:
    """Tracks as a playlist sees them.

    Attributes:
        folds: for each layer, the tracks projected for the playlists' attention.
        parts: float ``[3, tracks, out]``, by :data:`VECTOR_PARTS`; their sum is t.
        vectors: float ``[tracks, out]``, t, of length 1 / temperature.
        bias: float ``[tracks]``.
    """

    folds: list[Projected]
    parts: Tensor
    vectors: Tensor
    bias: Tensor


@torch.no_grad()
def encode_tracks(model: PlaylistNetwork, data: HeteroData) -> EncodedTracks:
    """Run all layers over the whole graph, layer by layer, with every neighbour of every node.

    On the model's device, where the result is too. Tracks past those that the model was made for
    are new: they have no embedding and no bias.
    """
    model.eval()
    incoming = {
        kind: IncomingEdges.from_edge_index(data[kind].edge_index, data[kind[2]].num_nodes)
        for kind in data.edge_types
    }
    used = {TRACK, PLAYLIST} | {kind[0] for kind in model.layer(0).relations}
    states = {kind: _first_states(model, kind, data[kind].x) for kind in used}
    first, folds = states, []
    artists = None
    if MADE in incoming:
        artists = moved(_rows(incoming[MADE], 0, len(states[TRACK])), device_of(model))
    for depth in range(len(model.layers)):
        layer = model.layer(depth)
        states = dict(model.with_skip(depth, states, first, artists))
        projected = layer.project(states)
        folds.append(projected[IN])
        if layer.last:
            return _last_layer(model, layer, states[TRACK], projected, incoming, folds)
        reached = dict.fromkeys([TRACK, *(kind[2] for kind in layer.relations)])
        states = {
            kind: _update_all(
                layer, kind, states[kind], projected, incoming,
                [relation for relation in layer.relations if relation[2] == kind],
            )
            for kind in reached
        }  # fmt: skip
    raise AssertionError("a model has a last layer")


def _first_states(model: PlaylistNetwork, kind: str, features: Tensor) -> Tensor:
    features = features.to(device_of(model))
    ids, rows = torch.arange(len(features), device=features.device), model.shape.nodes[kind]
    known = ids < rows if kind == TRACK and len(features) > rows else None
    return model.inputs(kind, features, ids.clamp(max=max(rows - 1, 0)), known)


def encode_with_stand_ins(
    model: PlaylistNetwork, data: HeteroData, unknown: np.ndarray
) -> tuple[EncodedTracks, list[Tensor]]:
    """:func:`encode_tracks`, and what a playlist sees of a track of which only the artist is known.

    Args:
        unknown: float32 ``[features]`` of a track without audio.

    Returns:
        (the graph's tracks; for each layer, values ``[artists, heads, channels]`` of a new track by
        each artist, nothing in a graph without artists)
    """
    if MADE not in data.edge_types:
        return encode_tracks(model, data), []
    n, artists = data[TRACK].num_nodes, data[ARTIST].num_nodes
    joined = copy(data)
    joined[TRACK].x = torch.cat([data[TRACK].x, torch.from_numpy(unknown).expand(artists, -1)])
    joined[TRACK].num_nodes = n + artists
    # The artist speaks to the stand-in, but not the other way round.
    of = torch.arange(artists)
    joined[MADE].edge_index = torch.cat([data[MADE].edge_index, torch.stack([of, n + of])], dim=1)
    found = encode_tracks(model, joined)
    folds = [Projected(each.values[:n].clone(), each.keys[:n].clone()) for each in found.folds]
    stand_ins = [each.values[n:].clone() for each in found.folds]
    parts, vectors = found.parts[:, :n].clone(), found.vectors[:n].clone()
    return EncodedTracks(folds, parts, vectors, found.bias), stand_ins


def _update_all(
    layer: HeteroGATLayer,
    kind: str,
    state: Tensor,
    projected: dict[EdgeType, Projected],
    incoming: dict[EdgeType, IncomingEdges],
    relations: list[EdgeType],
) -> Tensor:
    parts = []
    for start in range(0, max(len(state), 1), CHUNK):
        chunk = state[start : start + CHUNK]
        edges = {
            relation: moved(_rows(incoming[relation], start, start + len(chunk)), state.device)
            for relation in relations
        }
        parts.append(layer.update(kind, chunk, projected, edges)[0])
    return torch.cat(parts)


def _rows(edges: IncomingEdges, start: int, stop: int) -> Neighbours:
    indptr = edges.indptr[start : stop + 1]
    index = edges.source[indptr[0] : indptr[-1]].astype(np.int64)
    return Neighbours(torch.from_numpy(indptr - indptr[0]), torch.from_numpy(index))


def _last_layer(
    model: PlaylistNetwork,
    layer: HeteroGATLayer,
    state: Tensor,
    projected: dict[EdgeType, Projected],
    incoming: dict[EdgeType, IncomingEdges],
    folds: list[Projected],
) -> EncodedTracks:
    """The last layer, its terms kept apart."""
    alone = _update_all(layer, TRACK, state, projected, incoming, [])
    # With the skip, the last columns that a track's own term reads are its artists' first states.
    own = layer.own[TRACK].weight
    assert isinstance(own, Tensor)
    columns = model.artist_columns
    by_artist = state[:, state.shape[1] - columns :] @ own[:, own.shape[1] - columns :].T
    parts = [alone - by_artist]
    for relation, joined in ((CONTAINS, None), (MADE, by_artist)):
        if relation in layer.relations:
            together = _update_all(layer, TRACK, state, projected, incoming, [relation])
            part = together - alone
        else:
            part = torch.zeros_like(alone)
        parts.append(part if joined is None else part + joined)
    stacked = torch.stack(parts)
    # The cosine's denominator and the temperature are in t, so that a score is a plain product.
    stacked *= model.scale / stacked.sum(0).norm(dim=1, keepdim=True).clamp(min=EPSILON)
    return EncodedTracks(folds, stacked, stacked.sum(0), model.bias.weight[:, 0].detach().clone())


@torch.no_grad()
def fold_in(
    model: PlaylistNetwork,
    folds: list[Projected],
    seeds: Ragged,
    features: np.ndarray,
) -> tuple[Tensor, Tensor]:
    """Vectors of playlists from their tracks alone.

    Args:
        seeds: tracks of each playlist; an empty one gets a zero vector.
        features: ``[B, features]`` as ``graph.playlist_features`` gives them.

    Returns:
        (p ``[B, out]`` of length 1, the last layer's attention ``[seed tracks, heads]``)
    """
    if model.training:  # telling every module again takes as long as folding a playlist in
        model.eval()
    device = model.bias.weight.device  # quicker to find than the first of all parameters
    neighbours = moved(
        Neighbours(
            torch.from_numpy(seeds.offsets), torch.from_numpy(seeds.values.astype(np.int64))
        ),
        device,
    )
    state = model.inputs(PLAYLIST, torch.from_numpy(features).to(device), None)
    attention: dict[EdgeType, Tensor] = {}
    for depth, projected in enumerate(folds):
        state, attention = model.layer(depth).update(
            PLAYLIST, state, {IN: projected}, {IN: neighbours}
        )
    return F.normalize(state, eps=EPSILON), attention[IN]


def score_tracks(vectors: Tensor, tracks: EncodedTracks) -> np.ndarray:
    """Scores ``p . t + bias_t``, float32 ``[playlists, tracks]``."""
    return track_scores(vectors, tracks).cpu().numpy()


@torch.no_grad()
def track_scores(vectors: Tensor, tracks: EncodedTracks) -> Tensor:
    """:func:`score_tracks`, where the tracks are."""
    return torch.addmm(tracks.bias, vectors, tracks.vectors.T)
