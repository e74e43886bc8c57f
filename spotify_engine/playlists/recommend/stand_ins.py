"""Stand-in vectors for tracks that no training playlist has but whose artist is known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spotify_engine.learning.attention import Projected
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.schema import IN

STAND_IN_NOISE = 0.05  # length of the noise, where the artist's value has length 1


@dataclass(frozen=True)
class StandIns:
    """New tracks by each artist: the artist's vector plus small noise of their own.

    Attributes:
        values: for each layer ``[artists, heads, channels]``, as
            ``encoding.encode_with_stand_ins`` gives them.
        keys: for each layer ``[heads, channels]``, what attention reads of a value.
    """

    values: list[Tensor]
    keys: list[Tensor]

    @classmethod
    def of(cls, model: PlaylistGAT, values: list[Tensor]) -> StandIns | None:
        """None without artists."""
        if not values:
            return None
        keys = [model.layer(depth).gat(IN).key.detach() for depth in range(len(values))]
        return cls(values, keys)

    def folds(self, artists: np.ndarray, names: Sequence[str]) -> list[Projected]:
        """Tracks as a playlist's attention sees them.

        Args:
            artists: int ``[tracks]``.
            names: ``[tracks]``, what tells tracks apart: the same name has the same noise, here
                and everywhere.
        """
        folds = []
        seeds = [_seed(name) for name in names]
        for depth, (values, key) in enumerate(zip(self.values, self.keys, strict=True)):
            own = values[torch.from_numpy(np.asarray(artists, dtype=np.int64))]
            draws = [
                np.random.default_rng([depth, *seed]).standard_normal(own.shape[1:], np.float32)
                for seed in seeds
            ]
            noise = torch.from_numpy(np.array(draws, np.float32).reshape(own.shape))
            length = own.flatten(1).norm(dim=1)[:, None, None]
            own = own + STAND_IN_NOISE * length * noise / own[0].numel() ** 0.5 if len(own) else own
            folds.append(Projected(own, (own * key).sum(-1)))
        return folds


def _seed(name: str) -> tuple[int, ...]:
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return tuple(np.frombuffer(digest, "<u4").tolist())
