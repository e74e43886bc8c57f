"""Names for the kinds of arrays that functions take and give; docstrings say their shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer[Any]]
"""Rows of tracks, playlists, users or songs, -1 for none; or counts."""
Scores = NDArray[np.float32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
