"""Factors of the listening matrix, for embeddings to begin as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor

from spotify_engine.sessions.schema import ARTIST, BELONGS_TO, BY, GENRE, LISTENS_TO, SONG, USER

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData


def spectral_embeddings(
    data: HeteroData, dim: int, popularity_power: float = 0.0, seed: int = 0
) -> dict[str, Tensor]:
    """Embeddings whose products approximate who listens to what.

    The binary matrix, with both sides' degrees divided out to ``popularity_power``, is U S V';
    users are U S^1/2 and songs V S^1/2, artists the mean of their songs, genres that of their
    artists.

    Returns:
        float32 ``[nodes, dim]`` by node type, of about unit length.
    """
    nodes: Mapping[str, int] = {kind: int(data[kind].num_nodes) for kind in data.node_types}
    user, song = data[LISTENS_TO].edge_index.numpy()
    of_user = np.maximum(np.bincount(user, minlength=nodes[USER]), 1.0)
    of_song = np.maximum(np.bincount(song, minlength=nodes[SONG]), 1.0)
    values = (of_user[user] * of_song[song]) ** -popularity_power
    matrix = sparse.csr_array((values, (user, song)), shape=(nodes[USER], nodes[SONG]))
    rank = min(dim, min(matrix.shape))
    if rank < min(matrix.shape):
        start = np.random.default_rng(seed).normal(size=min(matrix.shape))
        left, strength, right = svds(matrix, k=rank, v0=start)
    else:  # all there are, of which Lanczos' method would miss the last
        left, strength, right = np.linalg.svd(matrix.toarray(), full_matrices=False)
    root = np.sqrt(strength)
    found = {USER: left * root, SONG: right.T * root}
    for kind, relation, member in ((ARTIST, BY, SONG), (GENRE, BELONGS_TO, ARTIST)):
        found[kind] = np.zeros((nodes[kind], rank))
        if relation in data.edge_types:
            source, target = data[relation].edge_index.numpy()
            mean = sparse.csr_array(
                (np.ones(len(source)), (target, source)), shape=(nodes[kind], nodes[member])
            )
            count = np.maximum(np.asarray(mean.sum(axis=1)), 1)
            found[kind] = (mean @ found[member]) / count[:, None]
    return {
        kind: torch.from_numpy(np.pad(value, ((0, 0), (0, dim - rank))).astype(np.float32))
        for kind, value in found.items()
    }
