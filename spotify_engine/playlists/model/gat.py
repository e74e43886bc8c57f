"""PlaylistGAT: graph attention that completes playlists."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spotify_engine.playlists.model.encoding import encode_tracks, fold_in, score_tracks
from spotify_engine.playlists.model.graph import playlist_features
from spotify_engine.playlists.model.network import PlaylistNetwork
from spotify_engine.playlists.schema import CONTAINS, TRACK
from spotify_engine.ragged import Ragged

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData


class PlaylistGAT(PlaylistNetwork):
    """Scores how well tracks complete the playlists of a graph."""

    @torch.no_grad()
    def recommend(
        self, user_idx: int, x_dict: Mapping[str, Tensor], graph: HeteroData, k: int = 10
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """The k best tracks for a playlist of a graph, those it has left out.

        Args:
            user_idx: the playlist's node id; without tracks it has the default vector, zero.
            x_dict: features of the nodes by type, in place of ``graph``'s.

        Returns:
            (tracks int64 ``[k]``, scores ``[k]``, (edge_index ``[2, tracks]`` into the playlist,
            the last layer's attention ``[tracks, heads]``))
        """
        data = copy(graph)
        for kind, features in x_dict.items():
            data[kind].x = features
        encoded = encode_tracks(self, data)
        edges = data[CONTAINS].edge_index
        tracks = edges[1, edges[0] == user_idx]
        seeds = Ragged.from_lists([tracks.numpy()])
        # The playlist's own features count no more than what it holds.
        audio = data[TRACK].x.numpy() if data[TRACK].x.shape[1] else None
        vectors, attention = fold_in(self, encoded.folds, seeds, playlist_features(seeds, audio))
        scores = torch.from_numpy(score_tracks(vectors, encoded)[0])
        scores[tracks] = -torch.inf
        best, chosen = scores.topk(min(k, len(scores) - len(tracks)))
        return chosen, best, (torch.stack([tracks, torch.full_like(tracks, user_idx)]), attention)
