"""A linear item-item model in closed form (Steck 2019, "Embarrassingly Shallow Autoencoders")."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from spotify_engine.evaluation.baselines import TooLarge, playlist_matrix
from spotify_engine.ragged import Ragged

GIB = 2**30


class EASEConfig(BaseModel):
    """Settings of EASE."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    regularisation: float = Field(default=200.0, gt=0)
    """L2 penalty on the item-item weights."""


class EASE:
    """Scores are X B, with B = I - P diag(1 / diag(P)), P = (X'X + regularisation I)^-1.

    B minimises |X - X B|^2 + regularisation |B|^2 subject to diag(B) = 0.

    Args:
        memory_gib: most that the fit may take; a limit of the machine, so not a setting.
    """

    name = "ease"

    def __init__(self, config: EASEConfig | None = None, memory_gib: float = 4.0) -> None:
        self.config = config or EASEConfig()
        self.memory_gib = memory_gib

    @staticmethod
    def needed_gib(n_tracks: int) -> float:
        """Two dense float32 ``[tracks, tracks]`` at the peak."""
        return 2 * 4 * n_tracks**2 / GIB

    def fit(self, train: Ragged, n_tracks: int) -> Self:
        needed = self.needed_gib(n_tracks)
        if needed > self.memory_gib:
            raise TooLarge(
                f"{n_tracks:,} tracks need {needed:,.1f} GiB, limit {self.memory_gib:g} GiB"
            )
        matrix = playlist_matrix(train, n_tracks)
        gram = torch.from_numpy((matrix.T @ matrix).toarray())
        gram.diagonal().add_(self.config.regularisation)
        torch.linalg.cholesky(gram, out=gram)
        weights = torch.cholesky_inverse(gram)
        del gram
        weights /= -weights.diagonal().clone()
        weights.diagonal().zero_()
        self.weights = weights.numpy()
        return self

    def score(self, seeds: Ragged) -> np.ndarray:
        return playlist_matrix(seeds, len(self.weights)) @ self.weights
