"""Random numbers that belong to nodes, not to the order in which they are asked for."""

from __future__ import annotations

import numpy as np

from spotify_engine.arrays import Floats, Ids

# SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


class NodeDraws:
    """Uniform numbers that are a function of a key, a purpose and a node's id.

    Data-parallel workers see different parts of a graph, with many nodes in common. With draws of
    the same key they all sample the same neighbours of a node, whatever else each of them sees, as
    one worker alone would.
    """

    def __init__(self, *key: int) -> None:
        self.key = key

    def uniform(self, ids: Ids, *purpose: int) -> Floats:
        """Float64 in ``[0, 1)``, one for each id; independent for different purposes.

        Args:
            ids: int, not negative, of any shape.
        """
        # To a seed sequence, zeros at the end are nothing: without lengths (1,) would be (1, 0).
        lengths = len(self.key), len(purpose)
        seeds = np.random.SeedSequence([*lengths, *self.key, *purpose])
        x = ids.astype(np.uint64) * _STEP + seeds.generate_state(1, np.uint64)
        for shift, factor in _MIX:
            x ^= x >> np.uint64(shift)
            x *= factor
        x ^= x >> np.uint64(31)
        drawn: np.ndarray = (x >> np.uint64(11)) * 2.0**-53
        return drawn
